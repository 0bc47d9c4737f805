"""The scripts in benchmarks/ compare like with like."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import math
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from made_films import write_films
from two_sides import make_world

import genz_ppl
from genz_ppl import Items
from genz_ppl.data import open_source

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))  # some import one another
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_faults_print_their_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    faults = script("faults", monkeypatch)
    for name in ("FIRST_PAUSE", "PATIENCE"):
        monkeypatch.setattr(faults.calling, name, getattr(faults.calling, name))  # put back at the end
    monkeypatch.setattr(faults, "TIMEOUT", 30.0)
    names = ["think_draft", "finish_STOP", "403_firewall", "401_key"]
    monkeypatch.setattr(sys, "argv", ["faults.py", "--faults", *names])
    with warnings.catch_warnings():
        faults.main()
    head, _, *rows = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    assert head == ["faults", "in every third reply", "in every reply", "at one item", "116 times after 3 calls"]
    assert [row[0] for row in rows] == ["think_draft, finish_STOP", "403_firewall", "401_key"]
    assert rows[0][1:] == ["92 right / 10"] * 4
    assert [cell.partition(" / ")[0] for cell in rows[1][1:]] == [
        "92 right",
        "stopped, 0 answers stored",
        "88 right, the others none",
        "stopped, 45 answers stored",
    ]
    assert all(cell.startswith("stopped") for cell in rows[2][1:])


@pytest.mark.slow
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


@pytest.mark.slow
def test_cooccurrence_runs_both_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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


@pytest.fixture
def houses(tmp_path: Path) -> Path:
    """160 houses: log price is 12 + 0.3 for each bedroom, and 1 more with a pool in the first zip code."""
    random = np.random.default_rng(0)
    (tmp_path / "Houses-dataset").mkdir()
    rows, notes = [], []
    for house in range(1, 161):
        bedrooms, first, pool = int(random.integers(1, 6)), bool(random.random() < 0.5), bool(random.random() < 0.5)
        price = math.exp(12 + 0.3 * bedrooms + (first and pool) + 0.01 * random.normal())
        rows.append(f"{bedrooms} 2 {1000 + 5 * house} {'85255' if first else '92276'} {price:.3f}")
        text = "Has a pool." if pool else "No pool."
        notes.append({"house": house, "stories": None if house == 3 else 1.0, "pool": pool, "text": text})
    (tmp_path / "Houses-dataset" / "HousesInfo.txt").write_text("\n".join(rows))
    (tmp_path / "annotations.jsonl").write_text("\n".join(json.dumps(note) for note in notes))
    return tmp_path


@pytest.fixture
def yardsticks(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    module = importlib.import_module("houses_yardsticks")
    monkeypatch.setattr(module, "BOOSTING", [{"loss": "squared_error", "min_samples_leaf": 3}])
    monkeypatch.setattr(module, "MOST_TREES", 60)
    yield module
    torch.set_num_threads(threads)


def test_yardsticks_of_the_houses_learn_what_each_can_and_from_training_items_alone(yardsticks: ModuleType, houses: Path) -> None:
    items = open_source(f"houses:{houses}")
    assert items.targets is not None
    frame, y, split = yardsticks.fields_frame(items), items.targets[:, 0], items.split_indices(0, 0.2)
    hidden = y.copy()
    hidden[split.test] = np.nan
    errors = {}
    for name, method in yardsticks.YARDSTICKS.items():
        predicted = method(frame, hidden, split.train)
        assert predicted.shape == y.shape
        errors[name] = np.abs(predicted - y)[split.test].mean()
    # A sum over fields misses a product of two, 1 in a quarter of the houses, by a quarter everywhere; trees do not.
    assert errors["ridge"] == pytest.approx(0.25, abs=0.05)
    assert errors["ridge, words too"] == pytest.approx(0.25, abs=0.05)
    assert errors["gradient boosting"] < 0.15
    additive = y - ((frame["zipcode"] == "85255") & (frame["pool"] == "True")).to_numpy()
    for name in ("ridge", "Gaussian process"):
        predicted = yardsticks.YARDSTICKS[name](frame, additive, split.train)
        assert np.abs(predicted - additive)[split.test].mean() < 0.04


def test_columns_of_the_houses(yardsticks: ModuleType, houses: Path) -> None:
    items = open_source(f"houses:{houses}")
    frame, train = yardsticks.fields_frame(items), items.split_indices(0, 0.2).train
    numbers = yardsticks.number_columns(frame, train)
    assert numbers.shape == (160, 4)  # bedrooms, bathrooms, area, stories
    assert numbers[2].tolist() == [items[2].fields["bedrooms"], 2.0, 1015.0, 1.0]  # stories are missing there: the mean
    columns = yardsticks.indicator_columns(frame, ["zipcode", "pool", "stories"])
    assert columns.shape == (160, 2 + 2 + 1)
    assert columns[:, :4].reshape(160, 2, 2).sum(2).tolist() == [[1, 1]] * 160
    assert np.flatnonzero(columns[:, 4]).tolist() == [2]
    assert yardsticks.word_columns(["a pool", "no pool", "a pool", "no pool"], np.arange(4)).T.tolist() == [
        [1, 0, 1, 0],
        [0, 1, 0, 1],
    ]


@pytest.mark.slow
def test_houses_compared_prints_its_tables_and_keeps_results(
    yardsticks: ModuleType, houses: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    compared = script("houses_compared", monkeypatch)
    monkeypatch.setattr(genz_ppl, "discover", partial(genz_ppl.discover, cycles=1, add=2, cut=0, splits=1, final_steps=2))
    monkeypatch.setattr(genz_ppl, "baseline", partial(genz_ppl.baseline, final_steps=2))
    methods = ["linear/gaussian", "0-shot:6 linear/gaussian", "ridge"]
    kept = tmp_path / "kept.jsonl"
    words = [str(houses), "--seeds", "2", "--every", "2", "--keep", str(kept), "--group", "listing", "--methods", *methods]
    monkeypatch.setattr(sys, "argv", ["houses_compared.py", *words])
    compared.main()
    printed = capsys.readouterr().out
    best = [f"{name}, best test step" for name in methods[:2]]
    table = [line.split(" | ")[0] for line in printed.splitlines()[2:7]]
    assert table == [f"| {name}" for name in (methods[0], best[0], methods[1], best[1], methods[2])]
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [line["case"]["method"] for line in lines] == [name for name in methods for _ in range(2)]
    final, at_best = (float(row.split(" | ")[1]) for row in printed.splitlines()[2:4])
    assert final == pytest.approx(np.mean([line["outcome"]["test_error"] for line in lines[:2]]), abs=1e-4)
    assert at_best <= final
    assert "linear/gaussian, learning curve:" in printed
    assert "0-shot:6 linear/gaussian, by number of features:" in printed
    monkeypatch.setattr(compared, "run", lambda case: pytest.fail("kept results are not made again"))
    compared.main()
    assert capsys.readouterr().out == printed


def test_learning_curves_of_the_houses_end_with_the_last_row(yardsticks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = script("houses_compared", monkeypatch)
    short, long = (((0, 0, 0.8, 0.9), (1, 1, 0.4, 0.5)), ((0, 0, 0.6, 0.7), (1, 1, 0.4, 0.5), (2, 2, 0.2, 0.3)))
    found = [compared.Outcome(rows[-1][2], rows[-1][3], rows[-1][1], None, rows) for rows in (short, long)]
    assert compared.learning_curve(found, 2)[2:] == ["| 0 | 0.7000 | 0.8000 | 0.0 | 2 |", "| 2 | 0.3000 | 0.4000 | 1.5 | 1 |"]
    paths = [compared.Outcome(0.1, 0.1, path=rows) for rows in (((3, 3, 0.2, 0.2), (2, 2, 0.4, 0.4)), ((2, 2, 0.2, 0.4),))]
    assert compared.pruning(paths, 1)[2:] == ["| 2 | 0.3000 | 0.4000 |"]


def test_paired_t_test(monkeypatch: pytest.MonkeyPatch) -> None:
    paired = script("paired", monkeypatch)
    # Differences of 1, 2 and 3: t is 2 / (1 / sqrt 3), with two degrees of freedom.
    t = 2 * math.sqrt(3)
    assert paired.p_value([1.0, 1.0, 1.0], [2.0, 3.0, 4.0]) == pytest.approx(1 - t / math.sqrt(t**2 + 2))
    t = 2 / math.sqrt(1 / 3 + 2 / 3)  # two test items to three for training
    assert paired.p_value([1.0, 1.0, 1.0], [2.0, 3.0, 4.0], 2 / 3) == pytest.approx(1 - t / math.sqrt(t**2 + 2))


@pytest.mark.parametrize("name", ["houses_compared", "films"])
def test_results_that_differ_by_rounding_are_a_tie(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last bits are the machine's: neither a difference, nor a warning of lost precision, nor a division by zero."""
    test = script(name, monkeypatch)
    first = [0.1, 0.7, 0.4]
    for others in (np.nextafter(first, 1.0), np.nextafter(first, [1.0, 0.0, 0.4]), [0.1, np.nextafter(0.7, 1), 0.4], first):
        assert test.tied(first, list(map(float, others)))
        assert test.p_value(first, list(map(float, others))) == 1.0
    for shifted in ([each + 0.25 for each in first], [0.5, 0.75]):  # the same difference on each split, but for rounding
        before = first if len(shifted) == 3 else [0.25, 0.5]
        assert not test.tied(before, shifted)
        assert test.p_value(before, shifted) == 0.0
    assert not test.tied(first, [0.1, 0.7, 0.4001])
    assert test.p_value(first, [0.1, np.nextafter(0.7, 1), 0.4001]) == pytest.approx(test.p_value(first, [0.1, 0.7, 0.4001]))


def test_houses_that_differ_by_rounding_are_shown_as_a_tie(yardsticks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = script("houses_compared", monkeypatch)
    one, other = ([compared.Outcome(0.1, error) for error in errors] for errors in ([0.3, 0.4], np.nextafter([0.3, 0.4], 1.0)))
    rows = compared.comparison({"a": one, "b": other})[2:]
    assert [row.split(" | ")[3:6] for row in rows] == [["-", "-", "-"]] * 2


def test_share_of_nearest_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two clusters far apart: within them all is alike, and by chance about half."""
    profiles = script("profiles", monkeypatch)
    sides = np.repeat([0, 1], 15)
    vectors = profiles.unit(np.eye(2)[sides] + 0.01 * np.random.default_rng(0).standard_normal((30, 2)))
    alike = sides[:, None] == sides
    assert profiles.share_of_nearest(vectors, alike) == 1.0
    assert profiles.share_by_chance(alike) == pytest.approx(14 / 29)
    assert profiles.share_of_nearest(vectors, ~alike) == 0.0


def test_answers_as_vectors_take_off_what_all_share(monkeypatch: pytest.MonkeyPatch) -> None:
    profiles = script("profiles", monkeypatch)
    found = profiles.centred(np.array([[1.0, 1.0], [1.0, 0.0], [1.0, np.nan], [1.0, 0.5]]))
    np.testing.assert_allclose(found, [[0, 1], [0, -1], [0, 0], [0, 0]], atol=1e-12)


def test_questions_about_fame_are_told_from_others(monkeypatch: pytest.MonkeyPatch) -> None:
    fame = script("recommend", monkeypatch).FAME
    assert fame.search("Won the Academy Award for Best Picture")
    assert fame.search("Was a top-ten box-office hit of its year")
    assert fame.search("Belongs to a major film franchise or multi-film series")
    assert not fame.search("Is an action film with frequent set pieces")
    assert not fame.search("Is a Shakespeare or classic-literature adaptation")


@pytest.mark.slow
def test_a_search_over_blocks_is_held_against_the_same_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from genz_ppl.inference.blockwise.search import search_blocks

    module = script("block_search", monkeypatch)
    monkeypatch.setattr(module, "ROWS", 1500)  # two blocks
    module.write(tmp_path, 3000)
    found = search_blocks(tmp_path, module.RULES)
    columns, bound = module.in_memory(3000)
    assert [*found.fit.features] == columns
    assert float(found.fit.bounds[-1]) == pytest.approx(bound, rel=1e-5)


def test_large_fits_are_compared_with_those_in_float64(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    large_fits = script("large_fits", monkeypatch)
    monkeypatch.setattr(large_fits.packed, "LARGE", large_fits.packed.LARGE)  # the script sets it
    options = argparse.Namespace(features=3, targets=2, steps=3, bytes=False)
    files = [tmp_path / f"{way}.npz" for way in large_fits.WAYS]
    for way, file in zip(large_fits.WAYS, files, strict=True):
        large_fits.one(way, 500, options, file)
    with np.load(files[0]) as first, np.load(files[1]) as second:
        assert (first["posterior"].dtype, second["posterior"].dtype) == (np.float32, np.float64)
    assert 0 < large_fits.difference(*files) < 1e-6
    assert [line.split(" | ")[1] for line in capsys.readouterr().out.splitlines()] == ["packed", "float64"]
