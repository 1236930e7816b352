"""Published tables: every file loads, every figure can be redone, and every command prints its row."""

from __future__ import annotations

import json
import re
import shlex
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import perfkit
from perfkit import reports
from perfkit.cli import main
from perfkit.counting import workload_of
from perfkit.errors import InvalidSpec, UnknownName
from perfkit.formulas import Formula
from perfkit.models import load_model
from perfkit.papers.correcting import Correction, correct
from perfkit.papers.published import Request
from perfkit.papers.reading import TABLES, load_paper, paper_names, read_paper
from perfkit.papers.reproducing import Reproduction, reproduce, reproduce_paper
from perfkit.tables import FORMATS, render_for_people

FILES = sorted(TABLES.glob("*.yaml"))
GUIDE = Path(__file__).parents[2] / "docs" / "adding-a-paper.md"

# Figures printed, matched, of these fitted, tried (which are not matched), and misprints.
COUNTS = {
    "fastv": (48, 43, 0, 1, 1),
    "prumerge": (32, 31, 0, 0, 1),
    "pyramiddrop": (6, 6, 0, 0, 0),
    "sparsevlm": (23, 14, 14, 1, 0),
    "visionzip": (0, 0, 0, 0, 0),
    "voco-llama": (3, 3, 3, 0, 0),
    "vscan": (4, 3, 0, 0, 0),
    "vtw-disputed": (6, 5, 1, 0, 0),
}

FORMULA = """\
source: "A paper (arXiv 2501.01234)"
summary: "layers, in multiply-adds"
tables:
  - what: Table 1
    convention: pyramiddrop
    basis: stated
    rule: half unit
    model: llava-1.5-7b
    columns:
      - {column: FLOPs, unit: T, figure: total}
    rows:
      - {row: all, visual: 576, printed: {FLOPs: "3.82"}}
      - row: half
        seen: [{layers: 2, visual: 576}, {layers: 30, visual: 288}]
        printed: {FLOPs: "2.01"}
promises:
  - {what: FLOPs, column: FLOPs, before: all, after: half}
corrected:
  - {row: all, model: llava-1.5-7b, text_tokens: 60}
"""
SHARE = """\
source: "A paper (arXiv 2501.01234)"
summary: "a share"
tables:
  - what: Table 1
    convention: fastv
    basis: inferred
    rule: half unit
    model: llava-1.5-7b
    other: 36
    of: 576
    columns:
      - {column: ratio, unit: "%", figure: share}
    rows:
      - {row: few, visual: 57.6, printed: {ratio: "15"}}
"""
OPS = """\
source: "A paper (arXiv 2501.01234)"
summary: "a table of ops"
tables:
  - what: Table 1
    convention: prumerge
    basis: inferred
    rule: one significant unit
    model: llava-1.5-7b
    device: {name: V100, fp16_tflop_per_s: 112, int8_top_per_s: 62, bandwidth_gb_per_s: 900, note: "a card"}
    columns:
      - {column: FLOPs, unit: T, figure: total}
      - {column: prefill, unit: ms, figure: time}
    rows:
      - {row: all, visual: 576, other: 124, printed: {FLOPs: "9.3", prefill: "88.6"}}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def everything() -> dict[str, Reproduction]:
    return {reproduction.paper.name: reproduction for reproduction in reproduce()}


# --- the files that come with perfkit


def test_the_papers() -> None:
    assert paper_names() == tuple(COUNTS) == tuple(path.stem for path in FILES)


@pytest.mark.parametrize("name", COUNTS)
def test_how_many_figures_come_out(name: str, everything: dict[str, Reproduction]) -> None:
    r = everything[name]
    assert (len(r.printed), len(r.matched), len(r.fitted), len(r.tried), len(r.misprints)) == COUNTS[name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_says_where_it_is_from_and_names_no_machine_of_ours(path: Path) -> None:
    paper = read_paper(path)
    assert re.search(r"arXiv \d{4}\.\d{5}", paper.source)
    assert paper.notes
    assert not re.search(r"/work|/tmp|/home|shared/", path.read_text())


@pytest.mark.parametrize("name", COUNTS)
def test_what_does_not_come_out_says_why(name: str, everything: dict[str, Reproduction]) -> None:
    for cell in everything[name].cells:
        if not cell.matches:
            assert cell.note or cell.misprint, cell.row
        if cell.misprint:
            assert not cell.matches


@pytest.mark.parametrize("name", COUNTS)
def test_every_figure_can_be_redone_from_its_arithmetic(name: str, everything: dict[str, Reproduction]) -> None:
    for cell in everything[name].cells:
        assert Formula(cell.filled).evaluate({}) == cell.value
        assert eval(cell.filled) == pytest.approx(cell.reproduced)  # noqa: S307  # Python's own arithmetic agrees
        assert cell.formula
        assert cell.inputs["model"]
        assert cell.source == everything[name].paper.source


@pytest.mark.parametrize("name", COUNTS)
def test_an_inferred_table_gives_two_figures_or_more(name: str, everything: dict[str, Reproduction]) -> None:
    cells = [cell for cell in everything[name].printed if cell.basis == "inferred" and not cell.misprint]
    for table in {cell.table for cell in cells}:
        # 100 % of itself is no evidence.
        given = [cell for cell in cells if cell.table == table and cell.matches and cell.value != 100]
        assert len(given) >= 2, table


@pytest.mark.parametrize("name", COUNTS)
def test_a_tried_choice_leaves_a_figure_of_its_table_out(name: str, everything: dict[str, Reproduction]) -> None:
    tried = [cell for cell in everything[name].printed if cell.basis == "tried"]
    for table in {cell.table for cell in tried}:
        assert not all(cell.matches for cell in tried if cell.table == table)
    assert set(everything[name].tried) == {cell for cell in tried if cell.matches}
    assert not set(everything[name].tried) & set(everything[name].matched)


def test_43_percent_of_fastv_comes_out_and_is_no_evidence(everything: dict[str, Reproduction]) -> None:
    (cell,) = everything["fastv"].tried
    assert (cell.printed, cell.matches, cell.basis) == ("43", True, "tried")
    assert "by chance" in cell.note


def test_fitted_figures_are_told_from_reproduced_ones(everything: dict[str, Reproduction]) -> None:
    voco = everything["voco-llama"]
    assert voco.fitted == voco.matched
    assert not everything["pyramiddrop"].fitted


def layers(n: float, matrices: int) -> float:
    return 4 * n * 4096**2 + 2 * n * n * 4096 + matrices * n * 4096 * 11008


def test_the_other_tokens_that_notes_of_sparsevlm_name(everything: dict[str, Reproduction]) -> None:
    tables = everything["sparsevlm"].paper.tables
    rows = [row for table in tables for row in table.rows if "would need" in row.notes.get("FLOPs", "")]
    assert len(rows) == 8
    for row in rows:
        totals = {o: sum(g.layers * layers(float(g.visual) + o, 3) for g in row.seen) / 1e12 for o in range(200)}
        fits = [str(o) for o, total in totals.items() if abs(total - float(row.printed["FLOPs"])) <= 0.005]
        assert row.notes["FLOPs"] == f"would need {' or '.join(fits)} other tokens"


def test_the_other_tokens_that_notes_of_fastv_name(everything: dict[str, Reproduction]) -> None:
    def fits(k: int, r: float, printed: float) -> list[int]:
        def reduction(o: int) -> float:
            kept = k * layers(576 + o, 2) + (32 - k) * layers(576 * (1 - r) + o, 2)
            return 100 - 100 * kept / (32 * layers(576 + o, 2))

        return [o for o in range(600) if abs(reduction(o) - printed) <= 0.5]

    notes = {c.row: c.note for c in everything["fastv"].cells if "alone" in c.row}
    for r, printed in ((0.5, 45), (0.75, 67), (0.9, 80)):
        found = fits(2, r, printed)
        assert found == list(range(found[0], found[-1] + 1))
        assert f"needs {found[0]} to {found[-1]} other" in notes[f"K=2 R={r:.0%}, visual tokens alone"]
        assert set(range(34, 39)) <= set(found)
    assert fits(3, 0.5, 43) == list(range(34, 49))
    assert fits(5, 0.5, 43) == list(range(5))  # 0 to 4: none of the 27 and more that 45 needs


def test_the_schedules_of_sparsevlms_code(everything: dict[str, Reproduction]) -> None:
    """Three tenths of what is dropped are clustered, one token for ten, as its code rounds."""

    def left(kept: tuple[int, ...]) -> list[int]:
        tokens = [576]
        for asked in kept:
            dropped = tokens[-1] - asked
            tokens.append(asked + (int(dropped * 0.3) + 1) // 10 + 1)
        return tokens

    rows = {row.name: row for table in everything["sparsevlm"].paper.tables for row in table.rows}
    for budget, kept in ((192, (300, 200, 110)), (128, (303, 110, 36)), (64, (66, 30, 17))):
        assert [group.visual for group in rows[f"SparseVLM {budget}, its code"].seen] == left(kept)


def test_the_corrected_schedules_of_sparsevlm_are_those_of_its_code(everything: dict[str, Reproduction]) -> None:
    paper, llava = everything["sparsevlm"].paper, load_model("llava-1.5-7b")
    rows = {row.name: row for table in paper.tables for row in table.rows}
    asked = {
        request.row: request.options["reduction"] for request in paper.corrections if "reduction" in request.options
    }
    assert len(asked) == 6
    for row, reduction in asked.items():
        method, budget, _ = re.split(", | ", row)
        schedule = workload_of(llava, reduction=str(reduction)).schedule
        assert [tuple(group) for group in schedule] == [tuple(g) for g in rows[f"{method} {budget}, its code"].seen]


def test_prumerges_device_is_no_one_card(everything: dict[str, Reproduction]) -> None:
    device = everything["prumerge"].paper.tables[0].device
    assert device is not None
    assert (device.fp16_per_s, device.int8_per_s, device.bytes_per_s) == (112 * 10**12, 62 * 10**12, 900 * 10**9)
    assert "no one card has both" in device.note


# --- corrected


def shown_by(command: str) -> dict[str, Any]:
    result = CliRunner().invoke(main, [*shlex.split(command)[1:], "--format", "json"])
    assert result.exit_code == 0, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.parametrize("name", COUNTS)
def test_every_command_prints_its_row(name: str, everything: dict[str, Reproduction]) -> None:
    for correction in everything[name].corrected:
        document = shown_by(correction.command)
        check = same_count if correction.ttft_roofline_s is None else same_roofline
        check(correction, document)


def same_count(correction: Correction, document: dict[str, Any]) -> None:
    assert document["total"] == correction.matmul_flops
    assert document["by_phase"] == correction.by_phase
    assert document["bytes"] == correction.bytes


def same_roofline(correction: Correction, document: dict[str, Any]) -> None:
    phases = [phase for phase in document["phases"] if phase["phase"] != "decode"]
    assert sum(phase["matmul_flops"] for phase in phases) == correction.matmul_flops
    assert sum(phase["bytes"] for phase in phases) == correction.bytes
    assert sum(phase["write_bytes"] for phase in phases) == correction.stored_bytes
    (prefill,) = [phase for phase in phases if phase["phase"] == "prefill"]
    assert prefill["roofline_s"] == correction.prefill_roofline_s
    totals = document["totals"]
    assert totals["ttft_roofline_s"] == correction.ttft_roofline_s
    assert totals["tpot_roofline_s"] == correction.tpot_roofline_s
    assert totals["memory_bytes"]["total"] == correction.memory_bytes
    assert totals["fits"] == correction.fits


def test_the_whole_model_of_prumerge_by_hand(everything: dict[str, Reproduction]) -> None:
    corrected = {correction.row: correction for correction in everything["prumerge"].corrected}
    full, pruned = corrected["7B FP16, LLaVA-1.5"], corrected["7B FP16, PruMerge"]
    n = 576 + 40
    prefill = 32 * (8 * n * 4096**2 + 6 * n * 4096 * 11008 + 4 * n * n * 4096) + 2 * 4096 * 32064
    assert full.by_phase == {"vision": 381_918_216_192, "projector": 24_159_191_040, "prefill": prefill}
    # 14 126 854 144 B of weights, 2 * 32 * 4096 * 2 B for each of 616 + 128 tokens, and the widest moment: two inner
    # states read, one written, beside the residual stream: 3 * 616 * 11008 * 2 + 616 * 4096 * 2 = 45 731 840.
    assert full.memory_bytes == 14_126_854_144 + 2 * 32 * 4096 * 2 * (n + 128) + 45_731_840
    n = 40 + 40
    prefill = 32 * (8 * n * 4096**2 + 6 * n * 4096 * 11008 + 4 * n * n * 4096) + 2 * 4096 * 32064
    assert pruned.by_phase["prefill"] == prefill
    assert pruned.by_phase["projector"] == 2 * 40 * (1024 * 4096 + 4096**2)
    # Class token by 577 keys, then 39 kept keys by 576, each 1024 wide; the 40th token is appended.
    assert pruned.by_phase["reduction"] == 2 * 577 * 1024 + 2 * 39 * 576 * 1024 == 47_187_968


def launch_ms(flops: float, moved: float) -> float:
    """Roofline of one launch at 112 TFLOP/s and 900 GB/s, in ms."""
    return 1e3 * max(flops / 112e12, moved / 900e9)


def prefill_ms(n: int, visual: int) -> float:
    """A prefill of n tokens of Vicuna-7B in fp16: every launch written out, bytes in units of the hidden states x."""
    d, m, x, inner = 4096, 11008, n * 4096 * 2, n * 11008 * 2
    layer = 4 * launch_ms(2 * n * d * d, 2 * d * d + 2 * x)  # q, k, v, o
    layer += launch_ms(0, 4 * x + 512 * n)  # rotary: q and k read and written; cosine and sine, 128 wide
    layer += launch_ms(0, 4 * x)  # keys and values into the cache
    layer += launch_ms(4 * n * n * d, 4 * x)  # fused attention: q, k, v in, one out
    layer += 2 * launch_ms(0, 3 * x) + 2 * launch_ms(0, 2 * x + 2 * d)  # adds, norms
    layer += 2 * launch_ms(2 * n * d * m, 2 * d * m + x + inner)  # gate, up
    layer += launch_ms(0, 3 * inner) + launch_ms(2 * n * d * m, 2 * d * m + inner + x)  # activation, down
    around = launch_ms(0, 2 * x) + launch_ms(0, 2 * visual * 8192) + launch_ms(0, 2 * x + 8192)  # embed, merge, norm
    return 32 * layer + around + launch_ms(2 * d * 32064, 2 * d * 32064 + 8192 + 2 * 32064)


def tower_ms() -> float:
    """CLIP's tower over one image: 577 positions, 1024 wide, 24 layers, a bias in every product."""
    v, u = 577 * 1024 * 2, 577 * 4096 * 2
    layer = 4 * launch_ms(2 * 577 * 1024**2, 2 * (1024**2 + 1024) + 2 * v)
    layer += launch_ms(4 * 577**2 * 1024, 4 * v) + 2 * launch_ms(0, 3 * v) + 2 * launch_ms(0, 2 * v + 4096)
    layer += launch_ms(2 * 577 * 1024 * 4096, 2 * (1024 * 4096 + 4096) + v + u) + launch_ms(0, 2 * u)
    layer += launch_ms(2 * 577 * 1024 * 4096, 2 * (1024 * 4096 + 1024) + u + v)
    patches = launch_ms(2 * 576 * 588 * 1024, 0) + launch_ms(0, 2 * v + 2 * 576 * 1024 + 2048)
    return 24 * layer + patches + launch_ms(0, 2 * v + 4096) + launch_ms(0, 2 * 2048 + 4096)


def projector_ms(n: int) -> float:
    narrow, wide = n * 1024 * 2, n * 4096 * 2
    first = launch_ms(2 * n * 1024 * 4096, 2 * (1024 * 4096 + 4096) + narrow + wide)
    return first + launch_ms(0, 2 * wide) + launch_ms(2 * n * 4096**2, 2 * (4096**2 + 4096) + 2 * wide)


def test_the_times_of_prumerges_rows_by_hand(everything: dict[str, Reproduction]) -> None:
    corrected = {correction.row: correction for correction in everything["prumerge"].corrected}
    full, pruned = corrected["7B FP16, LLaVA-1.5"], corrected["7B FP16, PruMerge"]
    assert full.prefill_roofline_s == pytest.approx(prefill_ms(616, 576) / 1e3)  # 78.03 ms
    assert pruned.prefill_roofline_s == pytest.approx(prefill_ms(80, 40) / 1e3)  # 15.83 ms
    whole = prefill_ms(616, 576) + tower_ms() + projector_ms(576)  # 78.025 + 3.984 + 0.226 = 82.235 ms
    assert full.ttft_roofline_s == pytest.approx(whole / 1e3, rel=1e-4)
    reducer = 0.008  # 7.26 MB at 900 GB/s
    less = prefill_ms(80, 40) + tower_ms() + reducer + projector_ms(40)  # 15.833 + 3.984 + 0.008 + 0.049 = 19.874 ms
    assert pruned.ttft_roofline_s == pytest.approx(less / 1e3, rel=1e-4)
    promise = next(one for one in everything["prumerge"].promises if one.what == "prefill, 7B FP16")
    assert promise.corrected_time == pytest.approx(whole / less, rel=1e-4)  # 4.138


def test_what_prumerge_stores_as_activations(everything: dict[str, Reproduction]) -> None:
    corrected = everything["prumerge"].corrected[0]
    # Language model, 616 tokens: 32 layers of 10 hidden states (q, k, v, both turned by rotary, attention, o, two adds,
    # down: 10, and two norms: 12) and 3 inner states, then embedding, merged tokens, last norm and one logit row.
    x, inner = 616 * 4096 * 2, 616 * 11008 * 2
    language = 32 * (12 * x + 3 * inner) + x + 576 * 8192 + x + 2 * 32064
    # Tower: 24 layers of 9 states (q, k, v, attention, o, two adds, fc2: 8, and two norms: 10) and 2 inner ones.
    v, u = 577 * 1024 * 2, 577 * 4096 * 2
    tower = 24 * (10 * v + 2 * u) + 576 * 2048 + 2 * v + 2048
    projector = 3 * 576 * 8192
    assert corrected.stored_bytes == language + tower + projector


def test_what_is_left_of_prumerges_promise(everything: dict[str, Reproduction]) -> None:
    promises = {promise.what: promise for promise in everything["prumerge"].promises}
    promise = promises["prefill, 7B FP16"]
    assert promise.printed == pytest.approx(88.6 / 15.3)  # 5.8
    assert promise.reproduced == pytest.approx(88.6145 / 15.2762, rel=1e-4)
    # Tower 0.381918 T, projector 0.024159 and 616 tokens 8.177646; tower, 0.000047, 0.001678 and 80 tokens 1.039779.
    assert promise.corrected_flops == pytest.approx(8.583722925 / 1.423422097, rel=1e-6)


def test_int4_on_a_v100_multiplies_in_fp16(everything: dict[str, Reproduction]) -> None:
    corrected = {correction.row: correction for correction in everything["prumerge"].corrected}
    wide, narrow = corrected["7B FP16, LLaVA-1.5"], corrected["7B INT4, LLaVA-1.5"]
    assert wide.matmul_flops == narrow.matmul_flops
    # 576 + 40 tokens are bound by compute at either width: no faster, where the paper's INT4 is slower.
    assert wide.ttft_roofline_s == pytest.approx(narrow.ttft_roofline_s, rel=1e-3)
    assert narrow.bytes < wide.bytes


def test_13b_in_fp16_would_not_fit_the_card_of_16_gb() -> None:
    request = Request("13B", "v100-pcie-16gb", {"model": "llava-1.5-13b", "text_tokens": 40})
    assert correct(request).fits is False


# --- reading


def test_a_paper_with_formula_promises_and_corrections(tmp_path: Path) -> None:
    found = reproduce_paper(read_paper(written(tmp_path, FORMULA)))
    assert [cell.matches for cell in found.cells] == [True, True]
    assert found.cells[1].filled.startswith("(2*(4*576*4096**2 + ")
    (promise,) = found.promises
    assert promise.printed == pytest.approx(3.82 / 2.01)
    assert (promise.corrected_flops, promise.corrected_time) == (None, None)  # the second row is not corrected
    assert found.corrected[0].command == "perfkit count --model llava-1.5-7b --text-tokens 60"


def test_fractions_of_tokens_stay_exact(tmp_path: Path) -> None:
    (cell,) = reproduce_paper(read_paper(written(tmp_path, SHARE))).cells
    assert cell.inputs["n"] == [{"layers": 32, "tokens": 93.6}]
    assert cell.inputs["of_tokens"] == 612
    assert isinstance(cell.value, Fraction)
    assert cell.matches  # 14.89


def test_a_rounded_share_of_a_printed_figure(tmp_path: Path) -> None:
    text = SHARE.replace('unit: "%", figure: share', 'unit: B, figure: rounded share, whole: "99.3"')
    (cell,) = reproduce_paper(read_paper(written(tmp_path, text.replace('"15"', '"14.9"')))).cells
    assert cell.value == Fraction("14.895")  # 14.89 % is 15 %, of 99.3
    assert cell.matches
    assert cell.filled.endswith("+ 0.5)//1/100 * 99.3")
    assert Formula(cell.filled).evaluate({}) == cell.value
    assert cell.formula.endswith(", rounded, / 100 * 99.3")


def test_a_table_of_ops(tmp_path: Path) -> None:
    flops, prefill = reproduce_paper(read_paper(written(tmp_path, OPS))).cells
    assert (flops.matches, prefill.matches) == (True, True)
    assert prefill.inputs["ops_per_s"] == 112e12
    assert "/112000000000000" in prefill.filled
    assert "/900000000000" in prefill.filled


def test_a_row_may_see_fewer_tokens_layer_by_layer_over_a_table_of_ops(tmp_path: Path) -> None:
    seen = "seen: [{layers: 2, visual: 576}, {layers: 30, visual: 288}]"
    flops, _ = reproduce_paper(read_paper(written(tmp_path, OPS.replace("visual: 576", seen)))).cells
    assert flops.reproduced < 9.3
    assert not flops.matches


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (FORMULA, 'source: "A paper (arXiv 2501.01234)"', 'sauce: "A paper"', "source is missing"),
        (FORMULA, 'summary: "layers, in multiply-adds"\n', "", "summary is missing"),
        (FORMULA, "tables:", "year: 2025\ntables:", "unknown key 'year'"),
        (FORMULA, FORMULA[FORMULA.index("tables") :], "tables: []\n", "tables holds no table"),
        (FORMULA, "convention: pyramiddrop", "convention: pyramidrop", "unknown convention 'pyramidrop'; nearest: pyr"),
        (FORMULA, "    convention: pyramiddrop\n", "", r"tables\[0\]: convention is missing"),
        (
            FORMULA,
            "rule: half unit",
            "rule: roughly",
            "unknown rule 'roughly'; allowed: half unit, one significant unit",
        ),
        (
            FORMULA,
            "basis: stated",
            "basis: certain",
            "unknown basis 'certain'; allowed: fitted, inferred, stated, tried",
        ),
        (FORMULA, "    basis: stated\n", "", "basis is missing"),
        (FORMULA, "model: llava-1.5-7b", "model: llava-7b", "unknown model 'llava-7b'; nearest: llava"),
        (FORMULA, "model: llava-1.5-7b", "model: clip-vit-l-14-336", "clip-vit-l-14-336 has no language model"),
        (FORMULA, "unit: T", "unit: GB", r"columns\[0\]: unit of a total is T or B, not GB"),
        (FORMULA, "unit: T", "unit: Q", "unknown unit 'Q'"),
        (FORMULA, "figure: total", "figure: sum", "unknown figure 'sum'"),
        (FORMULA, "unit: T, figure: total", "unit: GB, figure: bytes", "bytes needs a convention with a table of ops"),
        (FORMULA, "unit: T, figure: total", 'unit: "%", figure: share', "of is missing: say how many visual tokens"),
        (FORMULA, "visual: 576,", "visual: 0,", r"rows\[0\]: a layer sees no tokens at all"),
        (FORMULA, "visual: 576,", "visual: -1,", "visual must be a number above zero"),
        (FORMULA, "visual: 576,", "visual: 20000000,", "visual must be at most 10000000, not 2e"),
        (FORMULA, "visual: 576,", 'visual: "576",', "visual must be a plain number"),
        (FORMULA, "visual: 576,", "visual: true,", "visual must be a plain number, not True"),
        (FORMULA, "visual: 576,", "", r"rows\[0\]: visual is missing"),
        (FORMULA, "visual: 576,", "visual: 576, other: 60,", "pyramiddrop counts visual tokens alone"),
        (FORMULA, "visual: 576,", "visual: 576, year: 1,", r"rows\[0\]: unknown key 'year'"),
        (FORMULA, "visual: 288}", "visual: 600}", "seen: visual tokens cannot grow from layer to layer: 576, 600"),
        (FORMULA, "layers: 30", "layers: 31", "seen lists 33 layers; llava-1.5-7b has 32"),
        (FORMULA, "layers: 30", "layers: 0", "layers must be a whole number above zero"),
        (FORMULA, "seen: [", "visual: 9\n        seen: [", r"rows\[1\]: unknown key 'visual'"),
        (FORMULA, 'FLOPs: "3.82"', "FLOPs: 3.82", "printed: FLOPs must be text, not 3.82"),
        (FORMULA, '"3.82"', '"3.82 T"', "printed: FLOPs must be a decimal number as printed, not '3.82 T'"),
        (FORMULA, '"3.82"', '"3,817"', "must be a decimal number as printed"),
        (FORMULA, '"3.82"', '"0.00"', "printed: FLOPs must be above zero"),
        (FORMULA, '{FLOPs: "3.82"}', '{FLOP: "3.82"}', "printed: unknown key 'FLOP'; allowed: FLOPs"),
        (FORMULA, "row: half", "row: all", "rows: 'all, FLOPs' stands there twice"),
        (FORMULA, "column: FLOPs, before", "column: FLOP, before", "unknown column 'FLOP'"),
        (FORMULA, "before: all", "before: none", "unknown before 'none'"),
        (
            FORMULA,
            "- {row: all, model",
            "- {row: all, gpu: v100-pcie-16gb, speed: 1, model",
            r"corrected\[0\]: unknown key 'speed'",
        ),
        (FORMULA, "text_tokens: 60", "text_tokens: 6.5", "text_tokens must be a whole number"),
        (
            FORMULA,
            "- {row: all, model",
            "- {row: nonsense, model",
            r"corrected\[0\]: unknown row 'nonsense'; allowed: all",
        ),
        (FORMULA, "- {row: all, model", "- {row: all, note: x, model", r"corrected\[0\]: unknown key 'note'"),
        (FORMULA, "- {row: all, model: llava-1.5-7b", "- {row: all", r"corrected\[0\]: model is missing"),
        (FORMULA, "all, model: llava-1.5-7b", "all, model: llava-7b", r"corrected\[0\]: unknown model 'llava-7b'"),
        (FORMULA, "- {row: all, model", "- {row: all, gpu: v1000, model", r"corrected\[0\]: unknown gpu 'v1000'"),
        (FORMULA, "text_tokens: 60", "reduction: fastvv", r"corrected\[0\]: unknown reduction 'fastvv'"),
        (FORMULA, "text_tokens: 60", 'reduction: "fastv:k=40"', r"corrected\[0\]: fastv"),
        (FORMULA, "text_tokens: 60", "tokens: 9999", r"corrected\[0\]: .*9999"),
        (FORMULA, "text_tokens: 60", "weights: int3", r"corrected\[0\]: unknown weights 'int3'"),
        (SHARE, "figure: share", 'figure: rounded share, whole: "99.3"', "unit of a rounded share is T or B, not %"),
        (SHARE, 'unit: "%", figure: share', "unit: B, figure: rounded share", r"columns\[0\]: whole is missing"),
        (SHARE, 'unit: "%", figure: share', "unit: B, figure: rounded share, whole: 99.3", "whole must be text"),
        (SHARE, "figure: share", 'figure: share, whole: "99.3"', r"columns\[0\]: unknown key 'whole'"),
        (SHARE, "of: 576", "of: 0", "of must be a number above zero"),
        (OPS, "visual: 576", "visual: 57.6", "prumerge counts whole tokens only"),
        (OPS, "int8_top_per_s: 62", "int8_top_per_s: 0", "int8_top_per_s must be a number above zero"),
        (OPS, ', note: "a card"', "", "device: note is missing"),
        (OPS, OPS[OPS.index("    device") : OPS.index("    columns")], "", "time needs a device"),
        (OPS, "    rule:", "    logits: none\n    rule:", "prumerge counts by its own table of ops"),
    ],
)
def test_a_bad_file_is_refused_with_the_key_named(tmp_path: Path, text: str, old: str, new: str, message: str) -> None:
    assert old in text
    path = written(tmp_path, text.replace(old, new, 1))
    with pytest.raises(InvalidSpec, match=message) as caught:
        read_paper(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_example_of_the_guide_comes_out(tmp_path: Path) -> None:
    _, example = re.findall(r"^```yaml\n(.*?)^```", GUIDE.read_text(), flags=re.DOTALL | re.MULTILINE)
    found = reproduce_paper(read_paper(written(tmp_path, example)))
    assert [cell.matches for cell in found.cells] == [True, True]
    assert found.corrected


def test_an_unknown_paper_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown paper 'prumrge'; nearest: prumerge"):
        reproduce("prumrge")
    with pytest.raises(UnknownName, match="unknown paper"):
        load_paper("../timings/sparsevlm")


# --- reports and the command line


def test_the_document_is_the_contracts(everything: dict[str, Reproduction]) -> None:
    document = reports.document(everything["prumerge"])
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["paper"] == "prumerge"
    assert len(document["rows"]) == 32
    assert {"row", "column", "unit", "published", "reproduced", "match", "note"} <= set(document["rows"][0])
    first = document["rows"][3]
    assert (first["published"], first["printed"], first["unit"], first["match"]) == (4.6, "4.60", "GB", True)
    assert len(document["corrected"]) == 8
    wrong = [row for row in document["rows"] if not row["match"]]
    assert [row["note"].startswith("probably a misprint") for row in wrong] == [True]


def test_what_is_not_printed_claims_no_match(everything: dict[str, Reproduction]) -> None:
    rows = reports.document(everything["visionzip"])["rows"]
    assert {(row["published"], row["printed"], row["match"]) for row in rows} == {(None, None, False)}
    assert all(row["note"] for row in rows)


def test_a_tidy_row_a_figure(everything: dict[str, Reproduction]) -> None:
    table = reports.report(everything["prumerge"])
    records = list(table.records())
    assert sum(record["kind"] == "published" for record in records) == 32
    assert sum(record["kind"] == "corrected" for record in records) == 8 * 8
    times = [record["reproduced"] for record in records if record["column"] == "ttft_roofline_s"]
    assert times[0] == everything["prumerge"].corrected[0].ttft_roofline_s
    assert json.loads(records[0]["inputs"])["n"] == [{"layers": 32, "tokens": 700}]


@pytest.mark.parametrize("name", COUNTS)
def test_people_see_all_of_it_in_100_columns(name: str, everything: dict[str, Reproduction]) -> None:
    text = render_for_people(reports.overview(everything[name]))
    assert max(map(len, text.splitlines())) <= 100
    assert "not shown" not in text
    together = " ".join(text.split())
    for note in everything[name].paper.notes:
        assert note.split(".")[0][:60] in together
    for correction in everything[name].corrected:
        assert correction.command.split(" --")[0] in together


def test_people_see_what_agrees_and_what_is_fitted(everything: dict[str, Reproduction]) -> None:
    text = render_for_people(reports.overview(everything["prumerge"]))
    assert text.count("✓") == 31 + 1  # and the line that says what it means
    assert "0.28   0.2274 ✗" in text
    assert render_for_people(reports.overview(everything["voco-llama"])).count("≈") == 3 + 1
    assert render_for_people(reports.overview(everything["fastv"])).count("~") == 1 + 1


def test_all_papers_are_a_line_each(everything: dict[str, Reproduction]) -> None:
    (table,) = reports.overview(tuple(everything.values()))
    assert [row[0] for row in table.rows] == list(COUNTS)
    for name, printed, matched, fitted, tried, misprints, missed, _ in table.rows:
        assert (printed, matched, fitted, tried, misprints) == COUNTS[name]
        assert matched + tried + misprints + missed == printed


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "json"])
def test_every_format_says_whose_figures_they_are_and_has_the_corrected_ones(form: str) -> None:
    if form == "table":
        shown = CliRunner().invoke(main, ["reproduce", "prumerge"]).stdout
        assert "Corrected: the whole model" in shown
        return
    text = CliRunner().invoke(main, ["reproduce", "--format", form]).stdout
    header = text.split("\\midrule")[0] if form == "latex" else text[:2000]
    for column in ("paper", "kind", "formula", "inputs", "source"):
        assert column in header
    for paper in COUNTS:
        assert paper in text
    assert "corrected" in text
    assert "0.28" in text
    assert "4.60" in text  # as printed, with its zero


def test_a_corrected_figure_answers_the_papers_own_columns(everything: dict[str, Reproduction]) -> None:
    corrected = [r for r in reports.report(everything["prumerge"]).records() if r["kind"] == "corrected"]
    assert {"matmul_flops", "prefill_roofline_s", "bytes", "stored_bytes"} <= {r["column"] for r in corrected}
    assert {r["basis"] for r in corrected} == {"counted", "predicted"}
    assert all(r["inputs"].startswith("perfkit roofline --gpu v100-pcie-32gb") for r in corrected)


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written_to_stdout_and_to_a_file(form: str, tmp_path: Path) -> None:
    for name in ([], ["fastv"]):
        printed = CliRunner().invoke(main, ["reproduce", *name, "--format", form])
        kept = CliRunner().invoke(main, ["reproduce", *name, "--format", form, "--output", str(tmp_path / "out")])
        assert (printed.exit_code, kept.exit_code) == (0, 0), printed.output
        assert (tmp_path / "out").read_bytes() == printed.stdout_bytes
        assert printed.stderr == ""


def test_json_of_all_papers_is_a_list() -> None:
    result = CliRunner().invoke(main, ["reproduce", "--format", "json"])
    assert [document["paper"] for document in json.loads(result.stdout)] == list(COUNTS)


def test_the_command_says_what_is_wrong_in_a_line() -> None:
    result = CliRunner().invoke(main, ["reproduce", "sparse"])
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert "sparsevlm" in result.stderr


def test_python_mirrors_the_command() -> None:
    assert perfkit.reproduce("vscan").paper.name == "vscan"
    assert len(perfkit.reproduce()) == len(COUNTS)
    assert perfkit.report(perfkit.reproduce("vscan")).columns[0].key == "paper"
