"""Reducers as modules of torch, to stand in a model, be captured in a CUDA graph, or be saved with it.

The one file of this room that needs torch when it is imported: a class of torch's has to be there to be derived from.
"""

from __future__ import annotations

from torch import Tensor, nn

from perfkit.reduction.method import Reducer
from perfkit.reduction.prumerge import NEIGHBOURS
from perfkit.reduction.reducing import NON_FINITE, ReducedTokens, as_ratio, reduce, reducer_of
from perfkit.units import parse_choice


class TokenReducer(nn.Module):
    """`reduce` with its settings; it has no parameters.

    `ratio` is the share of the patches that is kept; for PruMerge+ the share chosen by attention, to which its grid
    comes, so that it keeps more, and everything above 1/2.

    Raises:
        UnknownName, InvalidValue: as `reduce`, of the settings.

    >>> import torch
    >>> reducer = TokenReducer("sequential", ratio=0.5)
    >>> reducer(torch.ones(2, 16, 8), None, None).counts  # 0.5 * 16
    tensor([8, 8])
    """

    def __init__(
        self,
        method: str | Reducer,
        ratio: float | None = None,
        neighbours: int = NEIGHBOURS,
        strict_reference: bool = False,
        *,
        non_finite: str = "raise",
        grid: int | None = None,
    ) -> None:
        super().__init__()
        ratio = as_ratio(ratio)
        parse_choice("non_finite", non_finite, NON_FINITE)
        self.method = reducer_of(method, neighbours, strict_reference=strict_reference)
        self.ratio = ratio
        self.strict_reference = strict_reference
        self.non_finite = non_finite
        self.grid = grid

    def forward(self, features: Tensor, queries: Tensor | None, keys: Tensor | None) -> ReducedTokens:
        """Tokens of features (batch, patches, hidden), as `reduce`."""
        return reduce(self.method, features, queries, keys, self.ratio, non_finite=self.non_finite, grid=self.grid)

    def extra_repr(self) -> str:
        """Settings, as a model prints them."""
        how = f"strict_reference={self.strict_reference}, non_finite={self.non_finite}, grid={self.grid}"
        return f"{self.method}, ratio={self.ratio}, {how}"
