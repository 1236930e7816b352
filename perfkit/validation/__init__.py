"""Predictions held against measurements, and how far they are off."""
