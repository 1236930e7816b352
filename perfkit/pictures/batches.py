"""Batches of pictures through the tower and the reducers, and what is kept of each picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.errors import InvalidValue
from perfkit.pictures.finding import shown
from perfkit.pictures.reading import UnreadablePicture, read_picture
from perfkit.pictures.results import Kept, LeftOut
from perfkit.pictures.tower import Tower
from perfkit.reduction import Reducer

if TYPE_CHECKING:
    from torch import Tensor

    from perfkit.reduction.llava.tower import TowerTensors
    from perfkit.reduction.reducing import ReducedTokens

WAYS_OUT = ("raise", "skip")
SEED = 0  # of methods that draw
NOT_FINITE = "its features, queries or keys are not finite"


class Batch(NamedTuple):
    """Pictures that the tower sees at once."""

    paths: tuple[Path, ...]

    @property
    def label(self) -> str:
        """Its first picture, and how many more there are.

        >>> Batch((Path("a/cat.jpg"), Path("a/dog.jpg"))).label
        'cat.jpg and 1 more'
        """
        more = len(self.paths) - 1
        return f"{shown(Path(self.paths[0].name))}{f' and {more} more' if more else ''}"


class Reducing(NamedTuple):
    """How pictures are reduced. `unreadable`, `non_finite`: what becomes of pictures that are so, one of WAYS_OUT."""

    methods: tuple[Reducer, ...]
    ratio: float | None
    strict_reference: bool
    unreadable: str
    non_finite: str

    @property
    def needs_class_token(self) -> bool:
        """Whether any method reads queries and keys."""
        return any(method.needs_class_token for method in self.methods)

    def seen(self, tower: Tower, pixels: Tensor) -> TowerTensors:
        """What the methods need of the tower."""
        from perfkit.reduction.llava.tower import run_tower

        return run_tower(tower.module, pixels, tower.feature_layer, keys=self.needs_class_token)

    def reduced(self, method: Reducer, seen: TowerTensors) -> ReducedTokens:
        """What a method leaves; nothing of pictures that are not finite, which are named later, where names are known.

        Raises:
            InvalidValue: what the method cannot do.
        """
        from perfkit.reduction.reducing import reduce

        how: dict[str, Any] = {"ratio": self.ratio, "strict_reference": self.strict_reference}
        return reduce(method, *seen, **how, non_finite="skip")


class Pass:
    """One pass over all pictures; `first`: pixels of the first batch and what was seen in them, to be timed later."""

    def __init__(self, tower: Tower, how: Reducing) -> None:
        self.tower = tower
        self.how = how
        self.kept: dict[Reducer, list[Kept]] = {method: [] for method in how.methods}
        self.left_out: dict[Reducer, list[LeftOut]] = {method: [] for method in how.methods}
        self.unreadable: list[LeftOut] = []
        self.first: tuple[Tensor, TowerTensors] | None = None

    def add(self, batch: Batch) -> None:
        """Reduce the pictures of a batch.

        Raises:
            InvalidValue: a picture that cannot be read, or whose features are not finite, where such are not skipped;
                pictures for which a method has no tokens, as the published code for some.
        """
        import torch

        prepared = list(self._prepared(batch.paths))
        if not prepared:
            return
        pixels = self.tower.placed(torch.cat([pixels for _, pixels in prepared]))
        seen = self.how.seen(self.tower, pixels)
        self.first = self.first or (pixels, seen)
        paths = [path for path, _ in prepared]
        for method in self.how.methods:
            self._keep(method, paths, self._reduced(method, paths, seen))

    def _prepared(self, paths: Sequence[Path]) -> Iterator[tuple[Path, Tensor]]:
        for path in paths:
            try:
                yield path, self.tower.preprocessing.pixels([read_picture(path)])
            except UnreadablePicture as error:
                if self.how.unreadable == "raise":
                    raise InvalidValue(f"{shown(path)}: {error}; --unreadable skip leaves such pictures out") from None
                self.unreadable.append(LeftOut(path, str(error)))

    def _reduced(self, method: Reducer, paths: Sequence[Path], seen: TowerTensors) -> ReducedTokens:
        try:
            return self.how.reduced(method, seen)
        except InvalidValue as error:  # what depends on the pictures: all else has been tried before
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            raise InvalidValue(f"{shown(paths[0])}{more}: {error}") from None

    def _keep(self, method: Reducer, paths: Sequence[Path], reduced: ReducedTokens) -> None:
        for path, count, kept in zip(paths, reduced.counts.tolist(), reduced.kept.cpu(), strict=True):
            if count:
                self.kept[method].append(Kept(path, tuple(kept.nonzero().flatten().tolist()), count))
            elif self.how.non_finite == "raise":
                raise InvalidValue(f"{shown(path)}: {NOT_FINITE}; --non-finite skip leaves such pictures out")
            else:
                self.left_out[method].append(LeftOut(path, NOT_FINITE))


@contextmanager
def undisturbed(device: Any) -> Iterator[None]:
    """For a while torch keeps no gradients, multiplies fp32 in fp32, and draws what it always draws from SEED."""
    import torch

    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        with torch.inference_mode(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(SEED)
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
