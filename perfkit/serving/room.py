"""Memory of a replica: what caches may take beside weights and activations, and how much each request needs."""

from __future__ import annotations

from dataclasses import dataclass

from perfkit.counting import workload_of
from perfkit.errors import InvalidValue
from perfkit.latency import Prediction, predict
from perfkit.memory import RUNTIME_RESERVE_BYTES, max_kv_bytes
from perfkit.serving.axes import batch_axis
from perfkit.serving.interpolating import Interpolation
from perfkit.serving.request import Server
from perfkit.serving.traffic import Traffic
from perfkit.units import format_quantity
from perfkit.workload import Workload


@dataclass(frozen=True, eq=False)
class Room:
    """Bytes of one GPU, of the fullest where there are several.

    `token_bytes`: cache of a token; a request is given that of all its tokens when it starts. `by_batch`: what caches
    may take together while so many requests run, from 0; activations are those of that many of the longest prompts.
    """

    token_bytes: float
    by_batch: tuple[float, ...]

    def most_requests(self, tokens: float) -> int:
        """So many of a mean length run at once.

        >>> Room(2.0, (100.0, 90.0, 80.0, 70.0)).most_requests(20)  # 2 * 40 <= 80, but 3 * 40 > 70
        2
        """
        need = self.token_bytes * tokens
        return max(batch for batch, room in enumerate(self.by_batch) if batch * need <= room)


def room_of(server: Server, traffic: Traffic, max_batch: int) -> Room:
    """Room for requests up to the longest of `traffic`, which fits by itself.

    Raises:
        InvalidValue: a request beyond the model's context, or beyond the memory; the message says the limit.
    """
    spec, _, execution = server.cell
    longest = _longest(server, traffic, max_batch)
    _check_context(longest, traffic)
    token_bytes = max_kv_bytes(spec, Workload(0, 1, 0), execution)
    free = longest.device.memory_bytes - RUNTIME_RESERVE_BYTES - longest.footprint.weights
    activations = Interpolation((batch_axis(max_batch),), longest.footprint.activations)
    room = Room(token_bytes, tuple(free - (activations.at(batch) if batch else 0) for batch in range(max_batch + 1)))
    _check_memory(room, int(traffic.total_tokens.max()), longest)
    return room


def _longest(server: Server, traffic: Traffic, max_batch: int) -> Prediction:
    """Batches of prompts as long as any, up to `max_batch`."""
    spec, choice, execution = server.cell
    text, visual = (int(lengths.max()) for lengths in (traffic.text_tokens, traffic.visual_tokens))
    workload = workload_of(
        spec, tokens=visual, text_tokens=text, new_tokens=1, batch=batch_axis(max_batch), images=server.images
    )
    return predict(spec, choice, workload, execution, expected=False)


def _check_context(longest: Prediction, traffic: Traffic) -> None:
    text = longest.model.text
    assert text is not None  # noqa: S101  # a model that makes tokens
    place = int(traffic.total_tokens.argmax())
    if traffic.total_tokens[place] > text.context:
        prompt = int(traffic.prompt_tokens[place])
        fitting = (
            f"at most {text.context - prompt} new tokens fit" if prompt < text.context else "not even its prompt fits"
        )
        raise InvalidValue(
            f"a request of {prompt} prompt and {int(traffic.new_tokens[place])} new tokens is longer than the context "
            f"of {longest.model.name}, {text.context} tokens: {fitting}"
        )


def _check_memory(room: Room, tokens: int, longest: Prediction) -> None:
    need, free = tokens * room.token_bytes, room.by_batch[1]
    if need <= free:
        return
    device = longest.device
    if free < room.token_bytes:
        beside = f"weights and activations alone take more than its {format_quantity(device.memory_bytes, 'B')}"
        raise InvalidValue(f"{longest.model.name} does not fit {device.id}: {beside}; see `perfkit roofline`")
    raise InvalidValue(
        f"a request of {tokens} tokens needs {format_quantity(need, 'B')} of cache, and {device.id} has "
        f"{format_quantity(free, 'B')} beside weights and activations: at most {int(free // room.token_bytes)} "
        "tokens fit"
    )
