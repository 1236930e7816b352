"""Tables of kernels, csv or csv.gz, one row a shape: read strictly, with errors that name the file and the row.

Columns beside `op` and `precision` are those of `kernel_shapes`, and `measured_s`, seconds of one launch, where there
are any; all others are kept and not looked at. `causal` and an attention's `q_tokens` may be left out, since the op
tells them. Rows count as in a spreadsheet: the column names are row 1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from perfkit.documents import read_text, shown
from perfkit.errors import InvalidSpec, MachineError, UnknownName
from perfkit.kernel_shapes import LAUNCH, KernelShape, sizes_of
from perfkit.kernels.costs import check_op
from perfkit.units import COMPUTE_PRECISIONS, LONGEST_SHOWN, MAXIMUM_COUNT, Precision, parse_precision

MEASURED = "measured_s"
ROW = "row {}"  # what a line of a csv table is called
MOST_BYTES = 2**28  # of a table as text: some three million rows
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


class KernelGroup(NamedTuple):
    """Rows of one op in one precision.

    `places`: an int array, where in the table they stand; `shape`: a float64 array for each size of the op.
    """

    precision: Precision
    shape: KernelShape
    places: Any

    @property
    def op(self) -> str:
        """Their op."""
        return self.shape.op

    def take(self, which: Any) -> KernelGroup:
        """Some of the rows, by their numbers or by a mask."""
        sizes = {name: getattr(self.shape, name)[which] for name in sizes_of(self.op)}
        return self._replace(shape=self.shape._replace(**sizes), places=self.places[which])


@dataclass(frozen=True, slots=True, eq=False)
class KernelTable:
    """A table as it was read: cells as texts, in their order, and what they say as arrays.

    `numbers`: the row that each of `rows` is in the file, and `naming` how messages say so. `groups` hold every row but
    launches, which have no shape. `measured_s`: a float64 array over all rows, None where nothing was measured.
    """

    file: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]
    groups: tuple[KernelGroup, ...]
    measured_s: Any | None = None
    naming: str = ROW

    def where(self, place: int) -> str:
        """File and row, as messages name them."""
        return f"{self.file}: {self.naming.format(self.numbers[place])}"

    @property
    def launches(self) -> int:
        """Rows that time a launch alone."""
        index = self.columns.index("op")
        return sum(row[index].strip() == LAUNCH for row in self.rows)


def read_kernels(path: Path) -> KernelTable:
    """The table in a csv file, packed or not.

    Raises:
        InvalidSpec: no such table, a missing column, an unknown op or precision, or a number that cannot be.
        MachineError: numpy is not installed.
    """
    return table_of(_cells_of(path))


def table_of(cells: Cells) -> KernelTable:
    """Cells as numbers.

    Raises:
        InvalidSpec: a missing column, an unknown op or precision, or a number that cannot be.
        MachineError: numpy is not installed.
    """
    try:
        import numpy  # noqa: F401  # only whether it is there
    except ImportError:
        raise MachineError("tables of kernels need numpy: pip install 'perfkit[arrays]'") from None
    groups = tuple(_group(cells, *key, places) for key, places in _keys(cells).items())
    return KernelTable(cells.file, cells.columns, cells.rows, cells.numbers, groups, _measured(cells), cells.naming)


# --- cells


class Cells(NamedTuple):
    """A table as texts: names of columns, rows under them, and the number by which messages name each row."""

    file: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numbers: tuple[int, ...]
    naming: str = ROW

    def column(self, name: str, places: Sequence[int]) -> list[str]:
        """Texts of a column in some rows."""
        index = self.columns.index(name)
        return [self.rows[place][index].strip() for place in places]

    def error(self, place: int, problem: str) -> InvalidSpec:
        """A problem of one row."""
        return InvalidSpec(f"{self.file}: {self.naming.format(self.numbers[place])}: {problem}")


def _cells_of(path: Path) -> Cells:
    lines = _lines(path)
    if len(lines) < 2:
        raise InvalidSpec(f"{path}: no rows: a kernel table has a line of column names and a line a kernel")
    (_, header), *body = lines
    columns = tuple(name.strip() for name in header)
    _check_columns(path, columns)
    for number, row in body:
        if len(row) != len(columns):
            raise InvalidSpec(f"{path}: row {number}: {len(row)} cells under {len(columns)} column names")
    return Cells(str(path), columns, tuple(tuple(row) for _, row in body), tuple(number for number, _ in body))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that are not empty, with their numbers."""
    import csv
    import io

    text = _unpacked(path) if path.name.endswith(".gz") else read_text(path, MOST_BYTES)
    try:
        # Strict: an open quote would swallow the rest of the file.
        lines = enumerate(csv.reader(io.StringIO(text, newline=""), strict=True), 1)
        return [(number, line) for number, line in lines if len(line) > 1 or "".join(line).strip()]
    except csv.Error as error:
        raise InvalidSpec(f"{path}: not a csv table: {error}") from None


def _unpacked(path: Path) -> str:
    import gzip
    import zlib

    if not path.is_file():
        raise InvalidSpec(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
    try:
        with gzip.open(path) as file:
            content = file.read(MOST_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidSpec(f"{path}: cannot be unpacked: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > MOST_BYTES:
        raise InvalidSpec(f"{path}: larger than {MOST_BYTES // 2**20} MiB, so not a file of this kind")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidSpec(f"{path}: not text in UTF-8") from None


def _check_columns(path: Path, columns: tuple[str, ...]) -> None:
    for name in ("op", "precision"):
        if name not in columns:
            some = shown(", ".join(columns))
            raise InvalidSpec(
                f"{path}: row 1: no column {name}; a kernel table is a csv with op, precision and the "
                f"sizes of its ops, not {some}"
            )
    twice = next((name for name in columns if name and columns.count(name) > 1), None)
    if twice:
        raise InvalidSpec(f"{path}: row 1: two columns are named {twice}")


# --- groups


def _keys(cells: Cells) -> dict[tuple[str, Precision], list[int]]:
    """Places of each op in each precision, in the order of their first rows."""
    found: dict[tuple[str, str], list[int]] = {}
    everything = range(len(cells.rows))
    pairs = zip(cells.column("op", everything), cells.column("precision", everything), strict=True)
    for place, pair in enumerate(pairs):
        found.setdefault(pair, []).append(place)
    return {
        (_op(cells, op, places[0]), _precision(cells, precision, places[0])): places
        for (op, precision), places in found.items()
        if op != LAUNCH
    }


def _op(cells: Cells, op: str, place: int) -> str:
    try:
        return check_op(_short(op))
    except UnknownName as error:
        raise cells.error(place, str(error)) from None


def _precision(cells: Cells, precision: str, place: int) -> Precision:
    try:
        return parse_precision(_short(precision), COMPUTE_PRECISIONS)
    except UnknownName as error:
        raise cells.error(place, str(error)) from None


def _short(name: str) -> str:
    """As a message can repeat it; no name that is known is longer."""
    return name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}..."


def _group(cells: Cells, op: str, precision: Precision, places: list[int]) -> KernelGroup:
    import numpy

    needed = [name for name in sizes_of(op) if name != "q_tokens"]
    missing = [name for name in needed if name not in cells.columns]
    if missing:
        raise cells.error(places[0], f"{op} needs {', '.join(needed)}: no column {', '.join(missing)}")
    sizes = {name: _counts(cells, name, places) for name in needed}
    if op.startswith("attention_"):
        sizes |= {"q_tokens": _queries(cells, op, places, sizes["kv_tokens"]), "causal": _causal(cells, op, places)}
        _check_heads(cells, places, sizes)
    if op == "gemm":
        _check_derived(cells, op, "batch", places, numpy.ones(len(places)))
    return KernelGroup(precision, KernelShape(op, **sizes), numpy.array(places))


def _counts(cells: Cells, name: str, places: list[int]) -> Any:
    """Float64 array of whole numbers."""
    found = _numbers(cells.column(name, places))
    good = (found >= 1) & (found <= MAXIMUM_COUNT) & (found == found // 1)
    _refuse(cells, name, places, good, f"a whole number from 1 to {MAXIMUM_COUNT}")
    return found


def _queries(cells: Cells, op: str, places: list[int], kv_tokens: Any) -> Any:
    """One token in decode, else as many as there are keys."""
    queries = kv_tokens**0 if op == "attention_decode" else kv_tokens
    _check_derived(cells, op, "q_tokens", places, queries)
    return queries


def _causal(cells: Cells, op: str, places: list[int]) -> int:
    causal = int(op == "attention_prefill")
    if op != "attention_decode":  # whose one token sees all, whatever a mask is called
        _check_derived(cells, op, "causal", places, [causal] * len(places))
    return causal


def _check_derived(cells: Cells, op: str, name: str, places: list[int], derived: Any) -> None:
    """Refuse a cell that says something else than its op; it may be empty."""
    if name not in cells.columns:
        return
    texts = cells.column(name, places)
    for place, text, number, told in zip(places, texts, _numbers(texts), derived, strict=True):
        if text and number != told:
            raise cells.error(place, f"{name} of this {op} must be {told:g}, not {shown(text)}")


def _check_heads(cells: Cells, places: list[int], sizes: dict[str, Any]) -> None:
    heads, kv_heads = sizes["heads"], sizes["kv_heads"]
    for place, whole, group in zip(places, heads, kv_heads, strict=True):
        if whole % group:
            raise cells.error(place, f"kv_heads must divide heads ({whole:g}), which {group:g} does not")


# --- numbers


def _measured(cells: Cells) -> Any | None:
    """Seconds of every row; None without the column, or where it is empty throughout."""
    if MEASURED not in cells.columns:
        return None
    places = range(len(cells.rows))
    texts = cells.column(MEASURED, places)
    if not any(texts):
        return None
    found = _numbers(texts)
    _refuse(cells, MEASURED, places, (found > 0) & (found < float("inf")), "a number of seconds above zero")
    return found


def _numbers(texts: list[str]) -> Any:
    """Float64 array; NaN for what is no decimal number."""
    import numpy

    # Sizes repeat, so that each text is read once.
    values = {text: float(text) if _NUMBER.fullmatch(text) else float("nan") for text in set(texts)}
    return numpy.array([values[text] for text in texts])


def _refuse(cells: Cells, name: str, places: Sequence[int], good: Any, allowed: str) -> None:
    if good.all():
        return
    place = places[int(good.argmin())]
    text = cells.column(name, [place])[0]
    raise cells.error(place, f"{name} must be {allowed}, " + (f"not {shown(text)}" if text else "and is empty"))
