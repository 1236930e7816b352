"""A CLIP vision tower to run: with the weights of a local folder, or with random ones for a dry run."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from perfkit.documents import shown
from perfkit.errors import InvalidSpec, InvalidValue, MachineError
from perfkit.measuring.backend import Backend, dtype_of
from perfkit.measuring.networks import own_code_only, random_module, unfilled_module
from perfkit.memory import RUNTIME_RESERVE_BYTES
from perfkit.models import config_of, load_model
from perfkit.models.spec import VisionSpec
from perfkit.pictures.preprocessing import Preprocessing, clip_preprocessing, read_preprocessing
from perfkit.pictures.weights import read_tower_weights, weight_bytes
from perfkit.reduction.llava.tower import FEATURE_LAYER
from perfkit.units import Precision, format_quantity

if TYPE_CHECKING:
    from torch import Tensor

FAMILIES = ("clip", "llava")  # whose towers run here
TOWER_TYPE = "clip_vision_model"
PRECISIONS = ("fp32", "fp16", "bf16")
USUAL = {"cuda": "fp16", "cpu": "fp32"}  # as LLaVA runs its tower; CPUs emulate fp16


class Tower(NamedTuple):
    """A `CLIPVisionModel` on a device. `source`: whose weights; `random`: whether they mean nothing."""

    module: Any
    vision: VisionSpec
    preprocessing: Preprocessing
    feature_layer: int
    precision: str
    source: str
    random: bool

    def placed(self, pixels: Tensor) -> Tensor:
        """Pixels where the tower runs, and in its format."""
        placed: Tensor = pixels.to(self.module.device, self.module.dtype)
        return placed


def load_tower(folder: str, backend: Backend, precision: str, feature_layer: int = FEATURE_LAYER) -> Tower:
    """The tower of a CLIP or LLaVA folder with its own weights; nothing is downloaded.

    Raises:
        InvalidValue: no such folder.
        InvalidSpec: no config.json of CLIP or LLaVA, or weights that do not fit it.
        MachineError: no room for it.
    """
    path = Path(whole_path(folder))
    if not os.path.isdir(path):
        raise InvalidValue(f"no folder {folder!r}: weights are read from a local folder, nothing is downloaded")
    vision = _vision_of(str(path))
    _check_size(path, vision)
    module = _built(unfilled_module, str(path), vision, backend, precision)
    shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    module.load_state_dict(read_tower_weights(path, shapes))
    preprocessing = read_preprocessing(path, vision.image_size)
    return Tower(module, vision, preprocessing, feature_layer, precision, str(path), random=False)


def random_tower(model: str, backend: Backend, precision: str, feature_layer: int = FEATURE_LAYER) -> Tower:
    """The tower of a preset, or of a config.json, with random weights, the same at every call.

    Raises:
        UnknownName, InvalidSpec: as `load_model`; or a model without a CLIP tower.
        MachineError: no room for it.
    """
    vision = _vision_of(model)
    module = _built(random_module, model, vision, backend, precision)
    preprocessing = clip_preprocessing(vision.image_size)
    return Tower(module, vision, preprocessing, feature_layer, precision, model, random=True)


def whole_path(folder: str) -> str:
    """A folder as no preset can be named."""
    return os.path.abspath(os.path.expanduser(folder))


def usual_precision(backend: Backend) -> str:
    """Precision in which a tower runs on a device where nobody says it."""
    return USUAL[backend.device.type]


def feature_layer_of(model: str) -> int:
    """Layer that a LLaVA takes its features from; -2, as LLaVA-1.5, for what names none.

    Raises:
        InvalidValue: several layers, or the class token among the features.
    """
    values = config_of(model)
    layer, strategy = values.get("vision_feature_layer"), values.get("vision_feature_select_strategy")
    if strategy not in (None, "default"):
        raise InvalidValue(
            f"{model}: vision_feature_select_strategy must be 'default', patches alone, not {shown(strategy)}"
        )
    if layer is not None and (isinstance(layer, bool) or not isinstance(layer, int)):
        raise InvalidValue(f"{model}: features come from one layer, such as -2, not from {shown(layer)}")
    return FEATURE_LAYER if layer is None else layer


def _vision_of(name: str) -> VisionSpec:
    """The CLIP tower of a model."""
    values = config_of(name)
    if isinstance(elsewhere := values.get("mm_vision_tower"), str):
        raise InvalidSpec(f"{name}: a LLaVA of the original code, whose tower lies elsewhere: take that of {elsewhere}")
    spec = load_model(name)
    part = values.get("vision_config") if spec.family == "llava" else None
    kind = part.get("model_type", TOWER_TYPE) if isinstance(part, dict) else TOWER_TYPE
    if spec.family not in FAMILIES or spec.vision is None or kind != TOWER_TYPE:
        found = kind if spec.family in FAMILIES else values["model_type"]
        raise InvalidSpec(f"{name}: has no tower of CLIP's ({shown(found)}); towers of CLIP and LLaVA run here")
    return spec.vision


def _built(build: Callable[..., Any], name: str, vision: VisionSpec, backend: Backend, precision: str) -> Any:
    """The tower of a configuration, made by `build`, if there is room and it is what was read from there."""
    from transformers import CLIPVisionModel

    _check_room(name, vision, backend, precision)
    module = build(CLIPVisionModel, _tower_config(name), backend.device, dtype_of(precision))
    built = sum(parameter.numel() for parameter in module.parameters())
    if built != vision.parameters:
        raise InvalidSpec(f"{name}: Hugging Face builds {built:,} parameters, perfkit counts {vision.parameters:,}")
    return module


def _tower_config(name: str) -> Any:
    """Hugging Face's configuration of a tower, alone or in a larger model."""
    import transformers

    values = own_code_only(config_of(name))
    try:
        config = transformers.CONFIG_MAPPING[values["model_type"]].from_dict(values)
    except Exception as error:  # Hugging Face checks values that are not counted, each in its own way
        told = " ".join(str(error).split()) or type(error).__name__
        raise InvalidSpec(f"{name}: Hugging Face refuses its configuration: {told}") from None
    return getattr(config, "vision_config", config)


def _check_size(folder: Path, vision: VisionSpec) -> None:
    """Refuse sizes that the files cannot hold, before memory is taken for them: a parameter has at least a byte."""
    held = weight_bytes(folder)
    if held < vision.parameters:
        raise InvalidSpec(
            f"{folder}: its weights are {format_quantity(held, 'B')}, "
            f"too few for the {vision.parameters:,} parameters of the tower in its config.json"
        )


def _check_room(name: str, vision: VisionSpec, backend: Backend, precision: str) -> None:
    need = int(Precision(precision).bytes_of(vision.parameters)) + RUNTIME_RESERVE_BYTES
    if need > (free := backend.free_bytes()):
        raise MachineError(
            f"the tower of {name} in {precision} needs {format_quantity(need, 'B')} (1 GiB of it for the runtime); "
            f"{format_quantity(free, 'B')} are free"
        )
