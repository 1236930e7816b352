"""Reductions as texts and as schedules: the grammar, its errors, tokens layer by layer, what a model can take."""

from __future__ import annotations

import re
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import pytest

import perfkit.reduction
from perfkit.counting import workload_of
from perfkit.errors import InvalidValue, UnknownName
from perfkit.models import load_model
from perfkit.models.spec import ModelSpec
from perfkit.reduction import METHODS, REDUCERS, Method, Pruner, Reducer, parse_reduction
from perfkit.reduction.parameters import Parameters, decimal
from perfkit.remarks import reduction_notes
from perfkit.workload import LayerGroup, Workload

LLAVA = load_model("llava-1.5-7b")
# One text of every method; those that need no parameter stand bare.
EXAMPLES = {
    "fastv": "fastv",
    "layers": "layers:2=288,16=144",
    "prumerge": "prumerge",
    "prumerge+": "prumerge+",
    "pyramiddrop": "pyramiddrop",
    "random": "random:n=64",
    "sequential": "sequential:n=64",
    "sparsevlm": "sparsevlm",
    "spatial": "spatial:n=64",
    "vtw": "vtw",
}
# Files that are no methods: what methods are made of, and what runs them.
PARTS = {"__init__", "costs", "method", "parameters", "tensors"}
RUNNING = {"modules", "published", "reducing"}


def pruner(text: str) -> Pruner:
    method = parse_reduction(text)
    assert isinstance(method, Pruner)
    return method


def groups(text: str, layers: int = 32, entering: int = 576) -> list[tuple[int, int]]:
    return [tuple(group) for group in pruner(text).schedule(layers, entering)]


# --- every method is one file


def test_every_file_is_a_method_and_every_method_has_an_example() -> None:
    files = {path.stem for path in Path(perfkit.reduction.__file__).parent.glob("*.py")}
    assert files - PARTS - RUNNING == {name.replace("+", "_plus") for name in METHODS}
    assert set(EXAMPLES) == set(METHODS)
    assert list(METHODS) == sorted(METHODS)


def test_reducers_are_the_methods_before_the_language_model() -> None:
    before = [name for name in METHODS if isinstance(parse_reduction(EXAMPLES[name]), Reducer)]
    assert list(REDUCERS) == before


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs(name: str) -> None:
    method = parse_reduction(EXAMPLES[name])
    assert isinstance(method, Reducer | Pruner)
    assert method.name == name
    workload = workload_of(LLAVA, reduction=method.text)
    assert workload.reduction == method.text
    assert (workload.visual_tokens < 576) == isinstance(method, Reducer)
    assert bool(workload.schedule) == isinstance(method, Pruner)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_source_and_a_canonical_text(name: str) -> None:
    method = parse_reduction(EXAMPLES[name])
    assert parse_reduction(method.text) == method
    assert str(method) == method.text == parse_reduction(method.text).text
    assert "Source: " in str(import_module(type(method).__module__).__doc__) or name == "layers"


# --- canonical texts


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("fastv", "fastv:k=2,r=0.5"),
        ("fastv:r=.50", "fastv:k=2,r=0.5"),
        ("fastv:r=0.75,k=3", "fastv:k=3,r=0.75"),
        ("fastv:k=02,r=0.500000", "fastv:k=2,r=0.5"),
        ("fastv:r=0", "fastv:k=2,r=0"),
        ("pyramiddrop", "pyramiddrop:stages=4,keep=0.5"),
        ("pyramiddrop:keep=1", "pyramiddrop:stages=4,keep=1"),
        ("vtw", "vtw:k=16"),
        ("sparsevlm", "sparsevlm:layers=2/6/15,tokens=309/204/113"),
        ("sparsevlm:tokens=66/30/17", "sparsevlm:layers=2/6/15,tokens=66/30/17"),
        ("sparsevlm:layers=5,tokens=100", "sparsevlm:layers=5,tokens=100"),
        ("layers:2=288,16=144", "layers:2=288,16=144"),
        ("layers:002=288", "layers:2=288"),
        ("prumerge", "prumerge"),
        ("prumerge:k=32", "prumerge"),
        ("prumerge:k=016", "prumerge:k=16"),
        ("prumerge+", "prumerge+"),
        ("prumerge+:k=1", "prumerge+:k=1"),
        ("sequential:n=64", "sequential:n=64"),
        ("sequential", "sequential"),
        ("spatial:n=7", "spatial:n=7"),
        ("spatial", "spatial"),
        ("random:n=064", "random:n=64"),
        ("random", "random"),
    ],
)
def test_canonical_texts(text: str, canonical: str) -> None:
    assert parse_reduction(text).text == canonical


def test_equal_texts_are_read_once() -> None:
    assert parse_reduction("fastv:k=2,r=0.5") is parse_reduction("fastv:k=2,r=0.5")


@pytest.mark.parametrize(("text", "parts"), [("0.1", (1, 10)), ("0.333333", (333333, 10**6)), (".75", (3, 4))])
def test_decimals_are_exact(text: str, parts: tuple[int, int]) -> None:
    fraction = Parameters("fastv", {"r": text}).fraction("r")
    assert fraction == Fraction(*parts)
    assert Fraction(decimal(fraction)) == fraction


# --- what is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fastb", "unknown reduction 'fastb'; nearest: fastv"),
        ("FastV", "nearest: fastv"),
        ("none", "without --reduction no token is left out"),
        ("", "unknown reduction ''"),
        (":k=2", "unknown reduction ''"),
        ("fastv ", "unknown reduction 'fastv '"),
        ("nonsense:also wrong", "unknown reduction 'nonsense'; allowed: fastv, layers"),
        ("fastv:l=2", "unknown parameter of fastv 'l'; allowed: k, r"),
        ("pyramiddrop:kep=0.5", "unknown parameter of pyramiddrop 'kep'; nearest: keep"),
        ("sequential:m=64", "unknown parameter of sequential 'm'"),
        ("random:k=64", "unknown parameter of random 'k'; allowed: n"),
        ("prumerge:n=32", "unknown parameter of prumerge 'n'; allowed: k"),
        ("prumerge+:n=32", "unknown parameter of prumerge+ 'n'; allowed: k"),
    ],
)
def test_unknown_names(text: str, message: str) -> None:
    with pytest.raises(UnknownName) as caught:
        parse_reduction(text)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fastv:", "key=value with commas between, not ''"),
        ("fastv:k", "not 'k'"),
        ("fastv:k=", "not 'k='"),
        ("fastv:=2", "not '=2'"),
        ("fastv:k=2,", "not ''"),
        ("fastv:k=2,,r=0.5", "not ''"),
        ("fastv:k=2,k=3", "'k' stands twice"),
        ("fastv:k=0", "fastv: k must be a whole number from 1 to 10000000, not '0'"),
        ("fastv:k=2.0", "whole number"),
        ("fastv:k=-1", "whole number"),
        ("fastv:k=+2", "whole number"),
        ("fastv:k=1_0", "whole number"),
        ("fastv:k=٣", "whole number"),
        ("fastv:k= 2", "whole number"),
        ("fastv:k=2=3", "whole number"),
        ("fastv:k=99999999", "whole number"),
        ("fastv:r=1.5", "r must be a decimal from 0 to 1 of up to six places, such as 0.5, not '1.5'"),
        ("fastv:r=-0.5", "decimal"),
        ("fastv:r=50%", "not '50%'"),
        ("fastv:r=1/2", "decimal"),
        ("fastv:r=0.", "decimal"),
        ("fastv:r=.", "decimal"),
        ("fastv:r=1e-1", "decimal"),
        ("fastv:r=nan", "decimal"),
        ("fastv:r=0.3333333", "up to six places"),
        ("fastv:r=1", "leaves no tokens; vtw:k=2 drops all after layer 2"),
        ("fastv:k=3,r=1.0", "vtw:k=3"),
        ("pyramiddrop:stages=1", "stages must be a whole number from 2"),
        ("pyramiddrop:keep=0", "leaves no tokens; vtw"),
        ("vtw:k=0", "from 1 to"),
        ("sequential:n=0", "from 1 to"),
        ("spatial:n=", "not 'n='"),
        ("random:n=-1", "random: n must be a whole number from 1"),
        ("prumerge:k=0", "prumerge: k must be a whole number from 1 to 10000000, not '0'"),
        ("prumerge+:k=many", "prumerge+: k must be a whole number from 1"),
        ("sparsevlm:layers=2/6", "2 layers and 3 tokens"),
        ("sparsevlm:layers=6/2,tokens=300/200", "layers must increase, not 6 before 2"),
        ("sparsevlm:layers=2/2,tokens=300/200", "layers must increase"),
        ("sparsevlm:layers=2//6,tokens=3/2/1", "whole number"),
        ("sparsevlm:layers=2,tokens=0", "leaves no tokens; vtw"),
        ("layers", "as in layers:2=288,16=144"),
        ("layers:", "not ''"),
        ("layers:a=288", "a layer must be a whole number from 1 to 10000000, not 'a'"),
        ("layers:0=288", "a layer must be a whole number from 1"),
        ("layers:16=144,2=288", "layers must increase, not 16 before 2"),
        ("layers:2=288,02=144", "layers must increase, not 2 before 2"),
        ("layers:16=0", "16=0 leaves no tokens; vtw:k=16 drops all after layer 16"),
        ("layers:2=many", "whole number from 0"),
        (f"fastv:k={'9' * 500}", "99999..."),
    ],
)
def test_values_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_reduction(text)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


# --- schedules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fastv:k=2,r=0.5", [(2, 576), (30, 288)]),
        ("fastv:k=3,r=0.75", [(3, 576), (29, 144)]),
        ("fastv:k=31,r=0.9", [(31, 576), (1, 58)]),  # 576 - floor(518.4)
        ("fastv:k=2,r=0", [(2, 576), (30, 576)]),
        ("pyramiddrop", [(8, 576), (8, 288), (8, 144), (8, 72)]),
        ("pyramiddrop:stages=2,keep=0.3", [(16, 576), (16, 172)]),  # floor(172.8)
        ("pyramiddrop:stages=3,keep=0.1", [(10, 576), (11, 57), (11, 5)]),  # ends at 10, 21 of 32
        ("vtw", [(16, 576), (16, 0)]),
        ("sparsevlm", [(3, 576), (4, 309), (9, 204), (16, 113)]),
        ("sparsevlm:layers=0/30,tokens=576/1", [(1, 576), (30, 576), (1, 1)]),
        ("layers:2=288", [(2, 576), (30, 288)]),
        ("layers:2=288,16=144", [(2, 576), (14, 288), (16, 144)]),
        ("layers:1=576,31=1", [(1, 576), (30, 576), (1, 1)]),
    ],
)
def test_tokens_layer_by_layer(text: str, expected: list[tuple[int, int]]) -> None:
    assert groups(text) == expected
    assert all(type(number) is int for group in groups(text) for number in group)


def test_the_13b_model_has_forty_layers() -> None:
    assert groups("pyramiddrop", layers=40) == [(10, 576), (10, 288), (10, 144), (10, 72)]
    assert groups("fastv", layers=40) == [(2, 576), (38, 288)]


def macs(schedule: list[tuple[int, int]], other_tokens: int = 0) -> float:
    """T multiply-adds as PyramidDrop and SparseVLM count them: 4 n d^2 + 2 n^2 d + 3 n d m a layer, no lm_head."""
    d, m = 4096, 11008
    counts = [(layers, tokens + other_tokens) for layers, tokens in schedule]
    return sum(layers * (4 * n * d * d + 2 * n * n * d + 3 * n * d * m) for layers, n in counts) / 1e12


def test_schedules_of_pyramiddrops_table_1() -> None:
    # PyramidDrop (arXiv 2410.17247), table 1, visual tokens alone: 3.82, 2.01 (FastV K=2 R=50 %), 1.78 T
    assert macs([(32, 576)]) == pytest.approx(3.8172, abs=5e-5)
    assert macs(groups("fastv:k=2,r=0.5")) == pytest.approx(2.0075, abs=5e-5)
    assert macs(groups("pyramiddrop:stages=4,keep=0.5")) == pytest.approx(1.7774, abs=5e-5)
    # LLaVA-NeXT with the paper's 2880: 20.8, 10.6, 9.5 T
    assert macs([(32, 2880)]) == pytest.approx(20.8, abs=0.05)
    assert macs(groups("fastv:k=2,r=0.5", entering=2880)) == pytest.approx(10.6, abs=0.05)
    assert macs(groups("pyramiddrop", entering=2880)) == pytest.approx(9.5, abs=0.05)


# SparseVLM (arXiv 2410.04417): what score.py keeps, what later layers see, and the FLOPs of table 1 (T).
SPARSEVLM = [
    ((300, 200, 110), (309, 204, 113), 2.14),
    ((303, 110, 36), (312, 117, 39), 1.72),
    ((66, 30, 17), (82, 32, 18), 1.30),
]


@pytest.mark.parametrize(("kept", "seen", "_"), SPARSEVLM)
def test_sparsevlms_recycled_tokens_join_what_it_keeps(kept: tuple[int, ...], seen: tuple[int, ...], _: float) -> None:
    # As its code has it: of 276 dropped int(82.8) + 1 = 83 are recycled, into 83 // 10 + 1 = 9 tokens: 300 + 9 = 309.
    before = 576
    for keeps, left in zip(kept, seen, strict=True):
        recycled = int(0.3 * (before - keeps)) + 1
        before = keeps + recycled // 10 + 1
        assert before == left


@pytest.mark.parametrize(
    ("seen", "published", "after_off", "before_off"),
    [
        (SPARSEVLM[0][1], 2.14, -0.0061, -0.1033),  # 2.1339 and 2.0367 T
        (SPARSEVLM[1][1], 1.72, 0.0110, -0.1014),  # 1.7310 and 1.6186
        (SPARSEVLM[2][1], 1.30, 0.0141, -0.1027),  # 1.3141 and 1.1973
    ],
)
def test_sparsevlm_drops_after_its_layers(
    seen: tuple[int, ...], published: float, after_off: float, before_off: float
) -> None:
    # With the 118 other tokens that its unreduced 4.62 T has, and recycled tokens in either reading. Neither comes out
    # to the printed digit (half a unit is 0.005); the drop after the listed layers is seven to sixteen times nearer.
    assert macs([(32, 576)], 118) == pytest.approx(4.62, abs=0.005)
    first, second, third = seen
    after = macs(groups(f"sparsevlm:tokens={first}/{second}/{third}"), 118)
    before = macs([(2, 576), (4, first), (9, second), (17, third)], 118)  # if the listed layers already saw fewer
    assert after - published == pytest.approx(after_off, abs=5e-5)
    assert before - published == pytest.approx(before_off, abs=5e-5)
    assert abs(before_off) > 7 * abs(after_off)


@pytest.mark.parametrize(
    ("text", "layers", "entering", "message"),
    [
        ("fastv:k=32", 32, 576, "the language model has 32 layers: k is from 1 to 31"),
        ("fastv:k=40", 32, 576, "k is from 1 to 31"),
        ("vtw:k=32", 32, 576, "k is from 1 to 31"),
        ("pyramiddrop:stages=33", 32, 576, "stages is from 2 to 32"),
        ("pyramiddrop:stages=10000000", 32, 576, "stages is from 2 to 32"),
        ("sparsevlm:layers=31,tokens=100", 32, 576, "layers are from 0 to 30, because a later one"),
        ("layers:32=100", 32, 576, "layers are from 1 to 31"),
        ("fastv", 1, 576, "1 layers"),
        ("layers:2=577", 32, 576, "visual tokens cannot grow from 576 to 577"),
        ("layers:2=100,3=101", 32, 576, "visual tokens cannot grow from 100 to 101"),
        ("sparsevlm", 32, 200, "visual tokens cannot grow from 200 to 309"),
        ("pyramiddrop:stages=4,keep=0.1", 32, 576, "pyramiddrop:stages=4,keep=0.1: leaves no tokens of 5; vtw"),
        ("pyramiddrop", 32, 7, "leaves no tokens of 1; vtw"),
        ("fastv", 32, 0, "no visual tokens to reduce"),
        ("vtw", 32, 0, "no visual tokens to reduce"),
    ],
)
def test_schedules_that_cannot_be(text: str, layers: int, entering: int, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        pruner(text).schedule(layers, entering)
    assert message in str(caught.value)


def test_one_token_cannot_be_halved() -> None:
    assert groups("fastv:r=0.5", entering=1) == [(2, 1), (30, 1)]  # floor(0.5) = 0 are dropped
    assert groups("fastv:r=0.999999", entering=3) == [(2, 3), (30, 1)]  # floor(2.999997) = 2


# --- workloads


def test_a_pruner_starts_from_the_tokens_that_are_given() -> None:
    workload = workload_of(LLAVA, tokens=100, reduction="fastv:r=0.25")
    assert workload.visual_tokens == 100
    assert workload.schedule == (LayerGroup(2, 100), LayerGroup(30, 75))


@pytest.mark.parametrize(
    ("text", "images", "tokens"),
    [
        ("prumerge", 1, 32),
        ("prumerge+", 1, 144),
        ("sequential:n=64", 1, 64),
        ("prumerge:k=8", 1, 32),
        ("prumerge", 3, 96),
        ("spatial:n=5", 2, 10),
        ("random:n=5", 3, 15),
    ],
)
def test_a_reducer_leaves_its_tokens_of_every_image(text: str, images: int, tokens: int) -> None:
    workload = workload_of(LLAVA, images=images, reduction=text)
    assert (workload.visual_tokens, workload.schedule) == (tokens, ())


@pytest.mark.parametrize(
    ("model", "text", "tokens"),
    [
        # Video-LLaVA's 2048 tokens are 8 frames of 256. PruMerge publishes 256 and 512 of them: 8 * 32, 8 * (256 / 4).
        ("video-llava-7b", "prumerge", 256),
        ("video-llava-7b", "prumerge+", 512),
        # LLaVA-NeXT: 5 tiles of 576
        ("llava-next-7b", "prumerge", 160),
        ("llava-next-7b", "prumerge+", 720),
        ("llava-next-7b", "sequential:n=64", 64),
    ],
)
def test_prumerge_leaves_its_tokens_of_every_tile(model: str, text: str, tokens: int) -> None:
    spec = load_model(model)
    assert workload_of(spec, reduction=text).visual_tokens == tokens
    assert workload_of(spec, reduction=text, images=3).visual_tokens == 3 * tokens


def test_a_token_of_each_tile_stays() -> None:
    spec = load_model("llava-next-7b")
    assert workload_of(spec, reduction="prumerge", tokens=10, images=2).visual_tokens == 10
    with pytest.raises(InvalidValue, match=r"9 visual tokens cannot be left of 2 image.* at least 5 stay: one of each"):
        workload_of(spec, reduction="prumerge", tokens=9, images=2)
    assert workload_of(spec, reduction="sequential:n=64", tokens=2, images=2).visual_tokens == 2


@pytest.mark.parametrize("name", ["sequential", "spatial", "random"])
def test_samplers_are_told_how_many_by_n_or_by_tokens(name: str) -> None:
    with pytest.raises(InvalidValue, match=f"{name} needs n, as in {name}:n=64"):
        workload_of(LLAVA, reduction=name)
    workload = workload_of(LLAVA, reduction=name, tokens=64)
    assert (workload.visual_tokens, workload.reduction) == (64, name)


def test_given_tokens_win() -> None:
    workload = workload_of(LLAVA, tokens=40, reduction="prumerge")
    assert (workload.visual_tokens, workload.reduction) == (40, "prumerge")


def test_notes() -> None:
    def notes(text: str, tokens: int | None = None, spec: ModelSpec = LLAVA) -> list[str]:
        return reduction_notes(spec, workload_of(spec, reduction=text, tokens=tokens))

    (note,) = notes("prumerge")
    average = "its paper's average; the count depends on the picture"
    assert note == f"prumerge: assumed to leave 32 visual tokens of each image (tile, frame), {average}"
    (note,) = notes("prumerge+")
    assert note == f"prumerge+: assumed to leave a quarter of the visual tokens of each image (tile, frame), {average}"
    assert notes("prumerge", tokens=40) == ["prumerge: 40 visual tokens as asked, instead of its 32"]
    assert notes("sequential:n=64", tokens=40) == ["sequential: 40 visual tokens as asked, instead of its 64"]
    video = load_model("video-llava-7b")
    assert notes("prumerge", tokens=40, spec=video) == ["prumerge: 40 visual tokens as asked, instead of its 256"]
    assert notes("sequential:n=64") == notes("vtw") == reduction_notes(LLAVA, Workload(576)) == []
    assert notes("sequential", tokens=40) == notes("random:n=64") == []  # nothing was expected, or what came
    (note,) = notes("layers:2=1")
    assert "not known" in note
    (note,) = notes("fastv:k=3")
    assert note == "fastv: layer 2 (from 0) runs eager attention, because its scores choose the tokens"


@pytest.mark.parametrize("text", EXAMPLES.values())
@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("llama-3-8b", "llama-3-8b sees no images, so there are no visual tokens to reduce"),
        ("bert-base", "sees no images"),
        ("clip-vit-l-14-336", "is a bare vision tower"),
    ],
)
def test_models_without_visual_tokens_or_layers_refuse(text: str, model: str, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        workload_of(load_model(model), reduction=text)


@pytest.mark.parametrize("text", EXAMPLES.values())
def test_without_visual_tokens_there_is_nothing_to_reduce(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"no visual tokens to reduce \(--tokens 0\)"):
        workload_of(LLAVA, tokens=0, reduction=text)


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("sequential:n=577", {}, "577 visual tokens cannot be left of 1 image"),
        ("sequential:n=300", {"tokens": 577}, "577 visual tokens cannot be left"),
        ("prumerge", {"tokens": 1, "images": 2}, "1 visual tokens cannot be left of 2 image"),
        ("fastv", {"tokens": 577}, "577 visual tokens: llava-1.5-7b makes at most 576"),
    ],
)
def test_more_or_fewer_tokens_than_there_are(text: str, given: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        workload_of(LLAVA, reduction=text, **given)


def test_a_reducer_makes_no_row_ends() -> None:
    # LLaVA-NeXT's 2928 tokens are 2880 patches and 48 learned row ends, which no tower makes.
    spec = load_model("llava-next-7b")
    assert workload_of(spec, tokens=2880, reduction="spatial:n=64").visual_tokens == 2880
    with pytest.raises(InvalidValue, match="makes 2880 of an image"):
        workload_of(spec, tokens=2881, reduction="spatial:n=64")
    assert workload_of(spec, reduction="fastv").schedule[0].visual_tokens == 2928


def test_a_tower_without_a_class_token_cannot_be_scored_by_it() -> None:
    with pytest.raises(InvalidValue, match="needs a class token, and the tower of llava-onevision-7b has none"):
        workload_of(load_model("llava-onevision-7b"), reduction="prumerge")
    workload_of(load_model("llava-onevision-7b"), reduction="spatial:n=64")


def test_one_schedule_at_a_time() -> None:
    with pytest.raises(InvalidValue, match="give one of the two"):
        workload_of(LLAVA, schedule=(LayerGroup(32, 576),), reduction="fastv")


def test_methods_are_values() -> None:
    method: Method = parse_reduction("fastv")
    assert {method: 1}[parse_reduction("fastv:k=2")] == 1
    with pytest.raises(AttributeError):
        method.k = 3  # type: ignore[attr-defined]


# --- docs/token-reduction.md


def test_the_method_of_the_documentation_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs/token-reduction.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    (tmp_path / "dropping_at_random.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    method = import_module("dropping_at_random").read(Parameters("randomdrop", {"n": "64"}))
    assert method.text == "randomdrop:k=2,n=64"
    assert [tuple(group) for group in method.schedule(32, 576)] == [(2, 576), (30, 64)]
    with pytest.raises(InvalidValue, match="cannot grow from 32 to 64"):
        method.schedule(32, 32)


def test_the_documentation_lists_every_method() -> None:
    page = (Path(__file__).parents[2] / "docs/token-reduction.md").read_text(encoding="utf-8")
    listed = re.findall(r"`([a-z+]+)(?::[^`]*)?`", page.split("Parameters may be left out")[0])
    assert set(METHODS) <= set(listed)


def test_means_over_layers_of_the_documentation() -> None:
    def mean(text: str) -> float:
        return sum(layers * tokens for layers, tokens in groups(text)) / 32

    assert (mean("fastv"), mean("pyramiddrop"), mean("vtw")) == (306, 270, 288)
    recycled = "sparsevlm:tokens=309/204/113"
    assert mean(recycled) == 206.5
    # What its code prints as the equal token number: the mean of what layers give on
    assert (2 * 576 + 4 * 309 + 9 * 204 + 17 * 113) / 32 == 192.03125
