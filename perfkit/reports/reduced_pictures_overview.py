"""What a terminal shows of `ReducedPictures`: counts and their distribution, times, costs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from perfkit.latency import Prediction
from perfkit.measuring.protocol import Timing
from perfkit.pictures.distribution import QUANTILES, Distribution
from perfkit.pictures.results import FIGURES, MEANS_NOTHING, MethodRun, ReducedPictures
from perfkit.tables import Column, Table

MOST_PICTURES = 20  # that are listed one by one
SHOWN_QUANTILES = (5, 50, 95)  # of costs
_IMPORTANCE = {5: 6, 25: 3, 50: 8, 75: 3, 95: 6}  # of quantiles, where the terminal is narrow


def overview(runs: Sequence[ReducedPictures]) -> list[Table]:
    """Tokens, picture by picture and as a distribution; histograms; times; costs on each device."""
    return [table for run in runs for table in _tables(run)]


def _tables(run: ReducedPictures) -> Iterator[Table]:
    if all(method.tokens.pictures == 1 for method in run.methods):
        yield _picture(run)
    else:
        yield _distributions(run)
        yield _pictures(run)
    yield from (_histogram(method) for method in run.methods if len(method.bins) > 1)
    yield _times(run)
    yield from (_costs(run, device) for device in run.unreduced)


# --- counts


def _picture(run: ReducedPictures) -> Table:
    """The one picture, a row a method."""
    columns = (
        Column("method", "method"),
        Column("tokens", "tokens", "n"),
        Column("kept", "kept patches", "n", 6),
        Column("share", "of patches", "share"),
        Column("bar", "", "bar", 4),
    )
    patches = run.tower.patches
    found = [(m.label, m.kept[0].tokens, len(m.kept[0].patches), m.kept[0].tokens / patches) for m in run.methods]
    rows = tuple((*row, min(row[-1], 1.0)) for row in found)
    return Table(columns, rows, title="\n".join(_heading(run)), notes=tuple(_notes(run)))


def _distributions(run: ReducedPictures) -> Table:
    columns = (
        Column("method", "method"),
        Column("pictures", "pictures", "n", 8),
        Column("mean", "tokens", "x"),
        Column("share", "of patches", "share"),
        Column("deviation", "± s.d.", "x", 7),
        Column("least", "least", "n", 5),
        *(Column(f"q{q}", "median" if q == 50 else f"{q} %", "x", _IMPORTANCE[q]) for q in QUANTILES),
        Column("most", "most", "n", 5),
        Column("bar", "", "bar", 4),
    )
    rows = tuple(_distribution_row(method, run.tower.patches) for method in run.methods)
    return Table(columns, rows, title="\n".join(_heading(run)), notes=tuple(_notes(run)))


def _distribution_row(method: MethodRun, patches: int) -> tuple[Any, ...]:
    tokens = method.tokens
    share = tokens.mean / patches
    spread = (tokens.deviation, tokens.least, *tokens.quantiles, tokens.most)
    return method.label, tokens.pictures, tokens.mean, share, *spread, min(share, 1.0)


def _heading(run: ReducedPictures) -> Iterator[str]:
    tower, seen = run.tower, list(dict.fromkeys(kept.picture for method in run.methods for kept in method.kept))
    side, grid = tower.preprocessing.side, tower.grid
    yield f"Tokens kept of {seen[0] if len(seen) == 1 else _counted(len(seen))}"
    weights = "random weights" if tower.random else "weights"
    patches = f"{side} x {side} pixels, {grid} x {grid} = {tower.patches} patches"
    yield f"{weights} of {tower.source}, {tower.precision}; {patches}; features of layer {tower.feature_layer}"
    if tower.random:
        yield f"{MEANS_NOTHING.capitalize()}."


def _counted(pictures: int) -> str:
    return f"{pictures} picture{'s' * (pictures != 1)}"


def _notes(run: ReducedPictures) -> Iterator[str]:
    yield "Tokens: those that go on to the language model; PruMerge's appended one is among them."
    if run.unreadable:
        yield f"{_counted(len(run.unreadable))} could not be read and left out."
    for method in run.methods:
        if method.left_out:
            yield f"{method.text}: {_counted(len(method.left_out))} not finite and left out."
    yield from (f"note: {note}" for note in run.notes)


def _pictures(run: ReducedPictures) -> Table:
    """Tokens of the first pictures, a column a method."""
    single = len(run.methods) == 1
    columns = (
        Column("picture", "picture", "prose"),
        *(Column(f"tokens_{i}", "tokens" if single else m.label, "n") for i, m in enumerate(run.methods)),
        *((Column("kept", "kept patches", "n", 6), Column("bar", "", "bar", 4)) if single else ()),
    )
    found = {kept.picture: None for method in run.methods for kept in method.kept}
    names = list(found)[:MOST_PICTURES]
    rest = len(found) - len(names)
    notes = (f"{_counted(rest)} more; --format csv lists all.",) if rest else ()
    folder = _folder(names)
    title = f"Picture by picture, in {folder}" if folder else "Picture by picture"
    rows = ((name[len(folder) :], *figures) for name, *figures in _picture_rows(run, names))
    return Table(columns, tuple(rows), title=title, notes=notes)


def _folder(names: Iterable[str]) -> str:
    """The folder that all pictures lie in, with its separator; empty where they lie in several."""
    folders = {os.path.dirname(name) for name in names}
    return os.path.join(folders.pop(), "") if len(folders) == 1 else ""


def _picture_rows(run: ReducedPictures, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    by_name = [{kept.picture: kept for kept in method.kept} for method in run.methods]
    for name in names:
        kept = [found.get(name) for found in by_name]
        tokens = [one.tokens if one else None for one in kept]
        if len(kept) > 1 or kept[0] is None:
            yield name, *tokens
        else:
            patches = len(kept[0].patches)
            yield name, *tokens, patches, patches / run.tower.patches


def _histogram(method: MethodRun) -> Table:
    columns = (
        Column("low", "from", "n"),
        Column("high", "to", "n"),
        Column("pictures", "pictures", "n"),
        Column("bar", "", "bar"),
    )
    highest = max(found.pictures for found in method.bins)
    rows = tuple((*found, found.pictures / highest) for found in method.bins)
    return Table(columns, rows, title=f"{method.label}: pictures by tokens")


# --- times


def _times(run: ReducedPictures) -> Table:
    columns = (
        Column("what", "what"),
        Column("median_s", "median", "s"),
        Column("half_width", "±", "share"),
        Column("spread", "spread", "share", 5),
        Column("repeats", "repeats", "n", 4),
        Column("stable", "stable", "", 6),
        Column("share", "of both", "share"),
        Column("bar", "", "bar", 3),
    )
    rows = [("tower", *_timing_row(run.tower.timing), None, 0.0)]
    rows += [(m.label, *_timing_row(m.timing), share := run.share(m), share) for m in run.methods]
    machine = run.machine
    cores = f"{machine.cores} {'SMs' if machine.kind == 'cuda' else 'threads'}"
    notes = (
        f"Measured by {machine.clock} on {machine.name}, {cores}, torch {machine.libraries['torch']}.",
        "The tower runs as far as the methods need it; `perfkit measure` times all of it.",
        "±: half the 95 % interval of the median; of both: of tower and reducer together.",
    )
    title = f"Time of {_counted(run.tower.batch)} at once, {run.tower.precision}, measured"
    return Table(columns, tuple(rows), title=title, notes=notes)


def _timing_row(timing: Timing) -> tuple[Any, ...]:
    repeats = len(timing.samples_s)
    spread = timing.spread if repeats > 1 else None
    return timing.median_s, timing.half_width, spread, repeats, "yes" if timing.stable else "no"


# --- costs


def _costs(run: ReducedPictures, device: str) -> Table:
    columns = (
        Column("method", "method"),
        Column("of", "over pictures"),
        Column("tokens", "tokens", "x"),
        *(Column(figure.key, figure.title, figure.unit, 8) for figure in FIGURES),
    )
    whole = run.unreduced[device]
    first = ("unreduced", "", whole.workload.visual_tokens, *(figure.of(whole) for figure in FIGURES))
    rows = [first, *(row for method in run.methods for row in _cost_rows(method, device))]
    starts = frozenset(i for i, row in enumerate(rows) if i and row[0])
    notes = (
        *_savings(run, device),
        "FLOPs and bytes counted; times predicted by the roofline, as `perfkit roofline` does.",
    )
    return Table(columns, tuple(rows), title="\n".join(_cost_heading(whole)), notes=notes, rule_before=starts)


def _cost_heading(p: Prediction) -> Iterator[str]:
    w, e = p.workload, p.execution
    yield f"{p.model.name} on {p.device.id}: what these tokens cost, predicted"
    text = f"{w.text_tokens} text token{'s' * (w.text_tokens != 1)}"
    yield f"{text}, {w.new_tokens} new, batch {w.batch}; {e.formats}; {e.attention} attention"


def _cost_rows(method: MethodRun, device: str) -> Iterator[tuple[Any, ...]]:
    found = [method.tokens, *(method.cost(device, figure) for figure in FIGURES)]
    if method.tokens.pictures == 1:
        yield method.label, "the one", *(one.mean for one in found)
        return
    yield method.label, "mean", *(one.mean for one in found)
    for q in SHOWN_QUANTILES:
        yield "", "median" if q == 50 else f"{q} %", *(_quantile(one, q) for one in found)


def _quantile(found: Distribution, q: int) -> float:
    return found.quantiles[QUANTILES.index(q)]


def _savings(run: ReducedPictures, device: str) -> Iterator[str]:
    """What is left of each cost, on average."""
    whole = run.unreduced[device]
    for method in run.methods:
        left = [
            f"{figure.title} {100 * method.cost(device, figure).mean / figure.of(whole):.0f} %" for figure in FIGURES
        ]
        yield f"{method.label}, on average, of the unreduced: {', '.join(left)}."
