"""Figures that others published: timings, one data file a source (docs/adding-a-paper.md)."""
