"""Static batching: requests start together and wait until all of them are done.

The longest sets the number of steps; the others are padded until then. Results are handed out at the end, as engines do
that schedule whole requests (Yu et al., Orca, OSDI 2022, which mends that); first tokens are there after the prefill.
"""

from __future__ import annotations

from perfkit.serving.service import Service, Steps


def serve_static(service: Service) -> Steps:
    """A process: batch after batch."""
    while True:
        while not service.waiting:
            yield service.changed
        yield from _gather(service)
        batch = service.admit(0)
        if not batch:  # another stream was quicker, or has all the memory
            yield service.changed
            continue
        yield from service.work(service.prefill_s(batch))
        service.begun(batch)
        yield from service.work(_decode_s(service, batch))
        service.end(batch)


def _gather(service: Service) -> Steps:
    """Wait until a batch is full, or its first request has waited long enough."""
    env, policy = service.env, service.policy
    left = service.ledger.arrived[service.waiting[0]] + policy.wait_s - env.now
    if left <= 0:
        return
    patience = env.timeout(left)
    while 0 < len(service.waiting) < policy.max_batch and not patience.processed:
        yield patience | service.changed


def _decode_s(service: Service, batch: list[int]) -> float:
    longest = max(service.new[place] for place in batch)
    if longest == 1:
        return 0.0
    # Every one is at its prompt and half of the longest output on average.
    prompts = sum(service.text[place] + service.visual[place] for place in batch) / len(batch)
    return float((longest - 1) * service.times.decode.at(len(batch), prompts + (longest - 1) / 2))
