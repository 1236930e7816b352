"""Any torch module traced: what one forward costs, op by op, without running its arithmetic.

    torch module on meta --trace--> Trace

Every op that reaches torch is counted by a formula over its shapes, or reported as uncounted. The way in for ops of
one's own is `formula`. docs/tracing.md explains the figures.
"""

from __future__ import annotations

from perfkit.tracing import elementwise, moves, products  # noqa: F401  # importing them fills the register
from perfkit.tracing.inputs import parse_input
from perfkit.tracing.loading import load_factory
from perfkit.tracing.registry import formula
from perfkit.tracing.traced import Trace, trace

__all__ = ["Trace", "formula", "load_factory", "parse_input", "trace"]
