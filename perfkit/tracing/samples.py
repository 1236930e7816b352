"""Two factories as `perfkit count --module` takes them: a feed-forward block, and a vision tower of Hugging Face's."""

from __future__ import annotations

from typing import Any


def gated_feed_forward() -> tuple[Any, tuple[Any, ...]]:
    """Llama-2-7B's feed-forward, down(silu(gate(x)) * up(x)), over one sequence of 32 tokens in fp16."""
    import torch
    from torch import nn

    class FeedForward(nn.Module):
        def __init__(self, hidden: int, inner: int) -> None:
            super().__init__()
            self.gate = nn.Linear(hidden, inner, bias=False)
            self.up = nn.Linear(hidden, inner, bias=False)
            self.down = nn.Linear(inner, hidden, bias=False)

        def forward(self, x: Any) -> Any:
            return self.down(nn.functional.silu(self.gate(x)) * self.up(x))

    return FeedForward(4096, 11008).to(torch.float16), (torch.empty(1, 32, 4096, dtype=torch.float16),)


def clip_tower() -> tuple[Any, tuple[Any, ...]]:
    """CLIP ViT-L/14-336, LLaVA-1.5's vision tower, over one picture in fp16."""
    import torch
    import transformers

    config = transformers.CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    tower: Any = transformers.CLIPVisionModel(config)
    return tower.to(torch.float16), (torch.empty(1, 3, 336, 336, dtype=torch.float16),)
