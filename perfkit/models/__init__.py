"""Models: Hugging Face configurations turned into specs; one file a family, presets as data.

A family's file is named after its `model_type` and has one function, `read(config) -> ModelSpec`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from perfkit.documents import read_json, shown
from perfkit.errors import InvalidSpec, UnknownName
from perfkit.models.config import Config, read_config
from perfkit.models.spec import ModelSpec
from perfkit.workload import DEFAULT_MODEL as DEFAULT_MODEL

LONGEST_NAME = 60  # of a model_type that a message quotes
PRESETS = Path(__file__).parent / "presets"

# model_type -> the class of Hugging Face's that is counted.
COUNTED_CLASSES = {
    "bert": "BertModel",
    "clip": "CLIPVisionModel",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "llava": "LlavaForConditionalGeneration",
    "llava_next": "LlavaNextForConditionalGeneration",
    "llava_onevision": "LlavaOnevisionForConditionalGeneration",
    "mistral": "MistralForCausalLM",
    "mixtral": "MixtralForCausalLM",
    "opt": "OPTForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "siglip": "SiglipVisionModel",
    "video_llava": "VideoLlavaForConditionalGeneration",
}
FAMILIES = tuple(COUNTED_CLASSES)
# Hugging Face names a tower's own configuration apart from the whole model's.
_SAME_FAMILY = {"clip_vision_model": "clip", "siglip_vision_model": "siglip"}


@lru_cache(maxsize=1)
def preset_names() -> tuple[str, ...]:
    """Names of all presets, sorted."""
    return tuple(sorted(path.stem for path in PRESETS.glob("*.json")))


def load_model(name: str) -> ModelSpec:
    """Spec of a preset, or of the config.json at a path (or in a folder).

    Raises:
        UnknownName: neither a preset nor a path.
        InvalidSpec: a file that is no config.json of a known family.

    >>> load_model("llava-1.5-7b").parameters
    7063427072
    """
    if name.lower() in preset_names():
        return _load_preset(name.lower())
    path = _path_of(name)
    return replace(_read_whole(read_config(path)), name=name, source=str(path))


def config_of(name: str) -> dict[str, Any]:
    """Hugging Face configuration of a preset or path, as it stands in its file.

    Raises:
        UnknownName, InvalidSpec: as `load_model`.

    >>> config_of("llava-1.5-7b")["model_type"]
    'llava'
    """
    if name.lower() in preset_names():
        values: dict[str, Any] = read_json(PRESETS / f"{name.lower()}.json")["config"]
        return values
    return dict(read_config(_path_of(name)).values)


def _path_of(name: str) -> Path:
    # os.path, not Path: its tests answer False to names that cannot be paths (too long, unreadable, NUL).
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path):
        path = path / "config.json"
        if not path.exists():
            raise InvalidSpec(f"{path.parent}: holds no config.json")
    if not os.path.exists(path):
        hint = "; `perfkit models` lists all; or a path to a Hugging Face config.json"
        raise UnknownName("model", name, preset_names(), hint)
    return path


@lru_cache(maxsize=64)
def _load_preset(name: str) -> ModelSpec:
    document = read_json(PRESETS / f"{name}.json")
    spec = _read_whole(Config(document["config"], name))
    return replace(spec, name=name, source=document["source"], notes=(*spec.notes, *document.get("notes", ())))


def _read_whole(config: Config) -> ModelSpec:
    """Spec of a whole configuration, with notes of what it says and the count does not follow."""
    spec = read_model(config)
    notes = list(spec.notes)
    architectures, counted = config.values.get("architectures"), COUNTED_CLASSES[spec.family]
    if isinstance(architectures, list) and architectures and counted not in architectures:
        notes.append(f"counted as {counted}, though its architectures name {shown(architectures[0])}")
    elif spec.text is None and "text_config" in config.values:
        notes.append(f"counted as {counted}: its text tower is left out")
    if config.values.get("quantization_config") is not None:
        notes.append("its quantization_config is not applied: give the formats by --weights, --activations and --kv")
    return replace(spec, notes=tuple(notes))


def read_model(config: Config) -> ModelSpec:
    """Spec of a configuration, or of a nested section, by the family that its model_type names.

    Raises:
        InvalidSpec: an unknown family, or values that cannot be.
    """
    model_type = config.text("model_type", "")
    family = _SAME_FAMILY.get(model_type, model_type)
    if family not in FAMILIES:
        raise InvalidSpec(f"{config.where}: {UnknownName('model_type', model_type[:LONGEST_NAME], FAMILIES)}")
    try:
        spec: ModelSpec = import_module(f"perfkit.models.{family}").read(config)
    except InvalidSpec as error:
        # The specs' own checks do not know where the values come from; the configuration's already say it.
        where = "" if str(error).startswith(config.where) else f"{config.where}: "
        raise InvalidSpec(f"{where}{error}") from None
    return replace(spec, defaults=tuple(dict.fromkeys(config.defaults)))
