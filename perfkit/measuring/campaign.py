"""A campaign: every case of a suite in turn, each outcome written at once, whatever happens to the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from perfkit import __version__
from perfkit.measuring.backend import open_backend
from perfkit.measuring.bench import open_bench
from perfkit.measuring.cases import PHASES, SUITES, Case
from perfkit.measuring.journal import open_journal
from perfkit.measuring.measurement import Measurement, Run
from perfkit.measuring.protocol import Rules
from perfkit.measuring.results import check_output, write_result
from perfkit.measuring.room import check_room
from perfkit.measuring.schema import read_measurement
from perfkit.measuring.suites import Asked, cases_of, rules_of
from perfkit.models import DEFAULT_MODEL, load_model
from perfkit.units import parse_choice
from perfkit.workload import TEXT_TOKENS

# Goes through the cases that are left, and may show where it is: a click progress bar, for one.
Progress: TypeAlias = Callable[[list[Case]], AbstractContextManager[Iterable[Case]]]


def measure(
    output: str | Path,
    *,
    suite: str = "model",
    model: str = DEFAULT_MODEL,
    tokens: Sequence[int] | None = None,
    text_tokens: int = TEXT_TOKENS,
    batches: Sequence[int] = (1,),
    precisions: Sequence[str] | None = None,
    attentions: Sequence[str] = ("sdpa",),
    runtimes: Sequence[str] | None = None,
    phases: Sequence[str] = PHASES,
    device: str = "auto",
    flush: bool = False,
    resume: bool = False,
    rules: Rules | None = None,
    stop_after_s: float | None = None,
    command: str = "perfkit.measure",
    progress: Progress = nullcontext,
) -> Measurement:
    """Time this machine; the arguments are the options of `perfkit measure`.

    `output`: the measurement file (.json). For suite kernels a .csv too, the table of kernels; for suite peaks a
    .yaml, the device: the measurement with its samples then stands beside it, ending in .json.

    `tokens`: visual tokens a sequence, by default the model's own; `precisions`: by default fp16 on a GPU and bf16 on
    a CPU, for suite peaks all of the device; `runtimes`: by default all that the device has; `stop_after_s`: no case is
    begun after so many seconds; `command`: what the file says of how it was made.

    Raises:
        MachineError: no torch, no CUDA, no room for the model, a file that stands already or cannot be written.
        InvalidValue, UnknownName: arguments that cannot be, named.
        InvalidSpec: with `resume`, a file that is no measurement, or of another machine.

    >>> measured = measure("llava.json", tokens=(576, 32), resume=True)  # doctest: +SKIP
    >>> measured.points[0].timing.median_s  # doctest: +SKIP
    0.01623
    """
    written = Path(output)
    check_output(parse_choice("--suite", suite, SUITES), written, resume=resume)
    backend, spec = open_backend(device), load_model(model)
    asked = Asked(suite, tokens, text_tokens, batches, precisions, attentions, runtimes, phases, flush)
    cases = cases_of(asked, spec, backend)
    if suite == "model":
        check_room(spec, cases, backend)
    run = Run(datetime.now(UTC).isoformat(timespec="seconds"), command, __version__)
    with (
        open_journal(written.with_suffix(".json"), backend.machine(), run, resume=resume) as journal,
        backend.watch() as watch,
        open_bench(spec, backend, watch, rules or rules_of(suite)) as outcome_of,
        progress(journal.missing(cases)) as left,
    ):
        for case in _until(left, stop_after_s):
            journal.add(outcome_of(case))
        if not journal.missing(cases):
            # As the file has it, whose samples are rounded: a table and its samples then say the same.
            write_result(read_measurement(written.with_suffix(".json")), written)
        return journal.measurement()


def _until(cases: Iterable[Case], stop_after_s: float | None) -> Iterator[Case]:
    start = time.monotonic()
    for case in cases:
        yield case
        if stop_after_s is not None and time.monotonic() - start >= stop_after_s:
            return  # before the next is asked for, and shown
