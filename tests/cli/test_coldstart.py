"""`genz coldstart`, end to end on made ratings in the files of MovieLens 1M."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_films import write_films

from genz_ppl.cli.app import run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with made films in "films" and a run on them in "run"."""
    folder = tmp_path_factory.mktemp("made")
    source = write_films(folder / "films")
    assert run(["fit", source, "--out", str(folder / "run"), "--cycles", "1", "--add", "5", "--cut", "0", "--quiet"]) == 0
    return folder


@pytest.fixture
def films(made: Path, genz: Any) -> Path:
    """A copy of both in the working directory; the run knows its films where they were made."""
    shutil.copytree(made, ".", dirs_exist_ok=True)
    return made


@pytest.mark.slow
def test_table_sentence_and_figure(genz: Any, films: Path) -> None:
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    done = genz("coldstart", "run", "--ratings", 60, "--html", "cold.html")
    assert done.code == 0, done.err
    assert done.err == ""  # not a terminal: no progress
    lines = done.out.splitlines()
    assert lines[0].split() == ["ratings", "items", "ratings", "only", "prediction", "only", "both"]
    assert [line.split()[0] for line in lines[1:7]] == ["1", "2", "5", "10", "20", "50"]
    worth = re.fullmatch(r"the prediction without any rating is worth about (\d+) ratings?", lines[-2])
    assert worth
    assert lines[-1] == "16 test items; written to run/coldstart.csv and cold.html"
    table = pd.read_csv("run/coldstart.csv")
    assert len(table) == 60
    reached = table.loc[table["ratings_mean"] >= table["prior_mean"], "n_ratings"].iloc[0]
    assert int(worth[1]) == reached
    page = Path("cold.html").read_text(encoding="utf-8")
    assert "Plotly.newPlot" in page
    assert f"is worth about {reached} rating" in page
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=", page)  # loads nothing
    after = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    assert after.pop("coldstart.csv")
    assert after == before


def test_more_than_all_that_were_tried(genz: Any, films: Path) -> None:
    done = genz("coldstart", "run", "--items", 5, "--ratings", 1, "-o", "few.csv")
    assert done.code == 0, done.err
    assert "the prediction without any rating is worth more than 1 rating\n" in done.out
    assert len(pd.read_csv("few.csv")) == 1
    assert not Path("run/coldstart.csv").exists()


def test_the_same_seed_gives_the_same_file(genz: Any, films: Path) -> None:
    for name, seed in (("a.csv", 3), ("b.csv", 3), ("c.csv", 4)):
        assert genz("coldstart", "run", "--items", 3, "--ratings", 9, "--seed", seed, "-o", name).code == 0
    files = [Path(name).read_bytes() for name in ("a.csv", "b.csv", "c.csv")]
    assert files[0] == files[1] != files[2]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--items", 0), "--items"),
        (("--ratings", "many"), "--ratings"),
        (("--seed", -1), "--seed"),
        (("-o", "cold.txt"), "--output cold.txt: expected a name that ends with .csv"),
        (("-o", "nowhere/cold.csv"), "there is no folder nowhere; make it first"),
        (("--html", "cold.pdf"), "--html cold.pdf: expected a name that ends with .html"),
        (("--html", "nowhere/cold.html"), "there is no folder nowhere"),
    ],
)
def test_wrong_options(genz: Any, films: Path, options: tuple[object, ...], expected: str) -> None:
    done = genz("coldstart", "run", *options)
    assert done.code == 2
    assert expected in done.message
    assert not Path("run/coldstart.csv").exists()


def test_without_plotly(genz: Any, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    done = genz("coldstart", "run", "--html", "cold.html")
    assert (done.code, done.message) == (
        2,
        "genz: --html: needs plotly, which is not installed; run: pip install 'genz-ppl[report]'",
    )
    assert genz("coldstart", "run", "--items", 2, "--ratings", 2).code == 0


def test_runs_it_is_not_for(genz: Any, fit: Any, table: Path) -> None:
    assert fit(table.name, "out").code == 0
    done = genz("coldstart", "out")
    assert done.code == 2
    assert "targets are not embeddings of ratings; name a run of genz fit on movielens:DIR or netflix:DIR" in done.message
    assert genz("coldstart", "nowhere").code == 2


def test_ratings_that_have_changed(genz: Any, films: Path) -> None:
    file = Path("films/ratings.dat")
    lines = file.read_text().splitlines()
    record = Path("run/run.json")
    record.write_text(record.read_text().replace(str(films), str(Path().resolve())))
    assert genz("coldstart", "run", "--items", 1).code == 0
    file.write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    done = genz("coldstart", "run")
    assert done.code == 2
    assert "of the run" in done.message or "the run was started on" in done.message
