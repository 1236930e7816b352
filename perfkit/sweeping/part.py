"""A part of a sweep: some rows of its grid and the file that they go to, a piece of work that stands by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from perfkit.files import write_whole
from perfkit.sweeping.columns import columns_of
from perfkit.sweeping.formats import form_of
from perfkit.sweeping.grid import Grid

PART_POINTS = 2**18  # about 60 MB of columns, which bounds the memory of a sweep, and a row group of Parquet


def encode(grid: Grid, start: int, stop: int, ending: str) -> bytes:
    """Rows `start` to `stop` of a grid, as a part of a file of this form."""
    return form_of(ending).encode(columns_of(grid, start, stop))


@dataclass(frozen=True, eq=False)
class Part:
    """Rows `start` to `stop` of a grid, for a file in `folder`; it can be pickled, and written anywhere.

    The file's name has the part's number and a checksum of what is in it, so that a part is known to be whole.
    """

    grid: Grid
    number: int
    start: int
    stop: int
    folder: Path
    ending: str

    @property
    def label(self) -> str:
        """As progress shows it."""
        return f"rows {self.start + 1} to {self.stop}"

    @property
    def prefix(self) -> str:
        """How the file's name begins."""
        return f"{self.number:06d}-"

    def encode(self) -> bytes:
        """Predict the rows: the content of the file."""
        return encode(self.grid, self.start, self.stop, self.ending)

    def keep(self, content: bytes) -> Path:
        """Write the file, whole or not at all.

        Raises:
            MachineError: it cannot be written.
        """
        path = self.folder / f"{self.prefix}{crc32(content):08x}{self.ending}"
        write_whole(path, content)
        return path

    def standing(self) -> Path | None:
        """Its file, if it stands and is whole; one that is not is removed."""
        for path in self.folder.glob(f"{self.prefix}*{self.ending}"):
            if path.name == f"{self.prefix}{crc32(path.read_bytes()):08x}{self.ending}":
                return path
            path.unlink()
        return None
