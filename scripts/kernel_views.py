"""Views of measured kernels: which rows a table of the page is of, and how far fits that saw none of them are off."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from perfkit.calibration.left_out import EXPECTED, LeftOut, merged
from perfkit.hardware import Device
from perfkit.kernel_shapes import KernelShape
from perfkit.kernels.tables import KernelGroup


class Judged(NamedTuple):
    """A device's kernels, left out of fits in three ways; `few`: a list a draw."""

    device: Device
    unseen: list[LeftOut]
    few: list[list[LeftOut]]
    own: list[LeftOut]


class View(NamedTuple):
    """Some kernels: a name, their ops, and a mask over their rows."""

    name: str
    ops: tuple[str, ...]
    which: Callable[[KernelShape], Any]


def _judged_gemm(s: Any) -> Any:
    return (s.m <= 4096) & (s.n >= 1024) & (s.n <= 32768) & (s.k >= 1024) & (s.k <= 32768)


def _judged_heads(s: Any) -> Any:
    return ((s.heads == 32) | (s.heads == 40)) & (s.head_dim == 128)


def _as_named(s: Any) -> Any:
    return (s.n != 2560) & (s.n != 10240)


def every(s: Any) -> Any:
    """A mask that leaves none out."""
    return (s.n if s.heads is None else s.heads) > 0


GEMM = View("gemm, m to 4096, n and k 1024-32768", ("gemm",), _judged_gemm)
ALL_PRODUCTS = (View("gemm, all shapes", ("gemm",), every), View("bmm, all shapes", ("bmm",), every))
ATTENTION = ("attention_prefill", "attention_decode", "attention_encoder")
ROWWISE = ("rmsnorm", "layernorm", "softmax", "add", "silu_mul", "gelu", "gelu_mul")
OTHERS = (
    View("attention_prefill, 32 and 40 heads of 128", ("attention_prefill",), _judged_heads),
    View("attention_decode, 32 and 40 heads of 128", ("attention_decode",), _judged_heads),
    *(View(f"{op}, all heads", (op,), every) for op in ATTENTION),
    View("element-wise kernels together", ROWWISE, every),
    View("element-wise kernels without those of phi-2", ROWWISE, _as_named),
    *(View(op, (op,), every) for op in ROWWISE),
)


def judged_shapes(group: KernelGroup) -> Any:
    """Of products those that errors are stated of, of other kernels all."""
    return _judged_gemm(group.shape) if group.op == "gemm" else every(group.shape)


# --- rows of a view


class Row(NamedTuple):
    """A view of one device on one engine, left out in three ways; None where there is nothing."""

    device: Device
    label: str
    unseen: LeftOut | None
    few: list[LeftOut]
    own: LeftOut

    def error(self, column: str) -> float | None:
        """In percent, under one of COLUMNS."""
        if column in ("roofline", "constant"):
            return 100 * self.own.error(column)
        if column == "few":
            return 100 * sum(part.error(EXPECTED) for part in self.few) / len(self.few) if self.few else None
        part = self.own if column == "own" else self.unseen
        return None if part is None else 100 * part.error(EXPECTED)

    def inside(self, column: str) -> float | None:
        """Share of measured times inside the band, in percent."""
        ways: dict[str, Sequence[LeftOut | None]] = {"unseen": [self.unseen], "few": self.few, "own": [self.own]}
        parts = ways[column]
        found = [part.inside() for part in parts if part is not None]
        return 100 * sum(found) / len(found) if found else None


COLUMNS = ("roofline", "constant", "unseen", "few", "own")


def rows_of(judged: Iterable[Judged], view: View) -> Iterator[Row]:
    """A row a device and engine that the view has kernels of."""
    for each in judged:
        unseen, own = _seen(each.unseen, view), _seen(each.own, view)
        few = [_seen(draw, view) for draw in each.few]
        for bits, part in own.items():
            names = "/".join(dict.fromkeys(part.precisions))
            draws = [draw[bits] for draw in few if bits in draw]
            yield Row(each.device, f"{each.device.name}, {names}", unseen.get(bits), draws, part)


def _seen(parts: Iterable[LeftOut], view: View) -> dict[int, LeftOut]:
    """Kernels of a view by the bits of their precision: an engine each."""
    masked = [part.take(view.which(part.shape)) for part in parts if part.op in view.ops]
    some = [part for part in masked if part.rows]
    return {part.precisions[0].bits: part for part in merged(some, lambda part: part.precisions[0].bits)}
