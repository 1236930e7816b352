"""Serving under a request rate: requests that arrive, wait, and share the steps of one replica.

ServingRequest --draw_traffic--> Traffic + StepTimes --serve (SimPy)--> Run --figures_of--> Figures -> Simulated
"""
