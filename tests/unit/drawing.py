"""Features, queries and keys of a vision tower, drawn at random, that several tests reduce."""

from __future__ import annotations

import torch
from torch import Tensor

Tensors = tuple[Tensor, Tensor, Tensor]


def drawn(side: int = 4, batch: int = 2, hidden: int = 8, sharpness: float = 3, seed: int = 0) -> Tensors:
    """Features (batch, side ** 2, hidden), queries and keys of one more row; attention peaks with `sharpness`."""
    draw = torch.Generator().manual_seed(seed)
    features, queries, keys = (torch.randn(batch, side**2 + one, hidden, generator=draw) for one in (0, 1, 1))
    return features, sharpness * queries, keys
