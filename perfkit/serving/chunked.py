"""Continuous batching with prompts read in chunks beside decoding.

Agrawal et al., SARATHI (arXiv 2308.16369), chunked prefills and decode-maximal batching: a step has so many tokens in
all; decoding requests take one each, and the rest goes to prompts, first come first served, to several where one
ends. So nobody's decoding waits for a whole prompt.
"""

from __future__ import annotations

from collections import deque

from perfkit.serving.continuous import Decoding, decode
from perfkit.serving.service import Service, Steps


class Prompts:
    """Prompts that are being read: how many tokens of each are done."""

    def __init__(self) -> None:
        self._done: deque[tuple[int, float]] = deque()

    def __len__(self) -> int:
        return len(self._done)

    def join(self, places: list[int]) -> None:
        """Begin with them, behind those that are there."""
        self._done.extend((place, 0.0) for place in places)

    def read(self, service: Service, budget: float) -> tuple[float, float, list[int]]:
        """At most `budget` tokens: how many they are, seconds of their attention, and whose prompts are then done."""
        attention = service.times.attention
        assert attention is not None  # noqa: S101  # tables for chunks were asked for
        tokens, seconds, finished = 0.0, 0.0, []
        while self._done and tokens < budget:
            place, before = self._done.popleft()
            prompt = service.text[place] + service.visual[place]
            after = min(prompt, before + budget - tokens)
            seconds += attention.at(after) - attention.at(before)
            tokens += after - before
            if after == prompt:
                finished.append(place)
            else:
                self._done.appendleft((place, after))
        return tokens, seconds, finished


def serve_chunked(service: Service) -> Steps:
    """A process: steps of chunks and decoding; without prompts, decoding alone."""
    decoding, prompts = Decoding(), Prompts()
    while True:
        batch = service.admit(len(decoding) + len(prompts))
        prompts.join(batch)
        if prompts:
            yield from _mixed(service, decoding, prompts, batch)
        elif decoding:
            yield from decode(service, decoding)
        else:
            yield service.changed


def _mixed(service: Service, decoding: Decoding, prompts: Prompts, new: list[int]) -> Steps:
    """One step; images of those who are new come before it."""
    times, chunk = service.times, service.policy.chunk_tokens
    assert times.rest is not None  # noqa: S101  # tables for chunks were asked for
    assert times.decode_attention is not None  # noqa: S101  # the same
    assert chunk is not None  # noqa: S101  # the same
    tokens, seconds, finished = prompts.read(service, chunk - len(decoding))
    seconds += service.image_s(new) + times.rest.at(tokens + len(decoding))
    if decoding:
        seconds += times.decode_attention.at(len(decoding), decoding.context)
    yield from service.work(seconds)
    if decoding:
        decoding.advance(service, 1)
    if finished:
        decoding.join(service, finished)
