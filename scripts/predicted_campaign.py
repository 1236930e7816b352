"""Write down what is predicted of a measuring campaign, to be committed before a GPU is measured.

`python -m scripts.predicted_campaign GPU` writes reports/validation/GPU-prediction.json: LLaVA-1.5 7B and 13B at the
visual tokens, batches and precisions of CAMPAIGN, phase by phase as `perfkit measure` times them. Nobody can then say
that the model was fitted to what it is held against; the calibration in use is in the history beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

from perfkit import __version__
from perfkit.files import write_whole
from perfkit.hardware import choose_device
from perfkit.kernels.calibrations import calibration_for, calibrations_folder
from perfkit.measuring.cases import PHASES, Grid, PhaseCase, phase_cases
from perfkit.models import load_model
from perfkit.validation.predicting import PredictedPhase, predict_cases
from scripts.pages import ROOT

MODELS = ("llava-1.5-7b", "llava-1.5-13b")
TOKENS, TEXT, BATCHES, PRECISIONS = (576, 288, 144, 64, 32), 60, (1, 4, 8), ("fp16", "bf16")
CAMPAIGN = Grid(TOKENS, TEXT, BATCHES, PRECISIONS, ("sdpa",), ("eager", "graph"), PHASES)
EAGER_ATTENTION = Grid(TOKENS, TEXT, (1,), ("fp16",), ("eager",), ("eager", "graph"), ("vision", "prefill", "decode"))


def cases() -> Iterator[PhaseCase]:
    """Every point of the campaign: all of both models, and one column with eager attention."""
    for model in MODELS:
        for grid in (CAMPAIGN, EAGER_ATTENTION):
            yield from phase_cases(load_model(model), grid)


def document(gpu: str) -> dict[str, Any]:
    """The prediction as JSON keeps it: times in seconds, nine of ten expected between low and high."""
    choice = choose_device(gpu)
    calibration = calibration_for(choice.device)
    parameters = (calibrations_folder() / f"{calibration.id}.yaml").read_bytes()
    predicted = predict_cases(choice, dict.fromkeys(cases()))
    return {
        "schema": "perfkit.prediction/1",
        "perfkit": __version__,
        "device": choice.device.id,
        "calibration": calibration.id,
        "calibration_sha256": sha256(parameters).hexdigest()[:16],
        "points": [_point(case, phase) for case, phase in predicted.items()],
    }


def _point(case: PhaseCase, phase: PredictedPhase) -> dict[str, Any]:
    total = phase.total
    times = ("roofline_s", "expected_s", "expected_low_s", "expected_high_s", "launch_s")
    return {**case._asdict(), "flops": total.flops, "bytes": total.bytes} | {key: getattr(total, key) for key in times}


def main(gpu: str) -> None:
    """Write the file of one GPU."""
    made = document(gpu)
    head = json.dumps({key: value for key, value in made.items() if key != "points"}, indent=2)
    lines = ",\n    ".join(json.dumps(point) for point in made["points"])
    text = f'{head[:-2]},\n  "points": [\n    {lines}\n  ]\n}}\n'
    write_whole(ROOT / "reports" / "validation" / f"{made['device']}-prediction.json", text)


if __name__ == "__main__":
    main(sys.argv[1])
