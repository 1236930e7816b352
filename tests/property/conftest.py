"""How many examples: the same ones in every run, few enough for every run of the tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("perfkit", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("perfkit")
