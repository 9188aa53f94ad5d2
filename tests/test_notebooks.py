"""The notebooks run from top to bottom, as a reader would run them."""

import re
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
    assert "heard:" in printed and "word error rate" in printed and " s  " in printed


def test_committed_outputs_are_those_of_a_trained_model():
    """As `jupyter nbconvert --execute` leaves them after `make demo`."""
    for path in NOTEBOOKS:
        assert path.stat().st_size < 1_000_000, f"{path.name}: make its pictures smaller"
        cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1)), f"{path.name}: run it again"
        outputs = [output for cell in cells for output in cell.outputs]
        assert all(output.output_type != "error" and output.get("name") != "stderr" for output in outputs)
        printed = "".join(output.get("text", "") for output in outputs)
        assert float(re.search(r"word error rate of .*: (.*)%", printed)[1]) < 15
        assert "/tmp/" not in printed and "site-packages" not in printed
