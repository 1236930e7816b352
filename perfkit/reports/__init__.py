"""Domain values -> tables for people, one tidy table for machines, and the JSON of the contract.

One file a kind of value; each has `table` (tidy, SI), `overview` (what a terminal shows) and `document` (JSON).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

from perfkit.errors import InvalidValue
from perfkit.tables import Table

if TYPE_CHECKING:
    from perfkit.hardware import Device
    from perfkit.latency import Prediction
    from perfkit.measuring.measurement import Measurement
    from perfkit.measuring.nvml import DetectedGpu
    from perfkit.models.spec import ModelSpec
    from perfkit.totals.counted import Count
    from perfkit.validation.judging import Validation
    from perfkit.validation.published import PublishedValidation

    Reportable: TypeAlias = (
        Prediction | Device | DetectedGpu | ModelSpec | Count | Measurement | Validation | PublishedValidation
    )

# By name, so that a report loads only what its own kind of value needs.
_MODULES = {
    "Prediction": "roofline",
    "Device": "devices",
    "DetectedGpu": "detected",
    "ModelSpec": "models",
    "Count": "counts",
    "Measurement": "measurement",
    "Validation": "validation",
    "PublishedValidation": "published",
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


def overview(value: Reportable | Sequence[Reportable]) -> list[Table]:
    """What people see of a value, or of several of a kind."""
    values = _several(value)
    tables: list[Table] = _module(values).overview(values)
    return tables


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
