"""Tables for papers: figures, spans, rules, marks, and each language's own words for them."""

from __future__ import annotations

import pytest

from perfkit.errors import UnknownName
from perfkit.tables.paper import PAPER_FORMATS, Heading, Note, PaperRow, PaperTable, aligned

TABLE = PaperTable(
    keys=(Heading("GPU", text=True), Heading("Method", text=True), Heading("Tokens")),
    figures=(Heading("Prefill", "ms"), Heading("Fits", text=True)),
    rows=(
        PaperRow(("V100", "A & B", "576"), ("72.8", "yes")),
        PaperRow(("V100", "A & B", "32"), ("9.1", "no"), starts=2, marks="a,b"),
        PaperRow(("V100", "C", "576"), ("", "yes"), starts=1, rule=True),
        PaperRow(("T4", "C", "576"), ("140.0", "no"), starts=0, rule=True),
    ),
    caption="50 % _off_",
    label="tab:x",
    notes=(Note("Notes & more."), Note("First.", "a"), Note("Second.", "b")),
    origin=("perfkit table 'x'\ny",),
)


# --- figures


@pytest.mark.parametrize(
    ("values", "digits", "texts"),
    [
        ([8.856, 16.889], 3, ["8.86", "16.89"]),
        ([0.912, 9.28], 3, ["0.912", "9.280"]),  # as many decimals as the smallest needs
        ([576, 32], 3, ["576.0", "32.0"]),
        ([576, 144], 3, ["576", "144"]),
        ([9.996], 3, ["10.0"]),  # three digits after rounding
        ([0.0], 3, ["0"]),
        ([0, 1.5], 3, ["0.00", "1.50"]),
        ([None, None], 3, ["", ""]),
        ([], 3, []),
        ([123456.7], 3, ["123457"]),
        ([12345.6, 0.0123], 3, ["12345.6", "0.0123"]),  # 6 digits at most, so the smallest has decimals of its own
    ],
)
def test_figures_of_a_column_stand_below_each_other(values, digits, texts):
    assert aligned(values, digits) == texts


# --- structure


def test_spans_reach_to_the_next_row_that_starts_anew():
    # GPU: three rows of V100; Method: two of A & B; Tokens: one each.
    assert [[TABLE.span(row, key) for key in range(3)] for row in range(4)] == [
        [3, 2, 1],
        [0, 0, 1],
        [0, 1, 1],
        [1, 1, 1],
    ]


def test_another_format_is_refused():
    with pytest.raises(UnknownName, match="unknown format 'latx'; nearest: latex"):
        TABLE.render("latx")


@pytest.mark.parametrize("form", PAPER_FORMATS)
def test_no_format_ends_in_a_newline(form):
    assert not TABLE.render(form).endswith("\n")


def test_latex():
    assert TABLE.render("latex").splitlines() == [
        "% perfkit table 'x' y",
        r"% \usepackage{adjustbox,booktabs,multirow,siunitx}",
        r"\begin{table}[tb]",
        r"  \centering\sisetup{mode=text}",
        r"  \caption{50 \% \_off\_}",
        r"  \label{tab:x}\smallskip",
        r"  \begin{adjustbox}{max width=\linewidth}",
        r"  \begin{tabular}{@{}llrS[table-format=3.1]c@{}}",
        r"    \toprule",
        r"    GPU & Method & {Tokens} & {Prefill} & Fits \\",
        r"     &  &  & {(ms)} & \\",
        r"    \midrule",
        r"    \multirow{3}{*}{V100} & \multirow{2}{*}{A \& B} & 576 & 72.8 & yes \\",
        r"     &  & 32\rlap{\textsuperscript{a,b}} & 9.1 & no \\",
        r"    \cmidrule(l){2-5}",
        r"     & C & 576 & {--} & yes \\",
        r"    \midrule",
        r"    T4 & C & 576 & 140.0 & no \\",
        r"    \bottomrule",
        r"  \end{tabular}",
        r"  \end{adjustbox}",
        r"  \par\smallskip",
        r"  \begin{minipage}{\linewidth}\footnotesize",
        r"    Notes \& more.",
        r"    \par \textsuperscript{a}First.",
        r"    \par \textsuperscript{b}Second.",
        r"  \end{minipage}",
        r"\end{table}",
    ]


def test_a_table_wider_than_a_column_of_text_spans_two():
    wide = TABLE._replace(figures=(Heading("Prefill", "ms"), Heading("A header of some thirty letters", text=True)))
    assert wide.render("latex").splitlines()[2] == r"\begin{table*}[tb]"
    assert wide.render("latex").splitlines()[-1] == r"\end{table*}"


def test_without_units_and_notes_their_lines_are_missing():
    bare = TABLE._replace(figures=(Heading("Prefill"), Heading("Fits", text=True)), notes=(), origin=())
    lines = bare.render("latex").splitlines()
    assert lines[0].startswith(r"% \usepackage")
    assert lines[lines.index(r"    \toprule") + 2] == r"    \midrule"
    assert not any("minipage" in line for line in lines)


def test_markdown():
    assert TABLE.render("markdown").splitlines() == [
        r"**50 % \_off\_**",
        "",
        "| GPU  | Method    |           Tokens | Prefill (ms) | Fits |",
        "|------|-----------|-----------------:|-------------:|------|",
        "| V100 | A &amp; B |              576 |         72.8 | yes  |",
        "|      |           | 32<sup>a,b</sup> |          9.1 | no   |",
        "|      | C         |              576 |            – | yes  |",
        "| T4   | C         |              576 |        140.0 | no   |",
        "",
        "- Notes &amp; more.",
        "- <sup>a</sup> First.",
        "- <sup>b</sup> Second.",
        "- `perfkit table 'x' y`",
    ]


RIGHT = ' style="text-align: right"'


def test_html():
    assert TABLE.render("html").splitlines() == [
        '<table id="tab:x">',
        "<caption>50 % _off_</caption>",
        '<thead><tr><th scope="col">GPU</th><th scope="col">Method</th>'
        f'<th scope="col"{RIGHT}>Tokens</th><th scope="col"{RIGHT}>Prefill (ms)</th><th scope="col">Fits</th>'
        "</tr></thead>",
        "<tbody>",
        '<tr><th scope="row" rowspan="3">V100</th><th scope="row" rowspan="2">A &amp; B</th>'
        f'<th scope="row"{RIGHT}>576</th><td{RIGHT}>72.8</td><td>yes</td></tr>',
        f'<tr><th scope="row"{RIGHT}>32<sup>a,b</sup></th><td{RIGHT}>9.1</td><td>no</td></tr>',
        f'<tr><th scope="row">C</th><th scope="row"{RIGHT}>576</th><td{RIGHT}>–</td><td>yes</td></tr>',
        "</tbody>",
        "<tbody>",
        '<tr><th scope="row">T4</th><th scope="row">C</th>'
        f'<th scope="row"{RIGHT}>576</th><td{RIGHT}>140.0</td><td>no</td></tr>',
        "</tbody>",
        '<tfoot><tr><td colspan="5">',
        "Notes &amp; more.<br>",
        "<sup>a</sup>First.<br>",
        "<sup>b</sup>Second.<br>",
        '<code style="white-space: pre-wrap">perfkit table &#x27;x&#x27; y</code>',
        "</td></tr></tfoot>",
        "</table>",
    ]


def test_a_command_with_backticks_stays_one_code_span():
    table = TABLE._replace(origin=("a `b` ``c``",))
    assert table.render("markdown").splitlines()[-1] == "- ```a `b` ``c`` ```"
