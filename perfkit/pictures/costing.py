"""What the counts of tokens of pictures cost, each through the same pipeline as `perfkit roofline`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from perfkit.counting import workload_of
from perfkit.errors import InvalidValue
from perfkit.hardware import Choice, choose_device
from perfkit.kernels.calibrations import Calibration, read_calibration
from perfkit.latency import Prediction, parse_execution, predict
from perfkit.models import load_model
from perfkit.models.spec import ModelSpec
from perfkit.pictures.tower import Tower
from perfkit.reduction import Reducer
from perfkit.workload import Execution


class Costing(NamedTuple):
    """Model, devices, requests and formats that counts are costed for."""

    spec: ModelSpec
    choices: tuple[Choice, ...]
    request: dict[str, Any]
    execution: Execution
    calibration: Calibration | None = None

    @property
    def patches(self) -> int:
        """Patches that the model's own tower makes of a picture."""
        return self.spec.vision.patches if self.spec.vision else 0

    def unreduced(self) -> dict[str, Prediction]:
        """By device: all tokens of a picture, no reducer.

        Raises:
            UnsupportedPrecision: a card has no engine for the products.
        """
        return {choice.device.id: self._predicted(choice) for choice in self.choices}

    def reduced(self, method: Reducer, counts: Iterable[int]) -> dict[str, dict[int, Prediction]]:
        """By device, and by count: as many tokens as are left of a picture, at most those that the model takes."""
        possible = sorted({min(count, self.spec.visual_tokens) for count in counts})
        return {
            choice.device.id: {count: self._predicted(choice, count, method) for count in possible}
            for choice in self.choices
        }

    def _predicted(self, choice: Choice, tokens: int | None = None, method: Reducer | None = None) -> Prediction:
        text = method.text if method else None
        workload = workload_of(self.spec, tokens=tokens, reduction=text, **self.request)
        return predict(self.spec, choice, workload, self.execution, self.calibration)


def costing_of(
    model: str,
    gpus: Sequence[str],
    *,
    text_tokens: int,
    new_tokens: int,
    batch: int,
    precision: str = "fp16",
    calibration: str | None = None,
    **formats: Any,
) -> Costing:
    """How counts are costed; the arguments are options of `perfkit roofline`, one picture a sequence.

    Raises:
        UnknownName, InvalidValue, InvalidSpec: as `perfkit.analyze`; no device; a model that takes no single picture.
    """
    if not gpus:
        raise InvalidValue("name at least one device to cost the tokens for")
    spec = load_model(model)
    if spec.vision is None or spec.projector is None or spec.text is None:
        raise InvalidValue(f"{spec.name} is no vision-language model: its visual tokens cost nothing that is counted")
    if spec.tiles > 1:
        raise InvalidValue(f"{spec.name} sees a picture in {spec.tiles} tiles; here a picture is seen once, as a whole")
    request = {"text_tokens": text_tokens, "new_tokens": new_tokens, "batch": batch}
    # Each device once, whatever names it was asked for by.
    choices = {choice.device.id: choice for choice in map(choose_device, gpus)}
    found = read_calibration(Path(calibration)) if calibration is not None else None
    return Costing(spec, tuple(choices.values()), request, parse_execution(precision, **formats), found)


def check_patches(costing: Costing, tower: Tower) -> None:
    """Refuse to cost counts of a tower for a model whose own sees otherwise.

    Raises:
        InvalidValue: it makes another number of patches.
    """
    if costing.patches != tower.vision.patches:
        raise InvalidValue(
            f"{tower.source} makes {tower.vision.patches} patches of a picture, the tower of {costing.spec.name} "
            f"{costing.patches}: name a model that takes as many by --model"
        )
