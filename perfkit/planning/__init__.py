"""Which hardware serves a model within a goal, at what price and energy.

PlanRequest --grid_of--> Grid --figures_of--> Candidates --goals--> plans, ranked, and what was rejected, with reasons
"""
