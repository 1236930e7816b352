"""What the host takes to launch kernels one by one, where no graph does it.

A model's eager step is bound by the host that runs its Python, not by the GPU: about as many microseconds a kernel on
an A100 as on an H100. An expectation of this file until a machine is measured (`perfkit measure`), from published
decode steps of Llama models of 7 and 8 billion parameters in eager code, divided by their kernels:

| step | kernels | a kernel | source |
| --- | --- | --- | --- |
| 39.2 ms, A100, plain PyTorch | some 1760 | 22 us | pytorch.org/blog/accelerating-generative-ai-2: 25.5 tokens/s |
| 30 ms, Hugging Face, dynamic cache | 1290 | 23 us | github.com/huggingface/transformers/pull/34247: 500 in 15 s |
| 18.6-20.3 ms, Hugging Face, H100 | 1301 | 14-16 us | reports/measured, where its host was quiet; else 20-40 |
| one operator alone in a loop | 1 | 7-8 us | github.com/flagos-ai/Torch-FL/pull/27, FlagGems/issues/4812 |
"""

from __future__ import annotations

from typing import NamedTuple


class HostTime(NamedTuple):
    """Seconds of host time a kernel launched: expected, and ends between which nine of ten hosts are taken to lie."""

    expected_s: float
    low_s: float
    high_s: float


EAGER = HostTime(20e-6, 8e-6, 30e-6)
