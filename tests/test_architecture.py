"""The house's order: who may import whom, which libraries stand where, and that names and docstrings keep it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import perfkit
from perfkit.models import FAMILIES

ROOT = Path(perfkit.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# A module imports from earlier lines only; those of one line do not know each other. A package is one name here, and
# its own modules may import each other.
ORDER = (
    ("errors",),
    ("units", "layout", "files"),
    ("documents", "kernel_shapes", "formulas", "printed"),
    ("tables",),
    ("hardware", "workload", "ops"),
    ("attention", "models", "prices"),
    ("reduction",),
    ("counting", "conventions", "tracing"),
    ("totals",),
    ("parallel",),
    ("memory",),
    ("roofline",),
    ("kernels",),
    ("phases",),
    ("latency",),
    ("metrics", "remarks"),
    ("measuring", "papers", "sweeping", "cost_tables", "views"),
    ("calibration", "validation", "serving", "pictures"),
    ("planning",),
    ("reports",),
    ("charts",),
    ("pages",),
    ("web",),
    ("cli",),
    # The package itself only forwards names, and __main__ starts the command line.
    ("__init__", "__main__"),
)
LEVEL = {name: level for level, names in enumerate(ORDER) for name in names}

# Libraries that are slow to import or may be absent, and the rooms where functions may import them.
ROOMS = {
    "torch": {"tracing", "measuring", "pictures", "reduction"},
    "transformers": {"tracing", "measuring", "pictures", "reduction"},
    "PIL": {"pictures", "charts"},
    "matplotlib": {"charts"},
    "pandas": {"tables"},
    "numpy": set(LEVEL),
    "scipy": {"calibration"},
    "pyarrow": {"sweeping"},
    "dask": {"sweeping"},
    "distributed": {"sweeping"},
    "simpy": {"serving"},
    "reportlab": {"pages"},
    "plotly": {"web"},
    "streamlit": {"web"},
}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room_of(path: Path) -> str:
    """First name below perfkit: the module itself, or the package that it stands in."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


every_module = pytest.mark.parametrize("path", MODULES, ids=name_of)


# --- imports


def imported(tree: ast.AST, room: str) -> Iterator[str]:
    """Dotted names that a tree imports anywhere, in functions and under TYPE_CHECKING too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield f"perfkit.{room}"  # a relative import; perfkit has none, and packages may have their own
        elif isinstance(node, ast.ImportFrom) and node.module == "perfkit":
            yield from (f"perfkit.{alias.name}" for alias in node.names if alias.name != "__version__")
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)


def breaches(tree: ast.AST, room: str) -> list[str]:
    """Imports from the room's own line, or from a later one."""
    rooms = {name.split(".")[1] for name in imported(tree, room) if name.startswith("perfkit.")}
    return sorted(other for other in rooms - {room} if LEVEL.get(other, len(ORDER)) >= LEVEL[room])


@every_module
def test_imports_only_from_earlier_lines(path: Path) -> None:
    assert room_of(path) in LEVEL, "a new module takes its place in ORDER, here and in docs/architecture.md"
    assert breaches(tree_of(path), room_of(path)) == []


@pytest.mark.parametrize(
    ("room", "source", "expected"),
    [
        ("ops", "from perfkit.units import Precision", []),
        ("ops", "from perfkit.workload import Workload", ["workload"]),  # a neighbour
        ("ops", "from perfkit import latency", ["latency"]),  # a later line
        ("ops", "import perfkit.latency as later", ["latency"]),
        ("ops", "def f():\n    from perfkit.counting import count", ["counting"]),
        ("ops", "if TYPE_CHECKING:\n    from perfkit.counting import count", ["counting"]),
        ("ops", "from perfkit.nowhere import x", ["nowhere"]),
        ("models", "from perfkit.models.spec import ModelSpec", []),
        ("cli", "from perfkit import __version__", []),
        ("roofline", "from perfkit.kernels import x", ["kernels"]),
    ],
)
def test_breaches_are_found(room: str, source: str, expected: list[str]) -> None:
    assert breaches(ast.parse(source), room) == expected


def test_the_documented_order_is_this_one() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"(errors \|[\w\s|,]+)\.", page)
    documented = [{name.strip() for name in names.split(",")} for names in line.split("|")]
    rooms = {room_of(path) for path in MODULES} - {"__init__", "__main__"}
    assert documented == [room for names in ORDER if (room := set(names) & rooms)]
    for room in rooms:
        assert f"| `{room}" in page, f"docs/architecture.md does not say what {room} holds"


def at_import(nodes: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when a module is imported: all but the bodies of functions and TYPE_CHECKING blocks."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from at_import(node.orelse)
            continue
        yield node
        for field in ("body", "orelse", "finalbody"):
            yield from at_import(getattr(node, field, []))
        for handler in getattr(node, "handlers", []):
            yield from at_import(handler.body)


def libraries(nodes: Iterator[ast.AST]) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
    return found


# Modules that are themselves imported inside functions only: a class of a library needs it to be defined.
DERIVED = {"reduction.modules": {"torch"}}


@every_module
def test_heavy_libraries_are_never_imported_with_a_module(path: Path) -> None:
    assert libraries(at_import(tree_of(path).body)) & set(ROOMS) == DERIVED.get(name_of(path), set())


@every_module
def test_modules_that_need_a_library_are_themselves_imported_inside_functions(path: Path) -> None:
    nodes = list(at_import(tree_of(path).body))
    met = {name for node in nodes for name in imported(ast.Module([node], []), room_of(path))} if nodes else set()
    assert met & {f"perfkit.{name}" for name in DERIVED} == set()


@every_module
def test_heavy_libraries_stay_in_their_rooms(path: Path) -> None:
    used = libraries(ast.walk(tree_of(path))) & set(ROOMS)
    assert {library for library in used if room_of(path) not in ROOMS[library]} == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import numpy", {"numpy"}),
        ("try:\n    import torch.nn\nexcept ImportError:\n    from pandas import NA", {"torch", "pandas"}),
        ("class A:\n    import torch", {"torch"}),
        ("def f():\n    import torch", set()),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", {"typing"}),
    ],
)
def test_imports_at_import_time_are_found(source: str, expected: set[str]) -> None:
    assert libraries(at_import(ast.parse(source).body)) == expected


def test_a_prediction_loads_no_heavy_library() -> None:
    script = (
        f"import sys, perfkit, perfkit.cli; perfkit.analyze('v100'); print(*sorted({set(ROOMS)} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.strip() == ""


# --- docstrings


def public(nodes: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Public functions, classes, and their public methods."""
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node.body)


@every_module
def test_public_things_have_docstrings(path: Path) -> None:
    tree = tree_of(path)
    assert ast.get_docstring(tree), "the module says what it is for"
    assert [node.name for node in public(tree.body) if not ast.get_docstring(node)] == []


# --- names


def test_no_module_bears_the_name_of_a_public_function() -> None:
    # Importing such a module would put it where the function is looked for.
    rooms = {room_of(path) for path in MODULES}
    assert rooms & set(perfkit.__all__) == set()
    assert {"counting", "latency"} <= rooms


@every_module
def test_no_module_is_a_drawer_for_odds_and_ends(path: Path) -> None:
    parts = set(path.relative_to(ROOT).with_suffix("").parts)
    assert parts & {"util", "utils", "helper", "helpers", "manager", "managers", "common", "misc"} == set()


def test_no_two_files_of_tests_share_a_name() -> None:
    # Folders of tests are no packages: of two such files pytest imports one, and refuses the other.
    names = Counter(path.name for path in TESTS.rglob("*.py") if path.name != "conftest.py")  # which it imports by path
    assert [name for name, count in names.items() if count > 1] == []
    assert {"test_architecture.py", "test_units.py", "test_gpu.py"} <= set(names)


def test_every_public_name_is_there() -> None:
    for name in perfkit.__all__:
        assert getattr(perfkit, name) is not None
    with pytest.raises(AttributeError):
        _ = perfkit.nothing_of_the_kind


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_a_file_with_a_reader(family: str) -> None:
    assert (ROOT / "models" / f"{family}.py").is_file()
    assert callable(import_module(f"perfkit.models.{family}").read)


def test_every_model_file_is_a_family() -> None:
    files = {path.stem for path in (ROOT / "models").glob("*.py")}
    assert files - {"__init__", "classic", "config", "spec"} == set(FAMILIES)
