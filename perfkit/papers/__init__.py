"""Figures that others published, one data file a source: timings, and cost tables that are made again."""
