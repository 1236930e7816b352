"""perfkit: what vision-language models cost, layer by layer, on any GPU.

>>> import perfkit
>>> prediction = perfkit.analyze("v100", tokens=32)
>>> perfkit.report(prediction).columns[0].key
'device'
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from perfkit.calibration.calibrating import calibrate
    from perfkit.charts.charting import chart
    from perfkit.latency import analyze
    from perfkit.measuring.campaign import measure
    from perfkit.papers.reproducing import reproduce
    from perfkit.pictures.running import reduce_pictures
    from perfkit.planning.planner import plan
    from perfkit.reports import overview, report
    from perfkit.serving.simulating import simulate
    from perfkit.sweeping.running import sweep
    from perfkit.totals.counted import count
    from perfkit.validation.judging import validate

# Names are imported when they are first used, so that `import perfkit` costs nothing.
_HOMES = {
    "analyze": "latency",
    "calibrate": "calibration.calibrating",
    "chart": "charts.charting",
    "count": "totals.counted",
    "measure": "measuring.campaign",
    "overview": "reports",
    "plan": "planning.planner",
    "reduce_pictures": "pictures.running",
    "report": "reports",
    "reproduce": "papers.reproducing",
    "simulate": "serving.simulating",
    "sweep": "sweeping.running",
    "validate": "validation.judging",
}

__all__ = [
    "__version__",
    "analyze",
    "calibrate",
    "chart",
    "count",
    "measure",
    "overview",
    "plan",
    "reduce_pictures",
    "report",
    "reproduce",
    "simulate",
    "sweep",
    "validate",
]


if not TYPE_CHECKING:  # who checks types knows the names above, and is to refuse all others

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'perfkit' has no attribute {name!r}")
        from importlib import import_module

        return getattr(import_module(f"perfkit.{_HOMES[name]}"), name)
