"""Conventions as data: every file loads and gives the figures that it lists; a bad file is refused, the key named."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from perfkit.conventions import (
    SYMBOLS,
    TIMES,
    Convention,
    Figure,
    convention_names,
    load_convention,
    read_convention,
    symbols_of,
)
from perfkit.conventions.reading import FOLDER
from perfkit.errors import InvalidSpec, InvalidValue, UnknownName
from perfkit.models import load_model
from perfkit.totals.asked import forward_of, stored_execution
from perfkit.totals.counted import Count, tally
from perfkit.totals.explaining import explain
from perfkit.totals.figures import Citation, cited
from perfkit.units import Precision
from perfkit.workload import Execution, Workload

GUIDE = Path(__file__).parents[2] / "docs" / "conventions.md"
NAMES = convention_names()
FIGURES = [(name, figure) for name in NAMES for figure in load_convention(name).figures]
# What papers print and their own formulas do not give.
MISSED = {
    # 7B with K and R: a rounded percentage of 99.3 B, where the formula gives 54.79, 33.00, 56.27, 35.21, 59.24, 39.63
    *(("fastv", f"{number} B") for number in ("54.6", "32.8", "56.6", "34.8", "59.6", "39.7")),
    # 32 (4*310*4096^2 + 2*310^2*4096 + 3*310*4096*11008) = 2 032 753 704 960, of 192 + 118 tokens
    ("sparsevlm", "2.05 T"),
    # 32 (4*246*4096^2 + 2*246^2*4096 + 3*246*4096*11008) = 1 608 961 228 800, of 128 + 118 tokens
    ("sparsevlm", "1.62 T"),
    ("prumerge", "0.28 T"),  # 0.2274: a quarter of the 909 531 336 704 of the same row in FP16
    ("vscan", "0.415 T"),  # 0.4155: 64 tokens, 415 538 085 888
}

MINIMAL = """\
paper: A paper
source: arXiv 0000.00000, section 3
unit: mac
causal: full
logits: none
ffn_matrices: 3
tokens_counted: visual
include: [llm]
elementwise: false
bits_scaling: false
leaves_out: all else
formula:
  layer:
    feed-forward: 3*n*d*m
rule: half unit
figures:
  - {model: llava-1.5-7b, visual_tokens: 576, printed: 2.49 T, where: table 1}
"""
OWN_TABLE = MINIMAL.split("formula:")[0] + (
    "ops:\n  layer:\n    - {op: q_proj, kind: linear, operations: 2*n*d**2, load_weights: d*d*w}\n"
)


def read(tmp_path: Path, text: str) -> Convention:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return read_convention(path)


def count_of(figure: Figure, convention: Convention) -> Count:
    """The count that a figure stands for."""
    spec, text, reduction = load_model(figure.model), figure.text_tokens, figure.reduction or None
    workload = forward_of(spec, convention, tokens=figure.visual_tokens, text_tokens=text, reduction=reduction)
    return tally(spec, workload, stored_execution(figure.precision), convention)


def citation_of(figure: Figure, convention: Convention) -> Citation:
    """What is said of a figure beside its count."""
    (citation,) = [citation for citation in cited(count_of(figure, convention)) if citation.figure == figure]
    return citation


def refused(tmp_path: Path, text: str) -> str:
    with pytest.raises(InvalidSpec) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert str(tmp_path / "mine.yaml") in message
    assert len(message.splitlines()) == 1
    return message.replace(str(tmp_path), "")


# --- the files


def test_the_names_of_the_command_line_are_there() -> None:
    assert {"prumerge", "fastv", "pyramiddrop", "sparsevlm", "calflops", "torch", "visionzip", "vscan"} <= set(NAMES)
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_file_loads_and_says_whose_it_is(name: str) -> None:
    convention = load_convention(name)
    assert convention.name == convention.label == name
    assert re.search(r"arXiv \d{4}\.\d{5}|torch \d|calflops \d", convention.source)
    assert bool(convention.terms) != bool(convention.table)
    assert convention.multiply_add == {"flop": 2, "mac": 1}[convention.unit]


@pytest.mark.parametrize("name", NAMES)
def test_what_counts_macs_says_so(name: str) -> None:
    convention = load_convention(name)
    assert ("half of each multiply-add;" in f"{convention.leaves_out};".replace(".", ";")) == (convention.unit == "mac")


@pytest.mark.parametrize(
    ("name", "figure"), FIGURES, ids=[f"{name}-{figure.model}-{figure.printed}" for name, figure in FIGURES]
)
def test_every_printed_figure_comes_out_but_those_that_are_known_not_to(name: str, figure: Figure) -> None:
    citation = citation_of(figure, load_convention(name))
    assert citation.given == ((name, figure.printed) not in MISSED), f"{figure.printed} printed, {citation.shown} here"


def test_what_is_missed_stands_in_the_files() -> None:
    assert {(name, figure.printed) for name, figure in FIGURES} >= MISSED


@pytest.mark.parametrize(
    ("name", "printed", "shown", "cut_off"),
    [
        ("vscan", "0.415 T", "0.4155 T", True),
        ("vscan", "3.817 T", "3.8172 T", False),  # cut off and rounded are the same
        ("sparsevlm", "1.62 T", "1.609 T", False),
        # (2 * 99 327 541 248 + 30 * 51 820 756 992) / 32 = 54 789 931 008, with 576 + 36 and 288 + 36 tokens
        ("fastv", "54.6 B", "54.79 B", False),
        # (2 * 99 327 541 248 + 30 * 28 576 972 800) / 32 = 32 998 883 328, with 144 + 36 tokens
        ("fastv", "32.8 B", "33.00 B", False),
    ],
)
def test_what_comes_out_is_shown_with_a_digit_more(name: str, printed: str, shown: str, cut_off: bool) -> None:
    (figure,) = [figure for whose, figure in FIGURES if (whose, figure.printed) == (name, printed)]
    citation = citation_of(figure, load_convention(name))
    assert (citation.shown, citation.cut_off) == (shown, cut_off)


def test_fastv_figures_are_in_billions_as_printed() -> None:
    assert {figure.printed[-1] for name, figure in FIGURES if name == "fastv"} == {"B"}


def test_there_are_figures_of_every_paper_that_prints_them() -> None:
    assert {name for name, _ in FIGURES} == {"fastv", "prumerge", "pyramiddrop", "sparsevlm", "vscan"}


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="nearest: pyramiddrop"):
        load_convention("pyramidrop")
    with pytest.raises(UnknownName):
        load_convention("../conventions/torch")


# --- a file of one's own


def test_a_minimal_file(tmp_path: Path) -> None:
    convention = read(tmp_path, MINIMAL)
    assert convention.name == "mine"
    assert convention.text_tokens is None
    (figure,) = convention.figures
    counted = count_of(figure, convention)
    assert counted.total == 3_817_152_184_320  # the switches count; the formula here has the feed-forward alone
    made = explain(counted)
    assert made.formula_value == 2_493_228_515_328  # 32 * 3*576*4096*11008
    assert made.differences == ("the switches of mine and its formula do not say the same",)


def test_a_file_with_a_table_of_its_own(tmp_path: Path) -> None:
    (op,) = read(tmp_path, OWN_TABLE).table
    assert op.weight_bytes.text == "d*d*w"
    assert op.write_bytes.text == "0"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("paper: A paper", "papre: A paper", ["paper is missing"]),
        ("unit: mac", "unit: mac\nunti: flop", ["unknown key 'unti'", "nearest: unit"]),
        ("unit: mac", "unit: macs", ["unknown unit 'macs'", "nearest: mac"]),
        ("causal: full", "causal: none", ["unknown causal 'none'", "full, half"]),
        ("logits: none", "logits: first", ["unknown logits 'first'"]),
        ("ffn_matrices: 3", "ffn_matrices: 4", ["ffn_matrices must be 2 or 3, not 4"]),
        ("ffn_matrices: 3", "ffn_matrices: three", ["ffn_matrices must be a plain number"]),
        ("tokens_counted: visual", "tokens_counted: text", ["unknown tokens_counted 'text'"]),
        ("include: [llm]", "include: [lm]", ["unknown include 'lm'", "nearest: llm"]),
        ("include: [llm]", "include: []", ["include is missing"]),
        ("elementwise: false", "elementwise: 0", ["elementwise must be true or false, not 0"]),
        ("elementwise: false", "elementwise: true", ["element-wise work has no multiply-adds"]),
        ("bits_scaling: false", "bits_scaling: maybe", ["bits_scaling must be true or false"]),
        ("leaves_out: all else", "leaves_out: all else\ntext_tokens: -1", ["text_tokens must be"]),
        ("3*n*d*m", "3*n*d*x", ["feed-forward: unknown symbol 'x'"]),
        ("3*n*d*m", "max(n, d)", ["'max(n, d)' is not allowed"]),
        ("3*n*d*m", "L*3*n*d*m", ["unknown symbol 'L'"]),  # a term is of one layer
        ("3*n*d*m", "B*3*n*d*m", ["unknown symbol 'B'"]),
        ("3*n*d*m", "[3]", ["feed-forward must be text"]),
        ("  layer:", "  layers:", ["formula", "unknown key 'layers'", "nearest: layer"]),
        ("model: llava-1.5-7b", "model: llava-1.5-8b", ["figures[0]", "unknown model", "nearest: llava-1.5-7b"]),
        ("rule: half unit\n", "", ["rule is missing"]),
        ("rule: half unit", "rule: roughly", ["unknown rule 'roughly'", "half unit"]),
        ("printed: 2.49 T", "printed: 2.49", ["figures[0]", "printed must be text"]),
        ("printed: 2.49 T", "printed: 2.49 TF", ["figures[0]", "such as 3.82 T", "'2.49 TF'"]),
        ("where: table 1", "were: table 1", ["figures[0]: where is missing"]),
        ("where: table 1", "where: table 1, layer: 2", ["unknown key 'layer'", "per_layer"]),
        ("where: table 1", "where: table 1, precision: int3", ["unknown precision 'int3'"]),
        ("where: table 1", "where: table 1, per_layer: 1", ["per_layer must be true or false"]),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path: Path, old: str, new: str, says: list[str]) -> None:
    assert old in MINIMAL
    message = refused(tmp_path, MINIMAL.replace(old, new, 1))
    assert [part for part in says if part not in message] == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("kind: linear", "kind: product", ["ops: layer[0]", "unknown kind 'product'"]),
        ("operations: 2*n*d**2, ", "", ["ops: layer[0]", "operations is missing"]),
        ("load_weights", "load_weight", ["unknown key 'load_weight'", "nearest: load_weights"]),
        ("2*n*d**2", "2*L*n*d**2", ["unknown symbol 'L'"]),
        ("d*d*w", "d*d*t", ["load_weights: unknown symbol 't'"]),  # positions with logits are the head's
        ("  layer:", "  vision:", ["unknown key 'vision'"]),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, old: str, new: str, says: list[str]) -> None:
    assert old in OWN_TABLE
    message = refused(tmp_path, OWN_TABLE.replace(old, new, 1))
    assert [part for part in says if part not in message] == []


def test_the_example_of_the_guide_loads_and_gives_its_figure(tmp_path: Path) -> None:
    page = (GUIDE.parent / "adding-a-convention.md").read_text()
    (example,) = re.findall(r"^```yaml .*?\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    convention = read(tmp_path, example)
    (figure,) = convention.figures
    assert citation_of(figure, convention).given


def test_the_guide_names_every_convention_and_symbol() -> None:
    page = GUIDE.read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []
    assert [symbol for symbols in SYMBOLS.values() for symbol in symbols if f"`{symbol}`" not in page] == []


# --- switches


def test_switches_are_said() -> None:
    torch = load_convention("torch")
    switched = torch.switched(unit="mac", causal="half", include=("llm",), logits=None)
    assert switched.label == "torch, but unit mac, causal half, include llm"
    assert switched.multiply_add == 1
    assert switched.switched(elementwise=False).label == switched.label  # it is off already
    assert torch.switched(ffn_matrices=2).label == "torch, but ffn matrices 2"
    assert torch.switched(elementwise=True).label == "torch, but elementwise"
    on = torch.switched(elementwise=True)
    assert on.switched(elementwise=False).label == "torch, but elementwise, no elementwise"
    assert load_convention("prumerge").switched(causal="full").overrides == ()


@pytest.mark.parametrize("switch", [{"causal": "half"}, {"ffn_matrices": 2}, {"elementwise": False}, {"unit": "mac"}])
def test_a_table_of_its_own_cannot_be_switched(switch: dict[str, object]) -> None:
    with pytest.raises(InvalidValue, match=f"own table of ops, so --{next(iter(switch)).replace('_', '-')} cannot"):
        load_convention("prumerge").switched(**switch)


def test_switches_that_contradict_each_other() -> None:
    torch = load_convention("torch")
    with pytest.raises(InvalidValue, match="--unit flop"):
        torch.switched(unit="mac", elementwise=True)
    with pytest.raises(InvalidValue, match="nothing to count"):
        torch.switched(include=("lm_head",), logits="none")


# --- symbols


def test_symbols_have_values_wherever_the_model_has_the_part() -> None:
    llava, workload = load_model("llava-1.5-7b"), Workload(576, batch=3, images=1)
    for scope, symbols in SYMBOLS.items():
        values = symbols_of(scope, llava, workload, Execution(), layers=32, tokens=636)
        assert set(values) == set(symbols)
        assert set(TIMES[scope]) <= set(symbols)


def test_values_of_symbols() -> None:
    llava, int4 = load_model("llava-1.5-7b"), Precision.INT4
    layer = symbols_of("layer", llava, Workload(576), Execution(int4, Precision.FP16, int4), layers=32, tokens=636)
    assert layer == {
        "L": 32,
        "n": 636,
        "d": 4096,
        "m": 11008,
        "h": 32,
        "k": 4096,
        "V": 32064,
        "B": 1,
        "w": Fraction(1, 2),
        "a": 2,
        "c": Fraction(1, 2),
    }
    vision = symbols_of("vision", llava, Workload(576), Execution())
    assert vision == {"T": 1, "P": 576, "N": 577, "e": 588, "D": 24, "v": 1024, "u": 4096}  # 588 = 3 * 14 * 14


@pytest.mark.parametrize(("logits", "positions"), [("none", 0), ("last", 1), ("all", 636)])
def test_positions_with_logits(logits: str, positions: int) -> None:
    execution = Execution(logits=logits)  # type: ignore[arg-type]
    assert symbols_of("head", load_model("llava-1.5-7b"), Workload(576), execution, tokens=636)["t"] == positions


def test_a_model_without_a_part_has_no_symbols_of_it() -> None:
    vicuna, clip = load_model("vicuna-7b"), load_model("clip-vit-l-14-336")
    assert symbols_of("vision", vicuna, Workload(0), Execution()) == {}
    assert symbols_of("projector", clip, Workload(577), Execution()) == {}
    assert symbols_of("layer", clip, Workload(577), Execution(), layers=1, tokens=1) == {}
    assert symbols_of("vision", load_model("llava-1.5-7b"), Workload(0), Execution()) == {}
