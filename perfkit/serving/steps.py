"""Step times of a replica, from perfkit's own prediction: tables over a batch's size and lengths.

    image(b, v)        vision, reduction and projector of b requests with v visual tokens each
    prefill(b, t, v)   b prompts of t text and v visual tokens
    decode(b, c)       one new token of b requests whose caches hold c tokens

A batch of requests that differ is taken as so many of their mean length: linear layers and the cache that is read are
sums over requests, so that this is exact for them; what grows with the square of a prompt is a little more.

With chunks a step has n tokens in all, of prompts and of decoding requests, in its linear layers, and attention apart:

    mixed = rest(n) + sum of attention(done + chunk) - attention(done) + attention of decode(b, c)

rest and attention are those of one prompt of so many tokens; the chunks of a prompt add up to its whole attention.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from perfkit.counting import workload_of
from perfkit.latency import Prediction, predict
from perfkit.phases import PhaseTime
from perfkit.roofline import OpTime
from perfkit.serving.axes import FINE, batch_axis, length_axis
from perfkit.serving.interpolating import Interpolation
from perfkit.serving.request import Server
from perfkit.serving.traffic import Traffic

# Ops of the language model whose work is that of each request by itself.
ATTENTION = frozenset(f"attention{part}" for part in ("", "_qk", "_softmax", "_pv", "_repeat_kv"))
LANGUAGE = ("prefill", "decode")


@dataclass(frozen=True, eq=False)
class StepTimes:
    """Seconds of steps by `Interpolation.at`; the last three are for chunks, None where there are none."""

    image: Interpolation
    prefill: Interpolation
    decode: Interpolation
    rest: Interpolation | None = None
    attention: Interpolation | None = None
    decode_attention: Interpolation | None = None


def step_times(server: Server, traffic: Traffic, max_batch: int, chunk_tokens: int | None = None) -> StepTimes:
    """Tables that hold every batch that the traffic can make.

    >>> from perfkit.latency import analyze
    >>> from perfkit.serving.simulating import simulate
    >>> steps = simulate("v100", rate=0.1, tokens=32, requests=10, basis="roofline").replica.steps
    >>> steps.decode.at(1, 32 + 60 + 127 / 2) == analyze("v100", tokens=32).tpot_roofline_s  # on a point of the grid
    True
    """
    batches = batch_axis(max_batch)
    text, visual = (_axis(lengths) for lengths in (traffic.text_tokens, traffic.visual_tokens))
    context = length_axis(*_context_ends(traffic), FINE)
    prompts = _predict(server, batches[:, None, None], text[:, None], visual)
    # What a cache holds beside whole tokens is half a new one: that of one new token or of two, on average.
    decoding = _predict(server, batches[:, None], context // 1, new=1 + 2 * (context % 1))
    assert decoding.mean_decode is not None  # noqa: S101  # a model that makes tokens
    times = StepTimes(
        _image(server, traffic, batches),
        Interpolation((batches, text, visual), _seconds(_phase(prompts, "prefill"), server)),
        Interpolation((batches, context), _seconds(decoding.mean_decode, server)),
    )
    return (
        times if chunk_tokens is None else _chunked(times, server, traffic, decoding, (batches, context), chunk_tokens)
    )


def _image(server: Server, traffic: Traffic, batches: Any) -> Interpolation:
    if not traffic.visual_tokens.any():
        return Interpolation(([0.0], [0.0]), 0.0)
    visual = _axis(traffic.visual_tokens, 1)
    phases = _predict(server, batches[:, None], visual=visual).phases
    seconds = sum(_seconds(phase, server) for phase in phases if phase.phase not in LANGUAGE)
    return Interpolation((batches, visual), seconds)


def _chunked(
    times: StepTimes, server: Server, traffic: Traffic, decoding: Prediction, axes: tuple[Any, Any], chunk: int
) -> StepTimes:
    import numpy

    prompts = traffic.prompt_tokens
    least, most = float(prompts.min()), float(prompts.max())
    own = [least, most] if least == most else []  # so that a prompt of the only length is met exactly
    tokens = numpy.unique([*length_axis(1, chunk, FINE), *(one for one in own if one <= chunk)])
    lengths = numpy.unique([*length_axis(1, most, FINE), *numpy.arange(chunk, most, chunk), *own])
    one_step, one_prompt = _predict(server, 1, tokens), _predict(server, 1, lengths)
    rest = _seconds(_phase(one_step, "prefill"), server) - _attention(one_step.ops, "prefill", server)
    attention = _attention(one_prompt.ops, "prefill", server)
    return StepTimes(
        times.image,
        times.prefill,
        times.decode,
        Interpolation((tokens,), rest),
        Interpolation(([0.0, *lengths],), [0.0, *attention]),
        Interpolation(axes, _attention(decoding.ops, "decode", server)),
    )


def _axis(lengths: Any, least: float = 0) -> Any:
    """Points of the lengths that occur, from `least` up; a request without an image stands apart from the smallest."""
    import numpy

    low, high = max(float(lengths.min()), least), max(float(lengths.max()), least)
    axis = length_axis(low, high)
    return numpy.unique([*axis, 1.0]) if low < 1 < high else axis


def _context_ends(traffic: Traffic) -> tuple[float, float]:
    """Of the means over any batch; a static one goes on with short requests until its longest is done."""
    prompts, growth = traffic.prompt_tokens, (traffic.new_tokens - 1) / 2
    return float(prompts.min() + growth.min()), float(prompts.max() + growth.max())


def _predict(server: Server, batch: Any, text: Any = 1, visual: Any = 0, new: Any = 1) -> Prediction:
    spec, choice, execution = server.cell
    workload = workload_of(spec, tokens=visual, text_tokens=text, new_tokens=new, batch=batch, images=server.images)
    return predict(spec, choice, workload, execution, server.calibration, expected=server.basis == "expected")


def _phase(prediction: Prediction, name: str) -> PhaseTime:
    return next(phase for phase in prediction.phases if phase.phase == name)


def _seconds(time: PhaseTime | OpTime, server: Server) -> Any:
    return time.roofline_s if server.basis == "roofline" else time.expected_s


def _attention(ops: Iterable[OpTime], phase: str, server: Server) -> Any:
    """Of the ops of one phase those of attention."""
    return sum(_seconds(op, server) for op in ops if op.cost.phase == phase and op.cost.name in ATTENTION)
