"""From a case to its outcome: what is called is made, timed by the protocol, and watched meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from perfkit.errors import MachineError, PerfkitError
from perfkit.measuring.backend import Backend, Step, dtype_of
from perfkit.measuring.cases import Case, KernelCase, PhaseCase
from perfkit.measuring.counters import Watch, energy_per_call
from perfkit.measuring.kernels import kernel_step
from perfkit.measuring.launches import count_launches
from perfkit.measuring.measurement import Point
from perfkit.measuring.networks import Network
from perfkit.measuring.protocol import Rules, repeat
from perfkit.measuring.room import shortage
from perfkit.models.spec import ModelSpec

KERNEL_S = 0.1  # least time of repeats for a kernel, of which a suite has hundreds


@contextmanager
def open_bench(
    spec: ModelSpec, backend: Backend, watch: Watch | None, rules: Rules
) -> Iterator[Callable[[Case], Point]]:
    """Function from a case to its outcome, for a while in which torch keeps no gradients.

    `watch`: counters of the device, None where it has none.
    """
    import torch

    bench = Bench(spec, backend, watch, rules)
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    try:
        with torch.inference_mode():
            yield bench.outcome
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


class Bench:
    """Keeps the model of the last case, because making one takes longer than timing it."""

    def __init__(self, spec: ModelSpec, backend: Backend, watch: Watch | None, rules: Rules) -> None:
        self._spec = spec
        self._backend = backend
        self._watch = watch
        self._rules = rules
        self._network: tuple[Any, Network] | None = None
        backend.release()  # and again after each case: whatever the caller held before is not the first one's peak

    def outcome(self, case: Case) -> Point:
        """Point of a case: its timing, or that memory ran out."""
        _set_tf32(case.precision == "tf32")
        try:
            return self._timed(case)
        except PerfkitError:
            raise
        except Exception as error:
            told = str(error).partition("\n")[0] or type(error).__name__
            if not self._backend.ran_out(error):
                raise MachineError(f"{case.label}: {told}") from error
            return Point(case, "out of memory", note=told)
        finally:
            self._backend.release()

    def _timed(self, case: Case) -> Point:
        step, calls = self._prepare(case)
        launches, host_s = self._launching(case, step)
        if self._watch:
            self._watch.clear()
        sample = self._backend.sampler(step, flush=case.flushed, meanwhile=self._read)
        brief = self._rules._replace(minimum_s=KERNEL_S)
        timing = repeat(lambda: sample() / calls, brief if isinstance(case, KernelCase) else self._rules)
        peak = self._backend.peak_bytes()
        # Energy is asked of whole phases only: a pass of a second for each of a thousand kernels takes too long.
        energy_j = self._energy(step) if isinstance(case, PhaseCase) else None
        counters = self._watch.counters(energy_j) if self._watch else None
        return Point(case, "ok", timing, counters, launches, peak, host_s)

    def _read(self) -> None:
        if self._watch:
            self._watch.read()

    def _prepare(self, case: Case) -> tuple[Step, int]:
        if isinstance(case, KernelCase):
            return kernel_step(self._backend, case)
        network = self._network_in(case.precision)
        if why := shortage(self._spec, case, self._backend):  # asked now, beside the weights
            raise MemoryError(why)
        return network.step(case), 1

    def _network_in(self, precision: str) -> Network:
        dtype = dtype_of(precision)  # one model serves fp32 and tf32
        if self._network is None or self._network[0] != dtype:
            self._network = None  # the old one goes before the new one comes
            self._backend.release()
            self._network = dtype, Network(self._spec, self._backend, precision)
        return self._network[1]

    def _launching(self, case: Case, step: Step) -> tuple[int | None, float | None]:
        """Launches of a phase, and the host's time for them; of a graph there is one."""
        if isinstance(case, KernelCase):
            return None, None
        if case.runtime == "graph":
            return 1, self._backend.host_s(step)
        if step.before:
            step.before()
        return count_launches(step.call), self._backend.host_s(step)

    def _energy(self, step: Step) -> float | None:
        def call() -> None:
            if step.before:
                step.before()
            step.call()

        return energy_per_call(self._watch, call, self._backend.synchronize) if self._watch else None


def _set_tf32(on: bool) -> None:
    """Whether fp32 products may run on the tensor cores in TF32; torch's own default differs between its parts."""
    import torch

    torch.set_float32_matmul_precision("high" if on else "highest")
    torch.backends.cudnn.allow_tf32 = on
