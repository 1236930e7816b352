"""Sums of op costs under a counting convention: what a counter, or a paper, reports of one forward.

spec + workload + execution + convention --tally--> Count --explain--> Explanation
                                                    counts of all conventions --> Comparison
"""
