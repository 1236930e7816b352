"""Domain values -> tables for people, one tidy table for machines, and the JSON of the contract.

One file a kind of value; each has `table` (tidy, SI), `overview` (what a terminal shows) and `document` (JSON);
one that papers print has `printed` too.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from perfkit.errors import InvalidValue
from perfkit.tables import Table, Tables

if TYPE_CHECKING:
    from perfkit.calibration.calibrating import CalibrationRun
    from perfkit.cost_tables.building import CostTable
    from perfkit.hardware import Device
    from perfkit.latency import Prediction
    from perfkit.measuring.measurement import Measurement
    from perfkit.measuring.nvml import DetectedGpu
    from perfkit.models.spec import ModelSpec
    from perfkit.papers.reproducing import Reproduction
    from perfkit.pictures.results import ReducedPictures
    from perfkit.planning.planner import Planned
    from perfkit.serving.simulating import Simulated
    from perfkit.sweeping.running import Sweep
    from perfkit.tables.paper import PaperTable
    from perfkit.totals.comparing import Comparison
    from perfkit.totals.counted import Count
    from perfkit.totals.explaining import Explanation
    from perfkit.tracing.traced import Trace
    from perfkit.validation.judging import Validation
    from perfkit.validation.kernel_tables import KernelPredictions
    from perfkit.validation.published import PublishedValidation
    from perfkit.views.breakdown import BreakdownView
    from perfkit.views.gains import GainsView
    from perfkit.views.roofline import RooflineView
    from perfkit.views.tokens import TokensView

    Reportable: TypeAlias = (
        Prediction
        | Device
        | DetectedGpu
        | ModelSpec
        | Count
        | Explanation
        | Comparison
        | Measurement
        | ReducedPictures
        | Validation
        | PublishedValidation
        | KernelPredictions
        | CalibrationRun
        | Reproduction
        | CostTable
        | Sweep
        | Planned
        | Simulated
        | Trace
        | RooflineView
        | TokensView
        | BreakdownView
        | GainsView
    )

# By name, so that a report loads only what its own kind of value needs.
_MODULES = {
    "Prediction": "roofline",
    "Device": "devices",
    "DetectedGpu": "detected",
    "ModelSpec": "models",
    "Count": "counts",
    "Explanation": "explanation",
    "Comparison": "comparison",
    "Measurement": "measurement",
    "ReducedPictures": "reduced_pictures",
    "Validation": "validation",
    "PublishedValidation": "published",
    "KernelPredictions": "kernel_predictions",
    "CalibrationRun": "calibration_run",
    "Reproduction": "reproduction",
    "CostTable": "cost_tables",
    "Sweep": "sweep",
    "Planned": "planned",
    "Simulated": "simulated",
    "Trace": "traces",
    "RooflineView": "roofline_view",
    "TokensView": "tokens_view",
    "BreakdownView": "breakdown_view",
    "GainsView": "gains_view",
}


def report(value: Reportable | Sequence[Reportable]) -> Table:
    """One tidy table of a value, or of several of a kind: a row a thing, SI numbers.

    Raises:
        InvalidValue: nothing that perfkit reports, or values of several kinds.

    >>> from perfkit.totals.counted import count
    >>> report(count("clip-vit-l-14-336")).columns[0].key
    'model'
    """
    values = _several(value)
    table: Table = _module(values).table(values)
    return table


def overview(value: Reportable | Sequence[Reportable]) -> Tables:
    """What people see of a value, or of several of a kind: the tables of the command of its name.

    Raises:
        InvalidValue: as `report`.

    >>> from perfkit.latency import analyze
    >>> [table.title for table in overview(analyze("v100", tokens=32))][1]
    'Totals'
    """
    values = _several(value)
    return Tables(_module(values).overview(values))


def printed(value: Reportable | Sequence[Reportable]) -> Table | PaperTable:
    """What a page shows of a value: a kind's own table for papers where it has one, else the tidy one."""
    values = _several(value)
    module = _module(values)
    found: Table | PaperTable = getattr(module, "printed", module.table)(values)
    return found


def document(value: Reportable | Sequence[Reportable]) -> Any:
    """JSON-ready mapping of a value, or a list of them for several."""
    values = _several(value)
    documents = [_module(values).document(one) for one in values]
    return documents if isinstance(value, Sequence) else documents[0]


def _several(value: Reportable | Sequence[Reportable]) -> Sequence[Reportable]:
    return value if isinstance(value, Sequence) else (value,)


def _module(values: Sequence[Reportable]) -> ModuleType:
    kinds = list(dict.fromkeys(type(value).__name__ for value in values))
    kind = " and ".join(kinds) or "nothing"
    if kind not in _MODULES:
        raise InvalidValue(f"no report of {kind}: {', '.join(_MODULES)} have one")
    return import_module(f"perfkit.reports.{_MODULES[kind]}")
