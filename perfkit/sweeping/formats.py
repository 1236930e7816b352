"""Forms of a sweep's file: how rows of a part are kept, and how parts are joined; memory holds one part at a time."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

from perfkit.errors import InvalidValue, MachineError
from perfkit.sweeping.columns import Columns, Text
from perfkit.tables import escaping


class Form(Protocol):
    """A form of file."""

    def encode(self, columns: Columns) -> bytes:
        """Content of a part's file."""

    def join(self, parts: Iterable[Path], target: IO[bytes], keys: Sequence[str]) -> None:
        """Write parts, one after the other, as one file with the columns `keys`."""


class _Csv(NamedTuple):
    """Numbers as Python writes them, which read back as they were; empty where one is not known."""

    def encode(self, columns: Columns) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(zip(*map(_cells, columns.values()), strict=True))
        return text.getvalue().encode()

    def join(self, parts: Iterable[Path], target: IO[bytes], keys: Sequence[str]) -> None:
        target.write((",".join(keys) + "\n").encode())
        for part in parts:
            with part.open("rb") as rows:
                shutil.copyfileobj(rows, target)


class _Parquet(NamedTuple):
    """Text and counts as dictionaries, a part a row group. Until they are joined, parts are streams of Arrow."""

    def encode(self, columns: Columns) -> bytes:
        arrow = _arrow()
        batch = arrow.RecordBatch.from_arrays([_array(column) for column in columns.values()], names=list(columns))
        sink = arrow.BufferOutputStream()
        with arrow.ipc.new_stream(sink, batch.schema) as stream:
            stream.write_batch(batch)
        return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]

    def join(self, parts: Iterable[Path], target: IO[bytes], keys: Sequence[str]) -> None:
        import pyarrow.parquet as parquet

        tables = map(_read, parts)
        first = next(tables)
        # Not of numbers, which are nearly all different.
        few = [key for key in keys if str(first.schema.field(key).type) != "double"]
        with parquet.ParquetWriter(target, first.schema, use_dictionary=few, compression="snappy") as writer:
            for rows in chain((first,), tables):
                writer.write_table(rows, row_group_size=len(rows))


FORMS: dict[str, Form] = {".csv": _Csv(), ".parquet": _Parquet()}


def form_of(ending: str) -> Form:
    """Form of a file whose name ends so.

    Raises:
        InvalidValue: there is none.
    """
    if ending not in FORMS:
        raise InvalidValue(f"the output of a sweep ends in {' or '.join(FORMS)}, not in {ending!r}")
    return FORMS[ending]


def check_form(output: Path) -> None:
    """Refuse an output before any work.

    Raises:
        InvalidValue: a file of no known form.
        MachineError: pyarrow is not installed.
    """
    if isinstance(form_of(output.suffix), _Parquet):
        _arrow()


def plain(column: Any) -> Any:
    """A column as one array, text as objects."""
    import numpy

    return numpy.array(column.words, dtype=object)[column.places] if isinstance(column, Text) else column


def _cells(column: Any) -> list[Any]:
    """A column as Python values for a csv."""
    if isinstance(column, Text):
        words = [escaping.csv(escaping.one_line(word)) for word in column.words]
        return [words[place] for place in column.places.tolist()]
    cells: list[Any] = column.tolist()
    if column.dtype == "float64" and (column != column).any():
        return ["" if cell != cell else cell for cell in cells]  # NaN is the number that is not itself
    return cells


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError:
        raise MachineError("Parquet needs pyarrow: pip install 'perfkit[sweep]'; or name a .csv") from None
    return pyarrow


def _read(part: Path) -> Any:
    """Rows of a part that is a stream of Arrow."""
    arrow = _arrow()
    with arrow.OSFile(str(part)) as file, arrow.ipc.open_stream(file) as stream:
        return stream.read_all()


def _array(column: Any) -> Any:
    """A column as Arrow has it."""
    arrow = _arrow()
    if isinstance(column, Text):
        return arrow.DictionaryArray.from_arrays(arrow.array(column.places), arrow.array(column.words, arrow.string()))
    return arrow.array(column, from_pandas=True)  # NaN is null
