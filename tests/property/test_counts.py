"""What must hold of every formula and every count: exact values, twice the MACs are the FLOPs, parts add up."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from perfkit.conventions import convention_names, load_convention
from perfkit.formulas import Formula
from perfkit.models import load_model, read_model
from perfkit.models.config import Config
from perfkit.totals.counted import Count, tally
from perfkit.totals.explaining import explain
from perfkit.workload import Execution, LayerGroup, Workload

GPT2 = {"model_type": "gpt2", "n_embd": 96, "n_layer": 3, "n_head": 4, "n_positions": 8192, "vocab_size": 701}
SPECS = {
    "gpt2": replace(read_model(Config(GPT2, "gpt2")), name="gpt2"),
    **{name: load_model(name) for name in ("llava-1.5-7b", "llava-next-7b", "mixtral-8x7b", "llama-3-8b")},
}
FORMULAS = [name for name in convention_names() if load_convention(name).terms]


numbers = st.one_of(
    st.integers(-(10**9), 10**9),
    st.fractions(min_value=-1000, max_value=1000, max_denominator=1000),
)


def random_formula(seed: int) -> str:
    """Sums, differences, products, quotients and powers of names and numbers, nested."""
    draw = random.Random(seed)

    def piece(depth: int) -> str:
        if depth == 0 or draw.random() < 0.2:
            return draw.choice(["a", "b", "c", "3", "0.25", "17"])
        kind = draw.randrange(5)
        if kind == 0:
            return f"({piece(depth - 1)})**{draw.randrange(3)}"
        if kind == 1:
            return f"-({piece(depth - 1)})"
        if kind == 2:
            return f"({piece(depth - 1)}) / {draw.randrange(1, 9)}"
        return f"({piece(depth - 1)} {draw.choice('+-*')} {piece(depth - 1)})"

    return piece(4)


@given(st.integers(0, 10**6), numbers, numbers, numbers)
def test_what_is_filled_in_has_the_same_value(seed: int, a: Fraction, b: Fraction, c: Fraction) -> None:
    formula, values = Formula(random_formula(seed)), {"a": a, "b": b, "c": c}
    value = formula.evaluate(values)
    assert Formula(formula.filled(values)).evaluate({}) == value
    # Python itself, over fractions, is the reference.
    exact = {name: Fraction(number) for name, number in values.items()}
    python = re.sub(r"(?<![\w*.])(\d+(?:\.\d+)?)", r'Fraction("\1")', formula.text)
    assert value == eval(python, {"Fraction": Fraction}, exact)  # noqa: S307


# --- counts


@given(
    st.sampled_from(list(SPECS)),
    st.sampled_from(["full", "half"]),
    st.sampled_from([2, 3]),
    st.sampled_from(["none", "last", "all"]),
    st.integers(1, 300),
    st.integers(1, 3),
)
def test_flops_are_twice_the_macs_and_parts_add_up(
    name: str, causal: str, ffn: int, logits: str, text: int, batch: int
) -> None:
    spec = SPECS[name]
    workload = Workload(spec.visual_tokens, text, batch=batch, images=1 if spec.vision else 0)

    def made(**more: object) -> Count:
        convention = load_convention("torch").switched(causal=causal, ffn_matrices=ffn, logits=logits)
        return tally(spec, workload, Execution(), convention.switched(**more))

    flops, macs = made(), made(unit="mac")
    assert isinstance(macs.total, int)
    assert flops.total == 2 * macs.total
    parts = ("vision", "projector", "llm") if spec.vision else ("llm",)
    assert sum(made(include=(part,)).total for part in parts) == flops.total
    assert flops.total <= tally(spec, workload, Execution(), load_convention("calflops")).total


@given(
    st.sampled_from(FORMULAS),
    st.lists(st.integers(1, 576), min_size=4, max_size=4),
    st.integers(1, 200),
    st.integers(1, 3),
)
def test_formula_and_ops_are_one_integer(name: str, tokens: list[int], text: int, batch: int) -> None:
    schedule = tuple(LayerGroup(8, seen) for seen in sorted(tokens, reverse=True))
    workload = Workload(576, text, batch=batch, schedule=schedule)
    made = explain(tally(SPECS["llava-1.5-7b"], workload, Execution(), load_convention(name)))
    assert made.formula_value == made.count.total
    assert all(Formula(piece.filled).evaluate({}) == piece.value for piece in made.pieces)
