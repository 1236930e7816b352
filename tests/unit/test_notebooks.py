"""notebooks/ run from clean kernels, show what is kept, define nothing, and say what is so."""

import ast
import base64
import io
import re
import resource
import sys
from importlib.metadata import version
from itertools import pairwise

import numpy as np
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

import perfkit
from perfkit.views.gains import gains_view
from scripts import notebooks

PINNED = re.findall(r"^matplotlib==(.*)$", (notebooks.ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
NAMES = ["1-quickstart", "2-prumerge-table", "3-does-a-reducer-pay", "4-measured-against-predicted", "5-planning"]
MOST_SECONDS = 60
SAME = 16  # levels of 255 in which machines may round a shade differently; another letter differs by ten times that

each = pytest.mark.parametrize("path", notebooks.paths(), ids=lambda path: path.stem)


def outputs_of(notebook):
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def texts_of(notebook):
    """All that is shown but pictures, which leave their place."""
    shown = [output.get("data", {"text/plain": output.get("text")}) for output in outputs_of(notebook)]
    return [{kind: value if kind.startswith("text/") else "" for kind, value in data.items()} for data in shown]


def pictures_of(notebook):
    shown = [output.get("data", {}).get("image/png") for output in outputs_of(notebook)]
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in shown if one]


def differ(picture, other):
    """Whether two pictures show something else."""
    if picture.shape != other.shape:
        return True
    return np.abs(picture.astype(int) - other.astype(int)).max() > SAME


def definitions(code):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    return [ast.unparse(node) for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)]


def run(*cells):
    return notebooks.executed(new_notebook(cells=[new_code_cell(cell) for cell in cells]))


@pytest.mark.slow
@each
def test_it_runs_from_a_clean_kernel_and_shows_what_is_kept(path):
    kept = notebooks.read(path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    fresh = notebooks.executed(kept)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the kernel alone, since other tests run beside it.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < MOST_SECONDS
    assert texts_of(fresh) == texts_of(kept), "run `make notebooks`"
    assert len(pictures_of(fresh)) == len(pictures_of(kept)) > 0
    if [version("matplotlib")] == PINNED:  # another version draws the same a little differently
        compared = zip(pictures_of(fresh), pictures_of(kept), strict=True)
        assert not any(differ(*both) for both in compared), "run `make notebooks`"


@each
def test_what_is_kept_is_of_one_run_without_errors_and_without_traces_of_a_machine(path):
    notebook, text = notebooks.read(path), path.read_text(encoding="utf-8")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(cell.outputs for cell in code), "every cell shows something"
    assert {output.output_type for output in outputs_of(notebook)} <= {"execute_result", "stream"}
    assert {output.name for output in outputs_of(notebook) if output.output_type == "stream"} <= {"stdout"}
    assert notebook.metadata == notebooks.METADATA
    assert not any(cell.metadata for cell in notebook.cells)
    assert str(notebooks.ROOT) not in text
    assert re.findall(r"(?<![\w.])/(?:home|root|tmp|usr|opt|work|Users)/", text) == []


@each
def test_it_defines_nothing_and_is_written_as_the_house_writes(path):
    cells = [cell.source for cell in notebooks.read(path).cells if cell.cell_type == "code"]
    assert [found for cell in cells for found in definitions(cell)] == []
    assert sum(map(len, cells)) < 2000, "short"
    assert "import perfkit" in "\n".join(cells)


@pytest.mark.parametrize(
    ("code", "found"),
    [("def f(): ...", 1), ("class A: ...", 1), ("f = lambda x: x", 1), ("[x for x in y]", 0), ("print('def')", 0)],
)
def test_definitions_are_found(code, found):
    assert len(definitions(code)) == found


@each
def test_it_begins_with_a_question_and_its_links_lead_somewhere(path):
    text = [cell.source for cell in notebooks.read(path).cells if cell.cell_type == "markdown"]
    assert re.match(r"# .*\?\n", text[0])
    for target in re.findall(r"\]\(([^)]+)\)", "\n".join(text)):
        assert (notebooks.FOLDER / target).exists(), target


@each
def test_cells_follow_each_other_with_a_word_between_pictures(path):
    cells = notebooks.read(path).cells
    shows = ["image/png" in str(cell.get("outputs", "")) for cell in cells]
    assert not any(all(both) for both in pairwise(shows))


def test_there_are_five_and_the_page_lists_them():
    assert [path.stem for path in notebooks.paths()] == NAMES
    page = (notebooks.FOLDER / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"\]\((.*?)\.ipynb\)", page) == NAMES


# --- how they are run


@pytest.mark.slow
def test_the_kernel_is_of_this_python_in_an_empty_folder_beside_the_reports():
    fresh = run("import sys, os; print(sys.executable); print(os.listdir(), sorted(os.listdir('..')))")
    assert outputs_of(fresh)[0].text == f"{sys.executable}\n[] ['ipython', 'notebooks', 'reports']\n"


@pytest.mark.slow
def test_a_notebook_that_fails_or_leaves_a_file_is_refused():
    with pytest.raises(CellExecutionError, match="no-such-gpu"):
        run("import perfkit; perfkit.analyze('no-such-gpu')")
    with pytest.raises(RuntimeError, match=r"writes no files: left\.txt"):
        run("from pathlib import Path; Path('left.txt').touch()")


def test_pictures_that_differ_in_a_letter_are_told_apart():
    white = np.full((40, 40, 3), 255, dtype=np.uint8)
    letter = white.copy()
    letter[10:16, 10] = 34
    assert differ(white, letter)
    assert differ(white, white[1:])
    assert not differ(white, white - 9)


# --- what their text says


@pytest.fixture(scope="module")
def validation():
    folder = notebooks.ROOT / "reports/measured/h100-sxm-80gb"
    return perfkit.validate(sorted(folder.glob("*.json")))


def test_no_mark_lies_below_the_roofline(validation):
    assert min(point.roofline_ratio for point in validation.points if point.roofline_ratio) > 1


def test_expected_times_are_near_where_the_device_is_the_bound(validation):
    errors = {one.phase: one.mape for one in validation.errors if one.predictor == "expected"}
    near = max(errors["prefill, device-bound"], errors["decode, graph"])
    further = [errors[name] for name in ("prefill", "decode, eager", "vision", "projector")]
    assert 2 * near < min(further)


def test_at_batch_8_most_of_the_promise_came_and_at_batch_1_half_of_it_at_most(validation):
    prefill = [one for one in validation.speedups if one.what == "prefill"]
    came = {batch: [one.share for one in prefill if one.case.batch == batch] for batch in (1, 8)}
    assert min(came[8]) > 0.75
    assert max(came[1]) < 0.5


def test_prumerge_pays_at_large_batches_and_short_answers_and_hardly_elsewhere():
    asked = [(batch, answer) for batch in (1, 16) for answer in (1, 1024)]
    gpus = ("v100", "a100", "h100")
    made = [
        perfkit.analyze(gpu, reduction=method, batch=batch, new_tokens=answer)
        for gpu in gpus
        for method in (None, "prumerge")
        for batch, answer in asked
    ]
    for panel in gains_view(made).panels:
        assert panel.gains[16, 1].expected > 4
        assert panel.gains[1, 1024].expected < 1.05


def test_on_an_h100_eager_code_gains_nothing_at_batch_1():
    made = [perfkit.analyze("h100", reduction=method, runtime="eager") for method in (None, "prumerge")]
    assert gains_view(made).gains[0].expected == pytest.approx(1, abs=0.01)


def test_a_v100_holds_64_requests_only_with_prumerge():
    made = [perfkit.analyze("v100", reduction=method, batch=64) for method in (None, "prumerge")]
    # Cache and activations of 64: 64 x (576 + 60 + 128) tokens of 524,288 bytes are 25.6 GB beside 14.1 GB of weights.
    assert gains_view(made).gains[0].room == "only reduced"
