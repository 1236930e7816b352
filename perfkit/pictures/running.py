"""Reducers over pictures: what is asked, checked before any work; then read, reduced, timed and costed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any, TypeAlias

from perfkit import reduction
from perfkit.errors import InvalidValue, MachineError, UnknownName
from perfkit.measuring.backend import Backend, check_precision, open_backend
from perfkit.measuring.measurement import Machine
from perfkit.measuring.protocol import Timing
from perfkit.models import DEFAULT_MODEL, config_of
from perfkit.pictures.batches import NOT_FINITE, WAYS_OUT, Batch, Pass, Reducing, undisturbed
from perfkit.pictures.costing import Costing, check_patches, costing_of
from perfkit.pictures.finding import find_pictures
from perfkit.pictures.results import MethodRun, ReducedPictures, TowerRun
from perfkit.pictures.timing import BUDGET_S, time_call
from perfkit.pictures.tower import (
    PRECISIONS,
    Tower,
    feature_layer_of,
    load_tower,
    random_tower,
    usual_precision,
    whole_path,
)
from perfkit.reduction import Reducer
from perfkit.reduction.llava.tower import TowerTensors
from perfkit.reduction.prumerge import NEIGHBOURS
from perfkit.reduction.reducing import check_ratio, reducer_of
from perfkit.units import LONGEST_SHOWN, check_count, parse_choice
from perfkit.workload import NEW_TOKENS, TEXT_TOKENS

DEFAULT_METHOD, DEFAULT_GPU = "prumerge", "v100"
BATCH = 8  # pictures that the tower sees at once
LIBRARIES = ("PIL", "safetensors", "torch", "transformers")

# Goes through the batches, and may show where it is: a click progress bar, for one.
Progress: TypeAlias = Callable[[list[Batch]], AbstractContextManager[Iterable[Batch]]]


def reduce_pictures(
    pictures: Iterable[str | Path],
    methods: Sequence[str] = (DEFAULT_METHOD,),
    *,
    vision_model: str | None = None,
    random_weights: bool = False,
    model: str | None = None,
    ratio: float | None = None,
    neighbours: int = NEIGHBOURS,
    strict_reference: bool = False,
    non_finite: str = "raise",
    unreadable: str = "raise",
    batch_size: int | None = None,
    device: str = "auto",
    tower_precision: str | None = None,
    budget_s: float = BUDGET_S,
    gpus: Sequence[str] = (DEFAULT_GPU,),
    text_tokens: int = TEXT_TOKENS,
    new_tokens: int = NEW_TOKENS,
    batch: int = 1,
    progress: Progress = nullcontext,
    **formats: Any,
) -> ReducedPictures:
    """Tokens that reducers keep of pictures, the time that takes, and the cost of these tokens.

    The arguments are the options of `perfkit reduce`; `pictures` are files and folders of them, `formats` those of
    `perfkit.analyze` (precision, weights, activations, kv, attention, logits, runtime, calibration). `model`: by
    default the LLaVA in `vision_model`, else llava-1.5-7b; `batch_size`: by default 8, and 1 with `strict_reference`,
    whose counts depend on the batch; `tower_precision`: by default fp16 on a GPU and fp32 on a CPU; `budget_s`: the
    tower, and each reducer, is timed so long at most.

    Raises:
        InvalidValue, UnknownName: arguments that cannot be, named; no pictures; without "skip" a picture that cannot be
            read or whose features are not finite; none left.
        InvalidSpec: a folder without a CLIP tower.
        MachineError: Pillow, torch or transformers is not there, or no room for the tower.

    >>> run = reduce_pictures(["pictures/"], ["prumerge", "prumerge+"], vision_model="clip")  # doctest: +SKIP
    >>> run.methods[0].tokens.most <= 577  # doctest: +SKIP
    True
    """
    _check_lists(pictures=pictures, methods=methods, gpus=gpus)
    _check_weights(vision_model, random_weights=random_weights)
    how = Reducing(_reducers(methods, neighbours), ratio, strict_reference, unreadable, non_finite)
    _check_how(how)
    _check_budget(budget_s)
    batches = _batches(find_pictures(pictures), batch_size, alone=strict_reference)
    _check_libraries()
    if model is None:
        model = _llava_in(vision_model) or DEFAULT_MODEL
    costing = costing_of(model, gpus, text_tokens=text_tokens, new_tokens=new_tokens, batch=batch, **formats)
    costing.unreduced()  # what cannot be costed is refused now
    backend = open_backend(device)
    with undisturbed(backend.device):
        _try_out(how, len(batches[0].paths), costing.patches)
        tower = _open_tower(model, vision_model, backend, tower_precision)
        check_patches(costing, tower)
        return _result(_passed(Pass(tower, how), batches, progress), backend, costing, budget_s)


# --- what is asked


def _check_lists(**given: object) -> None:
    """Refuse one text where several are taken: its letters would stand for them."""
    for name, value in given.items():
        if isinstance(value, str | Path):
            raise InvalidValue(f"{name} must be a list, such as [{str(value)!r}], not one by itself")


def _check_weights(vision_model: str | None, *, random_weights: bool) -> None:
    if (vision_model is None) != random_weights:
        problem = "not both" if random_weights else "one of them is needed"
        raise InvalidValue(f"--vision-model DIR takes a folder's weights, --random-weights is a dry run: {problem}")
    if vision_model == "":
        raise InvalidValue("--vision-model must name a folder, not ''")


def _check_how(how: Reducing) -> None:
    check_ratio(how.ratio)
    parse_choice("--unreadable", how.unreadable, WAYS_OUT)
    parse_choice("--non-finite", how.non_finite, WAYS_OUT)
    if not how.methods:
        raise InvalidValue("name at least one method")


def _check_budget(budget_s: float) -> None:
    if isinstance(budget_s, bool) or not isinstance(budget_s, int | float) or not 0 < budget_s < inf:
        raise InvalidValue(f"--budget must be a number of seconds above zero, not {budget_s!r}")


def _reducers(methods: Sequence[str], neighbours: int) -> tuple[Reducer, ...]:
    """Each once, however it was written."""
    for method in methods:
        if isinstance(method, str) and (name := method.partition(":")[0]) not in reduction.METHODS:
            raise UnknownName("--method", name[:LONGEST_SHOWN], reduction.REDUCERS)  # those of them that work here
    return tuple(dict.fromkeys(reducer_of(method, neighbours) for method in methods))


def _batches(paths: Sequence[Path], size: int | None, *, alone: bool) -> list[Batch]:
    """Pictures `size` by `size`; where nobody says it, `alone` or BATCH at once."""
    usual = 1 if alone else BATCH
    size = check_count("--batch-size", usual if size is None else size)
    return [Batch(tuple(paths[start : start + size])) for start in range(0, len(paths), size)]


def _check_libraries() -> None:
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise MachineError(f"pictures need {', '.join(missing)}: pip install 'perfkit[pictures]'")


def _llava_in(folder: str | None) -> str | None:
    """The folder itself, where it holds a whole LLaVA, whose language model can be costed."""
    if folder is None or not os.path.isdir(path := whole_path(folder)):
        return None
    return path if config_of(path)["model_type"] == "llava" else None


def _try_out(how: Reducing, pictures: int, patches: int) -> None:
    """Let methods refuse a count, or so many pictures at once, before the tower, which is slow, has run for it.

    What they are shown is blank, so that the published adaptive PruMerge+, which stops where nothing outlies, is not
    tried out on one picture.
    """
    import torch

    for method in how.methods:
        if not method.needs_class_token:
            how.reduced(method, TowerTensors(torch.zeros(1, patches, 1), None, None))
        elif how.strict_reference and (pictures > 1 or how.ratio is not None):
            rows = torch.zeros(pictures, 1 + patches, 1)
            how.reduced(method, TowerTensors(rows[:, 1:], rows, rows))


def _passed(done: Pass, batches: list[Batch], progress: Progress) -> Pass:
    """The pass, gone through all batches."""
    with progress(batches) as shown:
        for one in shown:
            done.add(one)
    return done


def _open_tower(model: str, folder: str | None, backend: Backend, precision: str | None) -> Tower:
    precision = parse_choice("--tower-precision", precision or usual_precision(backend), PRECISIONS)
    check_precision(backend, precision)
    layer = feature_layer_of(model)
    if folder is None:
        return random_tower(model, backend, precision, layer)
    return load_tower(folder, backend, precision, layer)


# --- what comes of it


def _result(done: Pass, backend: Backend, costing: Costing, budget_s: float) -> ReducedPictures:
    """Times and costs of what a pass has kept.

    Raises:
        InvalidValue: no picture is left.
    """
    if done.first is None:
        raise InvalidValue(f"no picture is left: none of {len(done.unreadable)} can be read")
    tower, how = done.tower, done.how
    pixels, seen = done.first
    timing = time_call(partial(how.seen, tower, pixels), backend, budget_s)
    reducer_timings = [time_call(partial(how.reduced, method, seen), backend, budget_s) for method in how.methods]
    runs = map(partial(_method_run, done, costing), how.methods, reducer_timings)
    return ReducedPictures(
        tower=_tower_run(tower, len(pixels), timing),
        machine=_machine(backend),
        methods=tuple(runs),
        unreadable=tuple(done.unreadable),
        unreduced=costing.unreduced(),
    )


def _machine(backend: Backend) -> Machine:
    """The machine, Pillow among its libraries: what the tower sees depends on it."""
    machine = backend.machine()
    return machine._replace(libraries={**machine.libraries, "pillow": version("pillow")})


def _tower_run(tower: Tower, batch: int, timing: Timing) -> TowerRun:
    return TowerRun(
        source=tower.source,
        random=tower.random,
        preprocessing=tower.preprocessing,
        grid=tower.vision.image_size // tower.vision.patch_size,
        patch_size=tower.vision.patch_size,
        feature_layer=tower.feature_layer,
        precision=tower.precision,
        batch=batch,
        timing=timing,
    )


def _method_run(done: Pass, costing: Costing, method: Reducer, timing: Timing) -> MethodRun:
    kept, left_out = done.kept[method], done.left_out[method]
    if not kept:
        raise InvalidValue(f"{method}: no picture is left: of all {len(left_out)} {NOT_FINITE}")
    return MethodRun(
        text=method.text,
        ratio=done.how.ratio,
        strict_reference=done.how.strict_reference,
        kept=tuple(kept),
        left_out=tuple(left_out),
        timing=timing,
        predictions=costing.reduced(method, [picture.tokens for picture in kept]),
    )
