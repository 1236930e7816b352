"""Sums of op costs under a counting convention: what a counter, or a paper, reports of one forward."""
