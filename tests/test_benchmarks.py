"""The scripts in benchmarks/ compare like with like."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from made_films import write_films
from two_sides import make_world

from genz_ppl import Items

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def numpy_em(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return script("numpy_em", monkeypatch)


def test_numpy_and_package_agree_after_every_step(numpy_em: ModuleType) -> None:
    found = numpy_em.compare(n_items=300, n_features=6, n_targets=3, steps=8, seed=0)
    assert found.difference < 1e-8
    assert found.numpy_seconds > 0
    assert found.package_seconds > 0


def test_script_prints_its_table(
    numpy_em: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {"numpy_seconds": 0.2, "package_seconds": 0.1, "numpy_processor": 0.3, "package_processor": 0.15}
    found = numpy_em.Comparison(**seconds, difference=1e-12, moves_cost=1.25)
    monkeypatch.setattr(numpy_em, "compare", lambda *sizes: found)
    monkeypatch.setattr(sys, "argv", ["numpy_em.py", "--items", "200", "--features", "3", "--targets", "2", "--steps", "2"])
    numpy_em.main()
    printed = capsys.readouterr().out
    assert "200 items, 3 features, 2 targets, 2 steps" in printed
    assert "| numpy | 0.2000 | 0.3000 |" in printed
    assert "takes 0.50 times the seconds of numpy" in printed


def test_whole_run_finds_true_features_and_prints_its_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole_run = script("whole_run", monkeypatch)
    sizes = {"items": 300, "attributes": 8, "true": 3, "targets": 2, "cycles": 1, "add": 2, "cut": 1}
    words = [word for name, value in sizes.items() for word in (f"--{name}", str(value))]
    monkeypatch.setattr(sys, "argv", ["whole_run.py", *words, "--set", "splits=1", "--profile"])
    whole_run.main()
    printed = capsys.readouterr().out
    assert "300 items, 2 targets" in printed
    row = next(line for line in printed.splitlines() if line.endswith("of 3 |"))
    features, right = (int(cell.split()[0]) for cell in row.strip("| ").split("|")[-2:])
    assert 1 <= right <= features
    assert printed.count("\n| ") == 1 + 1 + 1 + 10  # two headings, a run and ten functions


def test_coldstart_prints_its_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    coldstart = script("coldstart", monkeypatch)
    write_films(tmp_path)
    answers = tmp_path / "movie_answers.jsonl"
    rows = [line.split("::") for line in (tmp_path / "movies.dat").read_text().splitlines()]
    kinds = sorted({kind for row in rows for kind in row[2].split("|")})
    lines = [json.dumps({"question": kind, "yes": [int(row[0]) for row in rows if kind in row[2]]}) for kind in kinds]
    answers.write_text("\n".join(lines))
    words = ["--dimensions", "4", "--cycles", "1", "--ratings", "50"]
    monkeypatch.setattr(sys, "argv", ["coldstart.py", str(tmp_path), *words])
    coldstart.main()
    printed = capsys.readouterr().out
    assert [line.split()[1] for line in printed.splitlines() if line.startswith("| ")] == [
        "ratings",
        "1",
        "2",
        "5",
        "10",
        "20",
        "50",
    ]
    assert "counts 1 to 50: lowest margin" in printed


def test_regressions_beside_the_films(monkeypatch: pytest.MonkeyPatch) -> None:
    films = script("films", monkeypatch)
    random = np.random.default_rng(0)
    columns = (random.random((120, 9)) < 0.4).astype(np.float64)
    weights = np.zeros((9, 5))
    weights[[2, 6]] = random.normal(size=(2, 5))
    targets = 1.0 + columns @ weights
    assert sorted(films.greedy(columns, targets + 0.1 * random.normal(size=targets.shape), 2)) == [2, 6]
    np.testing.assert_allclose(films.ridge(columns[:80], targets[:80], columns[80:]), targets[80:], atol=0.05)  # next to no noise
    noise = random.normal(size=targets.shape)  # nothing to learn: shrunk all the way to the mean, or nearly
    predicted = films.ridge(columns[:80], noise[:80], columns[80:])
    assert np.abs(predicted - noise[:80].mean(0)).max() < 0.3


def test_questions_that_the_regressions_beside_the_films_ask(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    films = script("films", monkeypatch)
    (tmp_path / "movie_answers.jsonl").write_text('{"question": "is old", "yes": [1, 3]}\n')
    frame = pd.DataFrame(
        {"movie": [1, 2, 3], "genres": ["Crime, War", "War", "Crime"], "year": [1950, 1999, 1970], "y": [1.0, 2.0, 3.0]}
    )
    items = Items.from_frame(frame, id="movie", target="y", text=["genres", "year"])
    assert films.known_columns(items, tmp_path, "movielens").T.tolist() == [[1, 0, 1]]
    every = {tuple(column) for column in films.known_columns(items, tmp_path, "movielens-genres").T.tolist()}
    assert {(1, 0, 1), (1, 1, 0), (0, 1, 1), (0, 1, 0)} <= every  # is old, war, from 1955 on, from 1980 on


def test_cooccurrence_runs_both_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    cooccurrence = script("cooccurrence", monkeypatch)
    world = make_world(0, sizes=(60, 40), density=0.5)
    tables = [
        pd.DataFrame({"id": [f"{name}{i}" for i in range(len(h))], **{f"{name}q{k}": h[:, k] for k in range(h.shape[1])}})
        for name, h in zip("rc", world.answers, strict=True)
    ]
    pairs = world.pairs()
    ids = tables[0]["id"].to_numpy()[pairs.rows], tables[1]["id"].to_numpy()[pairs.columns]
    listed = pd.DataFrame({"id_row": ids[0], "id_column": ids[1], "value": (pairs.values > 0).astype(float)})
    table = cooccurrence.cooccurrence_data.Cooccurrence(*tables, listed)
    monkeypatch.setattr(cooccurrence.cooccurrence_data, "build", lambda *_: table)
    settings = {"dimensions": 2, "epochs": 4, "cycles": 1, "add": 1, "rounds": 1}
    for fit in ("decoupled", "joint"):
        scores, n_rows, n_columns, _ = cooccurrence.run(("plants", fit, tmp_path, None, None, 0, settings))
        assert 0.0 < scores["new_both"]["log_loss"] < 2.0
        assert (n_rows, n_columns) <= (1, 1)
