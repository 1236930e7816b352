"""Write docs/accuracy.md: how far counts and predictions are off, from all that they were held against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import chdir

from perfkit import reproduce
from perfkit.kernels.calibrations import Calibration, calibration_ids, read_bundled
from perfkit.tables import show
from perfkit.validation.judging import Errors, Validation, grouped
from perfkit.validation.published import PublishedPoint, PublishedValidation, published
from scripts.markdown import table
from scripts.pages import HEAD, ROOT
from scripts.validation_reports import judge, machines

TARGET = ROOT / "docs" / "accuracy.md"
KERNELS = (
    "tensor products",
    "vector products",
    "attention_prefill",
    "attention_encoder",
    "attention_decode",
    "rmsnorm",
)

COUNTS = """\
**FLOPs are exact.** `matmul_flops` equal `torch.utils.flop_counter` over Hugging Face's own modules, integer for
integer (`tests/golden/test_flops.py`), and parameters equal `numel()`. Bytes are counted by a convention, every input
once and every output once ([model](model.md)); memory on [an H100](measured-h100.md) is within 1.5 % of torch's peak in
prefill and in decode on a static cache (`tests/golden/test_measured_h100.py`).

**Times are of two kinds.** A *roofline* is a bound: no run beats it at the datasheet's clocks, and its error says how
much a machine leaves lying. An *expected* time is a guess, made by a [model of kernels](model.md#expected-time) that
was fitted to single kernels; it comes with a range that should hold nine of ten times. Three things were taken from
whole models all the same: how much of what kernels are off is shared by a phase, one number, from the forwards that
others timed (it sets the width of ranges); four clocks of kernels that address single elements, from a profile of four
prefills on the H100; and of a measurement the host's time per launch, its own median, by which eager phases are judged.

**Off by** is the mean of |predicted - measured| / measured."""

READING = """\
What to take from it: rank GPUs, batches and token counts by expected times; trust a difference that is larger than the
ranges; take eager runs with care, since their time is their host's; and where a number decides about money,
[measure](measuring.md) one point and [validate](validating.md)."""


def accuracy() -> str:
    """The text of docs/accuracy.md; to be called in ROOT."""
    judged = {folder.name: judge(folder) for folder in machines()}
    parts = [
        f"# How accurate is it\n\n{HEAD}\n\n{COUNTS}\n\n{READING}",
        f"## What others timed\n\n{_forwards(published())}",
        "Whole forwards, of `deepbench` single products, which calibrations were fitted to. [Every point]"
        "(../reports/validation/published.md), and what three other predictors said of the same forwards.",
        f"## Machines that were measured\n\n{_machines(judged)}",
        "Every point: " + ", ".join(f"[{name}](../reports/validation/{name}.md)" for name in judged) + ".",
        f"## Kernels that no fit saw\n\n{_kernels()}",
        "Mean error on rows that were kept out of the fit. [The same](../reports/validation/kernels.md) with all other "
        "kinds, and of GPUs whose whole family no fit saw.",
        f"## Published cost figures\n\n{_figures()}",
        "Made again from each paper's own convention. [What was found](reproducing.md), [figure by figure]"
        "(../reports/papers/README.md).",
    ]
    return "\n\n".join(parts) + "\n"


def _share(value: float | None) -> str:
    return show(value, "share")


def _forwards(validation: PublishedValidation) -> str:
    errors = {(e.paper, e.device, e.predictor): e.mape for e in validation.errors()}
    rows = []
    for points in validation.by_source():
        place = (points[0].paper.name, points[0].device)
        off = [_share(errors.get((*place, predictor))) for predictor in ("roofline", "expected")]
        rows.append((*place, len(points), *off, _within(points)))
    heads = ("timed by", "GPU", "points", "roofline off by", "expected off by", "within the range")
    return table(heads, rows, right=(2, 3, 4, 5))


def _within(points: tuple[PublishedPoint, ...]) -> str:
    ranged = [p for p in points if p.expected_low_s is not None and p.expected_high_s is not None]
    held = [p for p in ranged if (p.expected_low_s or 0) <= p.measured_s <= (p.expected_high_s or 0)]
    return f"{len(held)} of {len(ranged)}" if ranged else "-"


def _machines(judged: dict[str, Validation]) -> str:
    heads = ("machine", "phase", "points", "roofline off by", "expected off by", "the worst", "within the range")
    return table(heads, [row for v in judged.values() for row in _phases(v)], right=(2, 3, 4, 5, 6))


def _phases(validation: Validation) -> Iterator[tuple[object, ...]]:
    found: dict[str, dict[str, Errors]] = {}
    for error in validation.errors:
        found.setdefault(error.phase, {})[error.predictor] = error
    for phase, by in found.items():
        off = [_share(by[predictor].mape if predictor in by else None) for predictor in ("roofline", "expected")]
        worst = _share(by["expected"].worst if "expected" in by else None)
        yield validation.machine.name, phase, by["roofline"].points, *off, worst, _inside(validation, phase)


def _inside(validation: Validation, phase: str) -> str:
    """How many medians lie in the range that was expected of them."""
    ends = [
        (p.measured_s, p.predicted.expected_low_s, p.predicted.expected_high_s)
        for p in grouped(validation.points)[phase]
        if p.measured_s is not None and p.predicted.expected_low_s is not None
    ]
    return f"{sum(low <= measured <= high for measured, low, high in ends)} of {len(ends)}" if ends else "-"


def _kernels() -> str:
    fitted = [read_bundled(name) for name in calibration_ids()]
    rows = [(c.id, *(_kept_out(c, op) for op in KERNELS)) for c in fitted if c.errors]
    return table(("calibration", *(op.replace("_", ", ") for op in KERNELS)), rows, right=range(1, len(KERNELS) + 1))


def _kept_out(calibration: Calibration, op: str) -> str:
    return _share(next((error.mape for error in calibration.errors if error.op == op), None))


def _figures() -> str:
    rows = [
        (f"`{r.paper.name}`", len(r.printed), len(r.matched), len(r.fitted), len(r.printed) - len(r.matched))
        for r in reproduce()
        if r.printed
    ]
    heads = ("paper", "figures", "come out", "of these fitted", "do not")
    return table(heads, rows, right=(1, 2, 3, 4))


def main() -> None:
    """Write the page."""
    with chdir(ROOT):
        TARGET.write_text(accuracy(), encoding="utf-8")


if __name__ == "__main__":
    main()
