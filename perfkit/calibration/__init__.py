"""Fitting the kernel model to measured kernels, and judging it on what was left out of the fit."""
