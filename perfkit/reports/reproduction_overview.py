"""What a terminal shows of a `Reproduction`: its tables beside what they come to; or one line a paper for several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from perfkit.conventions import Convention
from perfkit.papers.published import BASES, PublishedColumn, PublishedRow, PublishedTable
from perfkit.papers.reckoning import layer_formula
from perfkit.papers.reproducing import Cell, Reproduction
from perfkit.printed import ALLOWED
from perfkit.tables import ALWAYS, Column, Table

MATCHED, FITTED, TRIED, MISSED = "✓", "≈", "~", "✗"


def overview(reproductions: Sequence[Reproduction]) -> list[Table]:
    """Tables, the corrected figures and what to know of one paper; one line a paper for several."""
    if len(reproductions) > 1:
        return [_papers(reproductions)]
    return list(_tables(reproductions[0]))


# --- several papers


def _papers(reproductions: Sequence[Reproduction]) -> Table:
    columns = (
        Column("paper", "paper"),
        Column("printed", "figures", "n"),
        Column("matched", "matched", "n"),
        Column("fitted", "fitted", "n"),
        Column("tried", "tried", "n"),
        Column("misprints", "misprints", "n"),
        Column("missed", "missed", "n"),
        Column("summary", "what was printed", "prose"),
    )
    notes = (
        "matched: come out as printed; fitted, among the matched: by token counts chosen so that they do, which tells "
        "what a figure stands for and proves nothing; tried: come out under a choice that does not explain their kind, "
        "and are not counted as matched; misprints: probably printed wrong; missed: do not come out.",
        "perfkit reproduce NAME shows a paper whole, and beside it the whole model's cost.",
    )
    rows = tuple(_paper_row(reproduction) for reproduction in reproductions)
    return Table(columns, rows, title="Published cost tables, made again", notes=notes)


def _paper_row(r: Reproduction) -> tuple[Any, ...]:
    printed, matched, tried, misprints = len(r.printed), len(r.matched), len(r.tried), len(r.misprints)
    missed = printed - matched - tried - misprints
    return r.paper.name, printed, matched, len(r.fitted), tried, misprints, missed, r.paper.summary


# --- one paper


def _tables(reproduction: Reproduction) -> Iterator[Table]:
    paper = reproduction.paper
    yield Table((), (), title=f"{paper.name}: {paper.source}", notes=(f"What was printed: {paper.summary}.",))
    for published in paper.tables:
        yield _published(published, reproduction)
    if reproduction.corrected:
        yield _corrected(reproduction)
        yield _commands(reproduction)
    if reproduction.promises:
        yield _promises(reproduction)
    yield Table((), (), title="What to know", notes=paper.notes)


def _published(table: PublishedTable, reproduction: Reproduction) -> Table:
    cells = {(cell.row, cell.column): cell for cell in reproduction.cells if cell.table == table.what}
    narrow = len(table.columns) <= 2
    columns = [Column("row", "row"), *(_column(column, i) for i, column in enumerate(table.columns))]
    columns += [Column("tokens", "layers x tokens", "prose", 6)] if narrow else []
    rows = [
        (
            row.name,
            *(_shown(cells.get((row.name, column.name))) for column in table.columns),
            *([tokens_of(row)] if narrow else []),
        )
        for row in table.rows
    ]
    return Table(tuple(columns), tuple(rows), title=table.what, notes=tuple(_notes(table, list(cells.values()))))


def _column(column: PublishedColumn, index: int) -> Column:
    """The first stays; the last goes first where the terminal is narrow."""
    return Column(column.name, f"{column.name}, {column.unit}", "", max(ALWAYS - index, 1))


def _shown(cell: Cell | None) -> str:
    """As printed, as made again, and whether they agree."""
    if cell is None:
        return "-"
    printed = cell.printed or "-"
    return f"{printed:>5}  {made_again(cell):>7} {mark_of(cell)}"


def made_again(cell: Cell) -> str:
    """The figure with two more decimals than are printed, or four digits where none is."""
    if cell.printed is None:
        return f"{cell.reproduced:.4g}"
    return f"{cell.reproduced:.{len(cell.printed.partition('.')[2]) + 2}f}"


def mark_of(cell: Cell) -> str:
    """Whether a cell comes out as printed; empty where nothing is printed."""
    if cell.printed is None:
        return ""
    if not cell.matches:
        return MISSED
    if cell.is_tried:
        return TRIED
    return FITTED if cell.is_fitted else MATCHED


def tokens_of(row: PublishedRow) -> str:
    """Tokens layer by layer, visual and others: `2 x (576 + 36), 30 x (288 + 36)`."""
    return ", ".join(f"{group.layers} x {_tokens(group.visual, row.other)}" for group in row.seen)


def _tokens(visual: Any, other: Any) -> str:
    return f"({float(visual):g} + {float(other):g})" if other else f"{float(visual):g}"


def _notes(table: PublishedTable, cells: list[Cell]) -> Iterator[str]:
    used = {mark_of(cell) for cell in cells}
    said = {
        MATCHED: f"{MATCHED} {ALLOWED[table.rule_name]}",
        FITTED: f"{FITTED} so by tokens fitted to the figure, {ALLOWED[table.rule_name]}",
        TRIED: f"{TRIED} so by a choice that does not explain the others, and not counted",
        MISSED: f"{MISSED} not",
    }
    yield f"printed, made again: {'; '.join(text for mark, text in said.items() if mark in used) or 'nothing printed'}."
    yield _way(table)
    if table.device:
        yield f"{table.device.name}: {table.device.note}."
    bases = dict.fromkeys(cell.basis for cell in cells)
    yield f"tokens and formula: {'; '.join(f'{basis}, {BASES[basis]}' for basis in bases)}."
    for cell in cells:
        if cell.misprint:
            yield f"{cell.row}, {cell.column}: probably a misprint: {cell.misprint}."
        elif cell.note:
            yield f"{cell.row}: {cell.note}."
    yield from table.notes


def _way(table: PublishedTable) -> str:
    """How the figures are counted."""
    convention: Convention = table.convention
    if convention.table:
        return (
            f"convention {convention.label}: {len(convention.table)} ops of its own table; --format json has the sums."
        )
    logits = "" if convention.logits == "none" else f", and lm_head on {convention.logits} tokens"
    model = table.rows[0].model
    models = {row.model.name for row in table.rows}
    widths = ""
    if model.text and len(models) == 1:
        stack = model.text.stack
        widths = f"; {stack.layers} layers, d {stack.hidden}, m {stack.feed_forward.width}"
    return f"convention {convention.label}: {layer_formula(table)} a layer of n tokens{widths}{logits}."


# --- beside it


def _corrected(reproduction: Reproduction) -> Table:
    timed = any(correction.ttft_roofline_s is not None for correction in reproduction.corrected)
    columns = [Column("row", "row"), Column("matmul_flops", "FLOPs", "FLOP")]
    if timed:
        columns += [
            Column("prefill_roofline_s", "prefill", "s"),
            Column("ttft_roofline_s", "TTFT", "s"),
            Column("tpot_roofline_s", "TPOT", "s"),
        ]
    columns += [Column("bytes", "traffic", "B", 7), Column("stored_bytes", "stored", "B", 6)]
    if timed:
        columns += [Column("memory_bytes", "memory", "B"), Column("fits", "fits")]
    rows = [tuple(_cell_of(correction, column.key) for column in columns) for correction in reproduction.corrected]
    notes = [
        "FLOPs: matrix products up to the first token, counted, a multiply-add as 2; traffic: bytes moved for it; "
        "stored: of these, written as activations."
    ]
    if timed:
        notes.append(
            "prefill (of the language model alone), TTFT, TPOT: rooflines, predicted, of the card that the command "
            "names; memory: what must lie on it at once."
        )
    return Table(tuple(columns), tuple(rows), title="Corrected: the whole model", notes=tuple(notes))


def _cell_of(correction: Any, key: str) -> Any:
    value = getattr(correction, key)
    return {True: "yes", False: "no"}.get(value, value) if key == "fits" else value


def _commands(reproduction: Reproduction) -> Table:
    columns = (Column("row", "row"), Column("command", "printed by", "prose"))
    rows = tuple((correction.row, correction.command) for correction in reproduction.corrected)
    return Table(columns, rows)


def _promises(reproduction: Reproduction) -> Table:
    columns = [
        Column("what", "what"),
        Column("printed", "printed", "x"),
        Column("reproduced", "made again", "x"),
        Column("corrected_flops", "whole model, FLOPs", "x"),
        Column("corrected_time", "whole model, TTFT", "x"),
    ]
    if all(promise.corrected_time is None for promise in reproduction.promises):
        del columns[-1]
    rows = [tuple(getattr(promise, column.key) for column in columns) for promise in reproduction.promises]
    return Table(tuple(columns), tuple(rows), title="How many times less: as printed, and for the whole model")
