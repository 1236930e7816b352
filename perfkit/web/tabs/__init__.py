"""Tabs of the page, one file each: `show(asked)` draws it and returns what was asked in it."""

from __future__ import annotations

# By name, as links have it; only the one that is seen is imported and computed.
TITLES = {
    "roofline": "Roofline",
    "phases": "Phases",
    "tokens": "Tokens",
    "gpus": "GPUs",
    "memory": "Memory",
    "table": "Paper table",
    "plan": "Plan",
    "validate": "Validate",
}
TABS = tuple(TITLES)
