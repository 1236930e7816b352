"""Video-LLaVA: eight frames through a CLIP tower of their own; a second tower, for images, stays idle meanwhile.

Source: transformers `VideoLlavaConfig` and `VideoLlavaForConditionalGeneration`.
"""

from __future__ import annotations

from dataclasses import replace

from perfkit.errors import InvalidSpec
from perfkit.models.config import Config
from perfkit.models.llava import CLIP_LARGE_336, assemble
from perfkit.models.spec import ModelSpec

FRAMES = 8  # of a video; the class default of video_seq_length is 8 * 257
CLIP_LARGE_224 = {**CLIP_LARGE_336, "image_size": 224}


def read(config: Config) -> ModelSpec:
    """Spec of a `VideoLlavaForConditionalGeneration`, for one video."""
    spec = assemble(config, "video_llava", tower=CLIP_LARGE_224)
    vision = spec.vision
    if vision is None:
        raise InvalidSpec("a Video-LLaVA has a vision tower")
    positions = config.count("video_seq_length", FRAMES * vision.positions)
    frames, rest = divmod(positions, vision.positions)
    if not frames or rest:
        one = f"the {vision.positions} positions of one frame"
        raise InvalidSpec(f"video_seq_length {positions} is no multiple of {one}")
    tokens = frames * vision.kept_positions
    note = (
        f"{tokens} visual tokens of one video: {frames} frames of {vision.kept_positions}, as the paper counts; "
        f"Hugging Face's port keeps {frames * vision.positions}, class tokens included"
    )
    return replace(
        spec, tiles=frames, visual_tokens=tokens, idle_parameters=vision.parameters, notes=(*spec.notes, note)
    )
