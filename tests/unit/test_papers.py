"""Published timings: every file loads, each point has its source, and a bad file is refused with the key named."""

import re
from pathlib import Path

import pytest

from perfkit.errors import InvalidSpec
from perfkit.hardware import device_ids
from perfkit.papers.timings import TIMINGS, Forward, Product, read_timings, timings
from perfkit.units import Precision

FILES = sorted(TIMINGS.glob("*.yaml"))
GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-paper.md"

FORWARD = """\
source: A paper
measured: once
unit: ms
predictors: [Oracle]
models:
  Tiny: {model_type: gpt2, n_embd: 64, n_layer: 2, n_head: 4, n_positions: 128, vocab_size: 1000}
groups:
  - what: Tiny
    device: v100-pcie-32gb
    kind: forward
    model: Tiny
    phases: [prefill]
    precision: fp32
    attention: eager
    runtime: eager
    logits: all
    points:
      - {batch: 2, text_tokens: 100, measured: 1.5, others: {Oracle: 1.25}}
"""
PRODUCT = """\
source: A paper
measured: once
unit: us
groups:
  - what: square
    why: it is square
    device: v100-sxm2-32gb
    kind: product
    precision: fp16
    points:
      - {layout: TN, m: 64, n: 64, k: 64, measured: 8}
"""
LLAVA = """\
source: A paper
measured: once
unit: s
groups:
  - what: LLaVA
    device: a100-sxm-80gb
    kind: forward
    model: llava-1.5-7b
    phases: [vision, projector, prefill]
    precision: fp16
    attention: fused
    runtime: graph
    logits: last
    points:
      - {batch: 1, visual_tokens: 576, text_tokens: 60, measured: 0.1}
"""


def written(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


# --- the files that come with perfkit


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_loads_and_says_where_it_is_from(path):
    found = read_timings(path)
    for timing in found:
        assert timing.paper.name == path.stem
        assert re.search(r"github\.com/\S+, commit [0-9a-f]{7}|arXiv \d{4}\.\d{5}|doi 10\.", timing.paper.source)
        assert timing.paper.measured
        assert timing.device in device_ids()
        assert 1e-6 < timing.measured_s < 60
    whats = [(timing.device, timing.what) for timing in found]
    assert len(set(whats)) == len(whats)


def test_the_sources():
    counts = {path.stem: len(read_timings(path)) for path in FILES}
    assert counts == {"deepbench": 36, "fastertransformer": 36, "neusight": 18, "sparsevlm": 4}
    assert len(timings()) == 94


def test_files_name_no_machine_of_ours():
    for path in FILES:
        assert not re.search(r"/work|/tmp|/home|shared/", path.read_text())


def test_a_group_of_products_says_why_it_was_chosen():
    for path in FILES:
        text = path.read_text()
        assert text.count("kind: product") == text.count("    why: ")


# --- reading


def test_a_forward(tmp_path):
    (timing,) = read_timings(written(tmp_path, FORWARD))
    work = timing.work
    assert isinstance(work, Forward)
    assert (timing.what, timing.device) == ("Tiny, 2 x 100 tokens", "v100-pcie-32gb")
    assert (timing.measured_s, timing.others) == (0.0015, {"Oracle": 0.00125})
    assert (work.model.name, work.phases) == ("Tiny", ("prefill",))
    assert (work.workload.batch, work.workload.text_tokens, work.workload.visual_tokens) == (2, 100, 0)
    execution = work.execution
    assert {execution.weights, execution.activations, execution.kv} == {Precision.FP32}
    assert (execution.attention, execution.logits) == ("eager", "all")


def test_a_product(tmp_path):
    (timing,) = read_timings(written(tmp_path, PRODUCT))
    assert timing.work == Product(64, 64, 64, "TN", Precision.FP16)
    assert (timing.measured_s, timing.others) == (8e-6, {})


def test_a_preset_with_an_image(tmp_path):
    (timing,) = read_timings(written(tmp_path, LLAVA))
    assert timing.what == "LLaVA, 1 x (576 + 60) tokens"
    assert timing.work.phases == ("vision", "projector", "prefill")


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (FORWARD, "source: A paper\n", "", "source is missing"),
        (FORWARD, "measured: once\n", "", "measured is missing"),
        (FORWARD, "unit: ms", "unit: min", "unknown unit 'min'; allowed: ms, s, us"),
        (FORWARD, "source: A paper", "sauce: A paper", "source is missing"),
        (FORWARD, "unit: ms", "unit: ms\nyear: 2025", "unknown key 'year'"),
        (FORWARD, "[Oracle]", "[roofline]", "predictors: roofline is perfkit's own"),
        (FORWARD, "[Oracle]", "Oracle", "predictors must be a list of texts"),
        (FORWARD, "model_type: gpt2", "model_type: gpt9", r"models: Tiny: unknown model_type 'gpt9'; nearest: gpt2"),
        (FORWARD, "n_embd: 64, ", "", "models: Tiny: n_embd is missing"),
        (FORWARD, "model: Tiny", "model: Tinny", r"groups\[0\]: unknown model 'Tinny'"),
        (FORWARD, "device: v100-pcie-32gb", "device: v100-pci", "unknown device 'v100-pci'; nearest: v100-pcie"),
        (FORWARD, "kind: forward", "kind: backward", "unknown kind 'backward'"),
        (FORWARD, "phases: [prefill]", "phases: [prefil]", "unknown phases 'prefil'; nearest: prefill"),
        (FORWARD, "phases: [prefill]", "phases: []", "phases is missing"),
        (FORWARD, "phases: [prefill]", "phases: [vision]", r"points\[0\]: Tiny has no phase vision; it has prefill"),
        (FORWARD, "precision: fp32", "precision: fp31", "unknown precision 'fp31'"),
        (FORWARD, "attention: eager", "attention: flash", "unknown attention 'flash'"),
        (FORWARD, "    logits: all\n", "", "logits is missing"),
        (FORWARD, "measured: 1.5", "measured: 1.5 ms", "measured must be a plain number"),
        (FORWARD, "measured: 1.5", "measured: 0", "measured must be a number above zero"),
        (FORWARD, "batch: 2", "batch: 2.5", "batch must be a whole number above zero"),
        (FORWARD, "batch: 2", "batch: 20000000", "batch must be a whole number from 1 to 10000000"),
        (FORWARD, "text_tokens: 100, ", "", "text_tokens is missing"),
        (FORWARD, "batch: 2,", "batch: 2, visual_tokens: 9,", "unknown key 'visual_tokens'"),
        (FORWARD, ", others: {Oracle: 1.25}", "", r"points\[0\]: others is missing"),
        (FORWARD, "{Oracle: 1.25}", "{Sage: 1.25}", "others: Oracle is missing"),
        (FORWARD, "{Oracle: 1.25}", "{Oracle: 1.25, Sage: 1}", "others: unknown key 'Sage'"),
        (FORWARD, "predictors: [Oracle]\n", "", r"points\[0\]: unknown key 'others'"),
        (PRODUCT, "layout: TN", "layout: TT", "unknown layout 'TT'; allowed: NN, NT, TN"),
        (PRODUCT, "m: 64, ", "", "m is missing"),
        (PRODUCT, "kind: product", "kind: product\n    model: llava-1.5-7b", r"groups\[0\]: unknown key 'model'"),
        (PRODUCT, PRODUCT[PRODUCT.index("groups") :], "groups: []\n", "groups holds no point"),
        (PRODUCT, PRODUCT[PRODUCT.index("groups") :], "", "groups is missing"),
        (LLAVA, "visual_tokens: 576", "visual_tokens: 577", "577 visual tokens: llava-1.5-7b makes at most 576"),
        (LLAVA, "visual_tokens: 576, ", "", "visual_tokens is missing"),
    ],
)
def test_a_bad_file_is_refused_with_the_key_named(tmp_path, text, old, new, message):
    assert old in text
    path = written(tmp_path, text.replace(old, new, 1))
    with pytest.raises(InvalidSpec, match=message) as caught:
        read_timings(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_example_of_the_guide_loads(tmp_path):
    example, _ = re.findall(r"^```yaml\n(.*?)^```", GUIDE.read_text(), flags=re.DOTALL | re.MULTILINE)
    (timing,) = read_timings(written(tmp_path, example))
    assert timing.others == {"Their model": pytest.approx(0.0521)}
