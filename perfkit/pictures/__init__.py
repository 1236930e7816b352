"""Reducers at work on pictures: how many tokens they keep, in how much time, and what these tokens cost."""
