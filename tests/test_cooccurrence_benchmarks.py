"""The yardsticks of the two-item model know what they should, and the tables are those of the files."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from genz_ppl.data.pairs import pairs_from_frame
from genz_ppl.types import FloatArray, Pairs

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


def module(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module("cooccurrence_data", monkeypatch)


@pytest.fixture
def yardsticks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module("cooccurrence_yardsticks", monkeypatch)


@pytest.fixture
def baselines(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return module("cooccurrence_baselines", monkeypatch)


def listed(matrix: FloatArray, mask: np.ndarray) -> Pairs:
    rows, columns = np.nonzero(mask)
    return Pairs(rows, columns, matrix[rows, columns], *matrix.shape)


class World:
    """40 x 30 values of rank 2 that features of both sides explain; a tenth of the first rows' and columns' pairs is held out."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.sides = random.normal(size=(40, 3)), random.normal(size=(30, 3))
        first, second = (side @ random.normal(size=(3, 2)) for side in self.sides)
        self.matrix = 3 + first @ second.T + first[:, :1] + second[:, 1]
        self.known = np.zeros((40, 30), dtype=bool)
        self.known[:32, :24] = True
        self.held_out = self.known & (random.random((40, 30)) < 0.1)
        self.train = listed(self.matrix, self.known & ~self.held_out)

    def error(self, yardstick: Any, mask: np.ndarray) -> float:
        rows, columns = np.nonzero(mask)
        found = yardstick.predict(rows, columns) - self.matrix[rows, columns]
        return float(np.sqrt((found**2).mean()) / self.matrix.std())


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_means_without_shrinkage_are_the_means(yardsticks: ModuleType, world: World) -> None:
    train = world.train
    frame = pd.DataFrame({"row": train.rows, "column": train.columns, "value": train.values})
    for sides, key, asked in (("rows", "row", np.arange(32)), ("columns", "column", np.arange(24))):
        means = yardsticks.Means(sides, 0.0)
        means.fit(train, *world.sides)
        expected = frame.groupby(key)["value"].mean().to_numpy()
        np.testing.assert_allclose(means.predict(*((asked, asked * 0) if sides == "rows" else (asked * 0, asked))), expected)
    overall = yardsticks.Means("none")
    overall.fit(train, *world.sides)
    np.testing.assert_allclose(overall.predict(np.array([0, 39]), np.array([0, 29])), train.values.mean())


def test_means_of_both_sides_find_a_sum_and_shrink(yardsticks: ModuleType) -> None:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(20, 1)) + random.normal(size=12)
    train = listed(matrix, random.random((20, 12)) < 0.8)
    means = yardsticks.Means("both", 1e-6)
    means.fit(train, matrix, matrix.T)
    np.testing.assert_allclose(means.predict(train.rows, train.columns), train.values, atol=1e-3)
    shrunk = yardsticks.Means("both", 1e9)
    shrunk.fit(train, matrix, matrix.T)
    np.testing.assert_allclose(shrunk.predict(train.rows, train.columns), train.values.mean(), atol=1e-6)


def test_factors_find_a_matrix_of_low_rank(yardsticks: ModuleType, world: World) -> None:
    factors = yardsticks.Factors(2, 1e-3, rounds=60)
    factors.fit(world.train, *world.sides)
    assert world.error(factors, world.held_out) < 0.01
    new = factors.predict(np.array([39]), np.array([29]))
    assert new == pytest.approx(world.train.values.mean())


def test_factors_towards_features_know_new_items(yardsticks: ModuleType, world: World) -> None:
    factors = yardsticks.Factors(2, 1e-2, 1e-3, rounds=60)
    factors.fit(world.train, *world.sides)
    for mask in (world.held_out, ~world.known):
        assert world.error(factors, mask) < 0.02


def test_weight_of_absent_pairs_is_nothing_where_none_is_absent(yardsticks: ModuleType, world: World) -> None:
    train = listed(world.matrix, np.ones_like(world.known))
    found = []
    for weight, value in ((0.0, None), (0.3, None), (0.7, 0.0), (1.0, 5.0)):
        factors = yardsticks.Factors(3, 0.5, absent_weight=weight, absent_value=value)
        factors.fit(train, *world.sides)
        found.append(factors.predict(train.rows, train.columns))
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-8)


def test_absent_pairs_of_full_weight_are_pairs_of_the_mean(yardsticks: ModuleType, world: World) -> None:
    train = world.train.select(world.train.values > 3)
    dense = np.full(world.matrix.shape, train.values.mean())
    dense[train.rows, train.columns] = train.values
    mask = np.zeros_like(world.known)
    mask[np.ix_(np.unique(train.rows), np.unique(train.columns))] = True
    absent = yardsticks.Factors(2, 0.5, absent_weight=1.0)
    absent.fit(train, *world.sides)
    complete = yardsticks.Factors(2, 0.5)
    complete.fit(listed(dense, mask), *world.sides)
    rows, columns = np.nonzero(mask)
    np.testing.assert_allclose(absent.predict(rows, columns), complete.predict(rows, columns), atol=1e-8)


def test_presence_alone_ranks_the_held_out_pairs(yardsticks: ModuleType, baselines: ModuleType, world: World) -> None:
    present = (world.matrix > np.median(world.matrix)).astype(np.float64)
    factors = yardsticks.Implicit(2, 0.5, absent_weight=0.5)
    factors.fit(listed(present, world.known & ~world.held_out), *world.sides)
    rows, columns = np.nonzero(world.held_out)
    assert baselines.auc(present[rows, columns] > 0.5, factors.predict(rows, columns)) > 0.8


@pytest.mark.parametrize("logistic", [False, True])
def test_slopes_of_the_regression_are_those_of_its_loss(yardsticks: ModuleType, world: World, logistic: bool) -> None:
    chance = 1 / (1 + np.exp(3 - world.matrix))
    train = listed((chance > 0.5).astype(np.float64) if logistic else world.matrix, world.known)
    regression = yardsticks.Regression(logistic, 0.7, 0.2, rank=2, steps=1)
    regression.fit(train, *world.sides)
    size = sum(int(np.prod(shape)) for shape in regression._shapes)
    at = np.random.default_rng(2).normal(size=size) * 0.3
    slopes = regression._loss(at, train)[1]
    numeric = optimize.approx_fprime(at, lambda x: regression._loss(x, train)[0], 1e-6)
    np.testing.assert_allclose(slopes, numeric, atol=2e-2, rtol=1e-4)


def test_regression_knows_new_items(yardsticks: ModuleType, world: World) -> None:
    regression = yardsticks.Regression(False, 1.0, 1e-3, steps=500)
    regression.fit(world.train, *world.sides)
    assert world.error(regression, ~world.known) < 0.02
    yes = (world.matrix > 3).astype(np.float64)
    logistic = yardsticks.Regression(True, 1.0, 0.1)
    logistic.fit(listed(yes, world.known), *world.sides)
    rows, columns = np.nonzero(~world.known)
    found = logistic.predict(rows, columns)
    assert ((found >= 0) & (found <= 1)).all()
    assert ((found > 0.5) == yes[rows, columns]).mean() > 0.9


def test_trees_use_features_and_means(yardsticks: ModuleType, world: World) -> None:
    random = np.random.default_rng(3)
    features = random.normal(size=(60, 2)), random.normal(size=(50, 2))
    matrix = np.sign(features[0][:, :1]) + np.sign(features[1][:, 1]) + 0.1 * random.normal(size=(60, 50))
    known = np.zeros(matrix.shape, dtype=bool)
    known[:50, :40] = True
    trees = yardsticks.Trees(False, 8)
    trees.fit(listed(matrix, known), *features)
    rows, columns = np.nonzero(~known)
    assert np.sqrt(((trees.predict(rows, columns) - matrix[rows, columns]) ** 2).mean()) < 0.5  # the values' sd is 1.4


def test_auc_is_the_share_in_the_right_order(baselines: ModuleType) -> None:
    random = np.random.default_rng(4)
    yes, expected = random.random(40) < 0.4, random.integers(0, 6, 40).astype(np.float64)
    differences = expected[yes][:, None] - expected[~yes]
    assert baselines.auc(yes, expected) == pytest.approx(((differences > 0) + 0.5 * (differences == 0)).mean())
    assert np.isnan(baselines.auc(np.ones(3, dtype=bool), np.arange(3.0)))


def test_scores_cut_predictions_off(baselines: ModuleType) -> None:
    found = baselines.scores(np.array([1.0, 0.0]), np.array([1.7, 0.5]), True)
    assert found["log_loss"] == pytest.approx(-(np.log(0.995) + np.log(0.5)) / 2)
    assert found["rmse"] == pytest.approx(np.sqrt((0.005**2 + 0.25) / 2))
    ratings = baselines.scores(np.array([5.0, 1.0]), np.array([7.0, 0.0]), False)
    assert ratings == {"rmse": 0.0, "auc": 1.0}
    assert all(np.isnan(value) for value in baselines.scores(np.zeros(0), np.zeros(0), True).values())


def test_features_are_numbers_categories_and_words(baselines: ModuleType) -> None:
    table = pd.DataFrame(
        {
            "id": [str(n) for n in range(60)],
            "size": [float(n) if n else np.nan for n in range(60)],
            "kind": ["a", "b", None] * 20,
            "text": [f"word{n} {'even' if n % 2 == 0 else 'odd'}" for n in range(60)],
        }
    )
    found = baselines.features(table)
    assert found.shape == (60, 1 + 2 + 2)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    assert (found**2).sum(axis=1).mean() == pytest.approx(1)
    assert baselines.features(table, 2).shape == (60, 2)


def test_settings_are_chosen_without_the_test_pairs(baselines: ModuleType, yardsticks: ModuleType, world: World) -> None:
    pairs = listed(world.matrix, np.ones_like(world.known))
    makers = [lambda: yardsticks.Means("none"), lambda: yardsticks.Factors(2, 0.01, 0.01)]
    found = baselines.measure(makers, pairs, world.sides, 0, False)
    plain = baselines.measure(makers[1:], pairs, world.sides, 0, False)
    assert found == plain  # factors are better on every part of the second split

    split = baselines.split_pairs(pairs, 0, 0.2, 0.1)
    seen: list[Pairs] = []

    class Spy(yardsticks.Means):  # type: ignore[name-defined, misc]
        def fit(self, train: Pairs, row_features: FloatArray, column_features: FloatArray) -> None:
            seen.append(train)
            super().fit(train, row_features, column_features)

    baselines.measure([Spy, Spy], pairs, world.sides, 0, False)
    known = set(split.train.tolist())
    cells = {(row, column): place for place, (row, column) in enumerate(zip(pairs.rows, pairs.columns, strict=True))}
    for train in seen:
        assert {cells[cell] for cell in zip(train.rows, train.columns, strict=True)} <= known
    assert len(seen[0]) < len(split.train) == len(seen[-1])


def test_regions_of_a_line_of_plants(data: ModuleType) -> None:
    for written, expected in (
        ("or pe ri", "or pe-us ri"),
        ("on pe qc", "on pe-ca qc"),
        ("pe", "pe-us"),
        ("vi pe", "vi pe-ca"),
        ("or pe wa pe qc", "or wa qc pe-us pe-ca"),
        ("ny pa", "ny pe-us"),
        ("yt gl", "yt dengl"),
    ):
        assert data.settle_regions(written.split()) == set(expected.split())


@pytest.mark.parametrize("name", ["un-votes", "movies", "plants"])
def test_tables_fit_together(data: ModuleType, data_folder: Path, name: str) -> None:
    tables = data.build(name, data_folder, 80)
    pairs = pairs_from_frame(tables.pairs, tables.rows["id"].tolist(), tables.columns["id"].tolist())
    assert (pairs.n_rows, pairs.n_columns) == (80, {"un-votes": 200, "movies": 6040, "plants": 69}[name])
    assert set(np.unique(pairs.values)) == ({1, 2, 3, 4, 5} if name == "movies" else {0, 1})
    again = data.build(name, data_folder, 80)
    pd.testing.assert_frame_equal(tables.pairs, again.pairs)
    assert tables.columns.drop(columns="code", errors="ignore").notna().all(axis=None)


def test_films_are_the_recorded_ones(data: ModuleType, data_folder: Path) -> None:
    tables = data.movies(data_folder / "ml-1m", 513, 50)
    assert len(tables.columns) == 50
    top = pd.read_csv(data_folder / "ml-1m" / "movies_top512.csv")["ml_id"].astype(str)
    assert set(top) == set(tables.rows["id"][:512])
    answers = data.movie_answers(data_folder / "ml-1m", tables.rows["id"].tolist())
    assert answers.shape == (513, 114)
    assert answers.iloc[:512].isin([0.0, 1.0]).all(axis=None)
    assert answers.iloc[512].isna().all()


def test_votes_say_nothing_of_the_outcome(data: ModuleType, data_folder: Path) -> None:
    tables = data.un_votes(data_folder / "un-votes", abstentions=0.5)
    assert set(tables.pairs["value"]) == {0.0, 0.5, 1.0}
    assert not tables.rows["text"].str.contains("/ *adopted", case=False, regex=True).any()
    assert not tables.rows["text"].str.contains(r"[\\\t\"]", regex=True).any()
    assert tables.columns.set_index("id").loc["Namibia", "code"] == "NA"
    assert tables.columns.set_index("id").loc["Zanzibar", ["first year", "last year", "sessions"]].tolist() == [1963, 1963, 1]


def test_script_prints_its_tables(
    baselines: ModuleType, data_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--data",
        str(data_folder),
        "--data-sets",
        "plants",
        "--rows",
        "60",
        "--only",
        "means",
        "--seeds",
        "2",
        "--workers",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", ["cooccurrence_baselines.py", *words])
    baselines.main()
    printed = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in printed.splitlines() if " ± " in line] == [
        "| row means",
        "| column means",
        "| means of both sides",
    ]
