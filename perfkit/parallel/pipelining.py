"""Stages of a pipeline: which layers each has, where its GPUs stand, and what micro-batches make of them.

One request passes all stages, so its latency does not divide by them; what divides is the time between requests.
"""

from __future__ import annotations

from typing import NamedTuple

from perfkit.errors import InvalidValue
from perfkit.hardware import Device
from perfkit.models.spec import ModelSpec
from perfkit.parallel.links import GPUS_OF_A_NODE, Group, group_of, neighbours
from perfkit.units import Amount
from perfkit.workload import Execution


class Layout(NamedTuple):
    """Where the layers of a model lie: `tensor`, the GPUs that share a stage, None where there is one.

    `stages`: layers of each stage. `boundaries`: between a stage and the next, the GPUs that hand on.
    """

    tensor: Group | None
    stages: tuple[int, ...]
    boundaries: tuple[Group, ...]


def layout_of(spec: ModelSpec, execution: Execution, device: Device) -> Layout | None:
    """Layout of `spec` on tp times pp of `device`; None on one.

    A node holds as many whole stages as it has room for; a stage that needs more than a node starts in a new one.

    Raises:
        InvalidValue: more stages than layers.
        InvalidSpec: no source prints a link of the device.

    >>> from perfkit.hardware import load_device
    >>> from perfkit.models import load_model
    >>> layout = layout_of(load_model("llava-1.5-7b"), Execution(tp=4, pp=4), load_device("a100"))
    >>> layout.stages, [group.nodes for group in layout.boundaries]  # two stages of 4 GPUs a node of 8
    ((8, 8, 8, 8), [1, 2, 1])
    """
    tp, pp = execution.tp, execution.pp
    if tp == pp == 1:
        return None
    stages = stages_of(spec, pp)
    of_node = max(GPUS_OF_A_NODE // tp, 1)
    boundaries = [neighbours(device, same_node=bool(stage % of_node)) for stage in range(1, pp)]
    return Layout(group_of(device, tp) if tp > 1 else None, stages, tuple(boundaries))


def stages_of(spec: ModelSpec, pp: int) -> tuple[int, ...]:
    """Layers of the language model in each of `pp` stages.

    Raises:
        InvalidValue: more stages than layers.
    """
    layers = spec.text.stack.layers if spec.text else 1
    if pp > layers:
        what = f"{layers} layers" if spec.text else "no language model"
        raise InvalidValue(f"pp {pp}: {spec.name} has {what}, so pp must be at most {layers}")
    return stage_layers(layers, pp)


def stage_layers(layers: int, pp: int) -> tuple[int, ...]:
    """So many layers over `pp` stages, as evenly as possible.

    What is left over goes to the stages before the last, from the back: the first holds the vision tower, the last
    lm_head. Source: `get_pp_indices` of vLLM (vllm/distributed/utils.py).

    >>> stage_layers(32, 3), stage_layers(40, 3)
    ((11, 11, 10), (13, 14, 13))
    """
    each, left = divmod(layers, pp)
    stages = [each] * pp
    for place in range(left):
        stages[-2 - place] += 1
    return tuple(stages)


def pipeline_efficiency(micro_batches: Amount, pp: int) -> Amount:
    """Share of the time in which stages work: m / (m + pp - 1), the rest is the bubble of filling and draining.

    Source: Huang et al., GPipe (arXiv 1811.06965), section 2.3; Narayanan et al. (arXiv 2104.04473), section 2.2.1.

    >>> pipeline_efficiency(8, 4)  # 8 / 11
    0.7272727272727273
    """
    return micro_batches / (micro_batches + pp - 1)


def pipeline_s(micro_batch_s: Amount, micro_batches: Amount, pp: int) -> Amount:
    """Seconds of `micro_batches` that each take `micro_batch_s` through all of `pp` even stages, one behind the other.

    A stage takes micro_batch_s / pp of each: m / pp of them one after the other, over `pipeline_efficiency`.

    >>> pipeline_s(4.0, 8, 4)  # 8 + 3 stage times of 1 s
    11.0
    """
    return micro_batch_s * micro_batches / pp / pipeline_efficiency(micro_batches, pp)
