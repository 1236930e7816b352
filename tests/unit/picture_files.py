"""Small towers and pictures that several tests share, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIDE, PATCH, GRID = 112, 14, 8  # 8 * 14 = 112
PATCHES = GRID * GRID
TOWER = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "image_size": SIDE,
    "intermediate_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "patch_size": PATCH,
}
LANGUAGE_MODEL = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "max_position_embeddings": 512,
}
LLAVA = {"model_type": "llava", "vision_config": TOWER, "text_config": LANGUAGE_MODEL, "image_token_index": 1}
CLIP = {"model_type": "clip", "vision_config": TOWER, "text_config": {"model_type": "clip_text_model"}}


def write_json(path: Path, values: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return str(path)


def tower_tensors(prefix: str = "", seed: int = 0) -> dict[str, Any]:
    """Weights of TOWER, large enough that its attention is anything but flat, so that counts differ by picture."""
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    generator = torch.Generator().manual_seed(seed)
    tensors = CLIPVisionModel(CLIPVisionConfig(**TOWER)).state_dict()
    return {
        f"{prefix}{name}": torch.randn(tensor.shape, generator=generator) * (0.32 if tensor.dim() > 1 else 0.1)
        + float(tensor.dim() == 1 and name.endswith("norm.weight"))
        for name, tensor in tensors.items()
    }


def write_clip(folder: Path, tensors: dict[str, Any] | None = None) -> Path:
    """A folder as `CLIPVisionModel.save_pretrained` writes it."""
    from safetensors.torch import save_file

    write_json(folder / "config.json", TOWER)
    save_file(tower_tensors() if tensors is None else tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_llava(folder: Path) -> Path:
    """A LLaVA in two shards, of which the one without the tower is broken: whoever opens it notices."""
    from safetensors.torch import save_file

    write_json(folder / "config.json", LLAVA)
    tensors = tower_tensors("vision_tower.vision_model.")
    names = sorted(tensors)
    save_file({name: tensors[name] for name in names[:20]}, folder / "model-00001-of-00003.safetensors")
    save_file({name: tensors[name] for name in names[20:]}, folder / "model-00002-of-00003.safetensors")
    (folder / "model-00003-of-00003.safetensors").write_bytes(b"not safetensors at all")
    homes = {name: f"model-0000{1 + (name in names[20:])}-of-00003.safetensors" for name in names}
    homes["language_model.lm_head.weight"] = "model-00003-of-00003.safetensors"
    write_json(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": homes})
    return folder


def write_home(folder: Path, pictures: int) -> Path:
    """A folder with a LLaVA, a CLIP, a LLaVA's configuration alone, and pictures of different sizes."""
    write_llava(folder / "llava")
    write_clip(folder / "clip")
    write_json(folder / "llava.json", LLAVA)
    write_pictures(folder / "pictures", pictures)
    return folder


def picture(seed: int = 0, size: tuple[int, int] = (120, 90)) -> Image.Image:
    """A few coloured boxes on noise, another one for each seed."""
    random = np.random.default_rng(seed)
    pixels = random.integers(90, 130, (size[1], size[0], 3), dtype=np.uint8)
    for _ in range(4):
        x, y = random.integers(0, size[0] - 8), random.integers(0, size[1] - 8)
        pixels[y : y + random.integers(8, 40), x : x + random.integers(8, 40)] = random.integers(0, 256, 3)
    return Image.fromarray(pixels)


def write_pictures(folder: Path, count: int) -> list[str]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{seed:02}.png" for seed in range(count)]
    for seed, path in enumerate(paths):
        picture(seed, (100 + 7 * seed, 80 + 11 * (seed % 5))).save(path)
    return [str(path) for path in paths]
