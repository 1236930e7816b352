"""PruMerge+: PruMerge with spatially uniform patches beside the outliers.

Source: Shang et al., LLaVA-PruMerge (arXiv 2403.15388, ICCV 2025), section 3.3; 42Shawn/LLaVA-PruMerge at 1ca8b2b,
llava/model/multimodal_encoder/clip_encoder.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from perfkit.models.spec import ModelSpec
from perfkit.ops import OpCost, Place
from perfkit.reduction import costs
from perfkit.reduction.method import TowerOutput
from perfkit.reduction.prumerge import PruMerge
from perfkit.units import Amount

AVERAGE_SHARE = 4  # one of so many tokens: 144 of LLaVA-1.5's 576; on Video-LLaVA 512 of 2048, 64 of a frame's 256


@dataclass(frozen=True, slots=True)
class PruMergePlus(PruMerge):
    """Merges into outliers and into a uniform grid alike."""

    name: ClassVar[str] = "prumerge+"
    title: ClassVar[str] = "PruMerge+"
    assumed: ClassVar[str] = "a quarter of the visual tokens"

    def image_tokens(self, spec: ModelSpec) -> int:
        """Its paper's average, of each tile; a part of a token is none."""
        return spec.tiles * (spec.projected_tokens // spec.tiles // AVERAGE_SHARE)

    def _selection(self, place: Place, tower: TowerOutput, kept: Amount) -> Iterator[OpCost]:
        """How many of the kept are outliers is unknown: each patch is looked at once for either choice."""
        patches = tower.tiles * tower.tokens
        yield costs.pick(place, "pick_outliers", patches, kept)
        yield costs.pick(place, "supplement_grid", patches, kept)


read = PruMergePlus.read
