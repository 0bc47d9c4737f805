"""A notebook, run from its first cell to its last: what it shows of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

CELLS = (
    """
import numpy as np, pandas as pd
from genz_ppl import discover
random = np.random.default_rng(0)
d = pd.DataFrame({"colour": random.choice(["red", "green"], 50), "size": random.integers(0, 10, 50)})
d["price"] = 3.0 * (d["colour"] == "red") + 1.0 * random.normal(size=50)
d.index = pd.date_range("2020-01-01", periods=50)
""",
    "run = discover(d, target='price', cycles=1, add=1, cut=0)",
    "run",
    "run.plot.curve()",
    "ax = run.plot.effects()",
    "d['pred'] = run.predict(d)['mean']\nprint(d['pred'].isna().sum())",
    "discover(d.drop(columns='pred'), target='price', cycles=1, add=1, cut=0, progress=False).items",
)


@pytest.mark.slow
def test_a_notebook_shows_a_run(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    progress, shown, curve, effects, printed, items = (cell["outputs"] for cell in notebook.cells[1:])
    assert "<pre>" in of_kind(progress, "text/html")
    assert "cycle 1 of 1, 1 feature, median absolute error" in of_kind(progress, "text/html")
    assert "one question explains price" in of_kind(shown, "text/html")
    assert "<td>colour is red</td>" in of_kind(shown, "text/html")
    assert of_kind(shown, "text/plain").startswith("<Discovery: one question explains price")
    assert of_kind(curve, "image/png")
    assert of_kind(effects, "image/png")
    assert printed[0]["text"] == "0\n"
    assert of_kind(items, "text/plain") == "Items('the DataFrame', 50 items, targets: price; covariates: none)"
    assert not any(
        output["output_type"] == "error" or output.get("name") == "stderr" for cell in cells for output in cell.outputs
    )


def of_kind(outputs: Sequence[Any], kind: str) -> str:
    """The only output of this kind."""
    (found,) = [output["data"][kind] for output in outputs if kind in output.get("data", {})]
    return str(found)


@pytest.mark.slow
def test_the_notebook_of_the_tutorial_runs(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(Path(__file__).parent.parent / "examples" / "films.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs are not kept: they are made here"
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    assert "<!doctype html>" in (tmp_path / "report.html").read_text(encoding="utf-8")[:200].lower()
    found = pd.read_csv(tmp_path / "run" / "features.csv")["text"].tolist()
    assert any("genre" in text for text in found)
    assert any("robot" in text for text in found)
    both = next(
        output["data"]["text/plain"] for output in notebook.cells[-1]["outputs"] if output["output_type"] == "execute_result"
    )
    assert "age" in both  # which people: of the young, who like robots
