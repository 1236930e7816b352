"""A grid of requests, predicted as `perfkit roofline` predicts one of them, by the same formulas over arrays.

SweepRequest --grid_of--> Grid --boxes--> Box --predict--> Prediction of arrays --> columns of a part --> a file
"""
