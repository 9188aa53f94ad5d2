"""The notebooks run from top to bottom, as a reader would run them."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(path.parent)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [o for o in outputs if "image/png" in o.get("data", {})]
    assert len(pictures) >= 3  # the curve, the spectrograms, the alignment
    printed = "".join(o["text"] for o in outputs if o.output_type == "stream" and o.name == "stdout")
    assert "heard:" in printed and " s  " in printed


def test_notebooks_are_committed_without_outputs():
    code = [(path, cell) for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells]
    code = [(path, cell) for path, cell in code if cell.cell_type == "code"]
    assert code, "no notebook holds a cell of code"
    for path, cell in code:
        assert cell.outputs == [] and cell.execution_count is None, f"{path.name}: clear the outputs, then commit"
