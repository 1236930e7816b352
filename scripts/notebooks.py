"""Run notebooks/ from clean kernels, and keep what they show: outputs that are the same on every run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "notebooks"
READ = "reports"  # what notebooks read of the checkout, from their own folder: ../reports
SECONDS = 60  # that a cell may take
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def paths() -> list[Path]:
    """All notebooks, in the order in which they are read."""
    return sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """A notebook as it is kept.

    Raises:
        nbformat.ValidationError: it is none.
    """
    found: NotebookNode = nbformat.read(path, as_version=4)
    nbformat.validate(found)
    return found


def executed(notebook: NotebookNode) -> NotebookNode:
    """The notebook with the outputs of a clean kernel of this Python, in an empty folder beside what it reads.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails.
        RuntimeError: it leaves a file behind.
    """
    fresh = nbformat.from_dict(notebook)
    fresh.cells = [_without_outputs(cell) for cell in fresh.cells]
    with TemporaryDirectory() as folder:
        at = Path(folder, FOLDER.name)
        at.mkdir()
        Path(folder, READ).symlink_to(ROOT / READ, target_is_directory=True)
        NotebookClient(
            fresh, kernel_manager_class=_Kernel, timeout=SECONDS, resources={"metadata": {"path": str(at)}}
        ).execute()
        if left := sorted(path.name for path in at.iterdir()):
            raise RuntimeError(f"a notebook shows, and writes no files: {', '.join(left)}")
    return cleaned(fresh)


class _Kernel(AsyncKernelManager):
    """Of this Python, whatever kernels a machine has, and with the settings of no user."""

    @property
    def kernel_spec(self) -> KernelSpec:
        """How it is started; IPython's own files go to the folder that is thrown away."""
        start = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--IPKernelApp.log_level=ERROR"]
        return KernelSpec(argv=start, env={"IPYTHONDIR": "../ipython"}, language="python", display_name="Python 3")


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """The notebook without what differs from run to run: times of cells, versions, and the machine's kernel."""
    kept = nbformat.from_dict({**notebook, "metadata": METADATA})
    for place, cell in enumerate(kept.cells, 1):
        cell.id, cell.metadata = f"cell-{place}", {}
    return kept


def _without_outputs(cell: NotebookNode) -> NotebookNode:
    if cell.cell_type != "code":
        return cell
    return nbformat.from_dict({**cell, "outputs": [], "execution_count": None})


def main(names: Sequence[str]) -> None:
    """Run notebooks, all or those of some names, and write what they show."""
    for path in paths():
        if not names or path.name in names:
            text = nbformat.writes(executed(read(path))) + "\n"
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
