"""The cold start simulation and warm starts, on a run with made ratings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_films import write_films

from genz_ppl.data import Items, open_source
from genz_ppl.data.sources import RatingTable, open_ratings
from genz_ppl.discovery.discover import Discovery, discover
from genz_ppl.discovery.ratings.coldstart import ColdStart, cosine, simulate
from genz_ppl.discovery.ratings.rated_run import RatedRun
from genz_ppl.errors import InputError, OptionError, RunDirectoryError
from genz_ppl.inference.ratings.fold_in import fold_in

SHORT: dict[str, Any] = {"cycles": 1, "add": 5, "cut": 0, "seed": 0}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Discovery:
    folder = tmp_path_factory.mktemp("films")
    source = write_films(folder)
    discover(open_source(source), "rules", source=source, out=folder / "run", **SHORT)
    return Discovery.load(folder / "run")


@pytest.fixture(scope="module")
def rated(run: Discovery) -> RatedRun:
    return RatedRun.recorded(run)


@pytest.fixture(scope="module")
def found(rated: RatedRun) -> ColdStart:
    return simulate(rated)


def table_of(run: Discovery) -> RatingTable:
    table = open_ratings(str(run.record.source))
    assert table is not None
    return table


@pytest.mark.slow
def test_only_test_items_and_each_once(run: Discovery, found: ColdStart) -> None:
    assert sorted(found.items) == sorted(run.record.split.test)  # fewer than a hundred


def test_curves_are_what_they_say(run: Discovery, rated: RatedRun, found: ColdStart) -> None:
    table = table_of(run)
    counts = np.diff(table.ratings.indptr)
    # All at once, as in the simulation: their standard deviations are drawn together.
    priors = rated.priors(rated.items.take([rated.items.ids.index(name) for name in found.items]))
    for place, (name, prior) in enumerate(zip(found.items, priors, strict=True)):
        n_ratings = counts[table.items.index(name)]
        for curve in found.cosines.values():
            np.testing.assert_array_equal(np.isnan(curve[place]), np.arange(curve.shape[1]) >= n_ratings)
        held = rated.held(name)
        full = fold_in(held.weights, held.users, held.values)
        assert found.cosines["ratings"][place, n_ratings - 1] == pytest.approx(cosine(full[None], held.embedding)[0])
        assert found.cosines["prior"][place, 0] == pytest.approx(cosine(prior.mean[None], held.embedding)[0])
        mean, _ = rated.warm.after(prior, n_ratings, rated.stretch * full)
        assert found.cosines["both"][place, n_ratings - 1] == pytest.approx(cosine(mean[None], held.embedding)[0])


def test_the_table(found: ColdStart) -> None:
    table = found.table
    assert table["n_ratings"].tolist() == list(range(1, found.cosines["both"].shape[1] + 1))
    row = table.iloc[19]
    there = ~np.isnan(found.cosines["ratings"][:, 19])
    values = {name: curve[there, 19] for name, curve in found.cosines.items()}
    assert row["n_items"] == there.sum()
    for name, part in values.items():
        assert row[f"{name}_mean"] == pytest.approx(part.mean())
        assert row[f"{name}_lower"] == pytest.approx(np.quantile(part, 0.05))
        assert row[f"{name}_upper"] == pytest.approx(np.quantile(part, 0.95))
    better = values["ratings"] if values["ratings"].mean() > values["prior"].mean() else values["prior"]
    margins = values["both"] - better
    assert row["margin"] == pytest.approx(margins.mean())
    assert row["margin_se"] == pytest.approx(margins.std(ddof=1) / np.sqrt(len(margins)))
    assert table["n_items"].is_monotonic_decreasing
    assert table["n_items"].iloc[-1] >= 1


def test_ratings_help_and_both_are_never_below_the_better_one(found: ColdStart) -> None:
    table = found.table
    assert table["ratings_mean"].iloc[0] < table["prior_mean"].iloc[0] < table["ratings_mean"].iloc[60]
    enough = table[table["n_items"] >= 5]
    assert (enough["margin"] > -4 * enough["margin_se"]).all()
    assert table["both_mean"].iloc[9] > table["ratings_mean"].iloc[9] + 0.02


def test_what_the_prediction_is_worth() -> None:
    ratings = np.array([[0.1, 0.4, 0.6, 0.9], [0.1, 0.4, 0.8, np.nan]])
    prior = np.where(np.isnan(ratings), np.nan, np.array([[0.5], [0.7]]))
    cosines = {"prior": prior, "ratings": ratings, "both": ratings}
    assert ColdStart(("a", "b"), cosines).worth == 3  # 0.7 against 0.6
    never = {"prior": prior, "ratings": 0.1 * ratings, "both": ratings}
    assert ColdStart(("a", "b"), never).worth is None


def test_the_seed_decides_items_and_order(rated: RatedRun, found: ColdStart) -> None:
    few, same, other = (simulate(rated, 3, 5, seed=seed) for seed in (1, 1, 2))
    assert few.items == same.items != other.items
    assert few.cosines["ratings"].shape == (3, 5)
    np.testing.assert_array_equal(few.cosines["both"], same.cosines["both"])
    assert few.table["ratings_mean"].tolist() != found.table["ratings_mean"].tolist()[:5]


def test_targets_of_held_items_are_not_used(run: Discovery, rated: RatedRun, found: ColdStart) -> None:
    items = open_source(str(run.record.source))
    assert items.targets is not None
    targets = items.targets.copy()
    for name in run.record.split.test:
        targets[items.ids.index(name)] = 1e6
    blind = RatedRun.of(run, replace(items, targets=targets), table_of(run))
    np.testing.assert_array_equal(blind.warm.spread, rated.warm.spread)
    np.testing.assert_array_equal(blind.errors, rated.errors)
    for name, curve in simulate(blind).cosines.items():
        np.testing.assert_array_equal(curve, found.cosines[name])


def test_the_number_of_ratings_of_held_items_is_not_used(run: Discovery, rated: RatedRun) -> None:
    train = np.diff(rated.factors.ratings.indptr)[[rated.rows[one] for one in run.record.split.train]]
    assert rated.warm.totals.min() >= train.min()
    assert rated.warm.totals.max() <= train.max()


def test_update(run: Discovery, rated: RatedRun) -> None:
    name = run.record.split.test[1]
    one = rated.items.take([rated.items.ids.index(name)])
    held, users = rated.held(name), table_of(run).users
    predicted = rated.predict(one)[0][0]
    before = run.update(name, {}, rated)
    assert list(before.index) == list(one.target_names)
    np.testing.assert_allclose(before["mean"], predicted)
    direction = run.predict(one).filter(like="_mean").to_numpy()
    assert cosine(direction, predicted)[0] > 0.95
    ratings = {int(users[column]): float(value) for column, value in zip(held.users, held.values, strict=True)}
    after = run.update(name, ratings, rated)
    assert (after["sd"] < before["sd"]).all()
    near = cosine(np.array([before["mean"], after["mean"]]), held.embedding)
    assert near[1] > max(0.95, near[0])
    frame = pd.DataFrame({"user": list(ratings), "rating": list(ratings.values())})
    for same in (run.update(name, frame, rated), run.update(one, ratings, rated), run.update(name, ratings)):
        pd.testing.assert_frame_equal(same, after)


def test_update_of_an_item_that_is_new(run: Discovery, rated: RatedRun) -> None:
    """Its weights are those of the whole matrix; as a copy of a film it goes where the film is."""
    held = rated.held("5")
    genres = rated.items[rated.items.ids.index("5")].fields["genres"]
    frame = pd.DataFrame({"movie": ["new"], "title": ["Film 500"], "year": [1970], "genres": [genres]})
    new = Items.from_frame(frame, id="movie", text=("title", "year", "genres"), target=(), require_target=False)
    ratings = {int(table_of(run).users[column]): value for column, value in zip(held.users, held.values, strict=True)}
    after = run.update(new, ratings, rated)
    assert cosine(after["mean"].to_numpy()[None], held.embedding)[0] > 0.95


@pytest.mark.parametrize(
    ("item", "ratings", "expected"),
    [
        ("nobody", {1: 5.0}, "item 'nobody': the run has no item of this id"),
        ("5", {9999: 5.0}, "user 9999 is not in the data of the run"),
        ("5", {"ann": 5.0}, "user 'ann' is not in the data"),
        ("5", {1.5: 5.0}, "user 1.5 is not in the data"),
        ("5", {1: float("nan")}, "user 1: expected a finite number, found nan"),
        ("5", {1: "good"}, "user 1: expected a finite number, found 'good'"),
        ("5", pd.DataFrame({"user": [1, 1], "rating": [5, 4]}), "user 1 is there twice"),
        ("5", pd.DataFrame({"user": [1], "stars": [5]}), "expected the columns user and rating, there is no 'rating'"),
    ],
)
def test_wrong_updates(run: Discovery, rated: RatedRun, item: str, ratings: Any, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        run.update(item, ratings, rated)


def test_several_items_at_once(run: Discovery, rated: RatedRun) -> None:
    with pytest.raises(InputError, match="expected one item, found 2"):
        run.update(rated.items[:2], {1: 5.0}, rated)


def test_runs_without_ratings(items: Items, tmp_path: Path) -> None:
    in_memory = discover(items, "rules", cycles=1, add=1, cut=0)
    with pytest.raises(RunDirectoryError, match="started from Python on a table in memory"):
        in_memory.update("k0", {1: 5.0})
    named = discover(items, "rules", source="toy.csv", cycles=1, add=1, cut=0)
    with pytest.raises(OptionError, match="targets are not embeddings of ratings; name a run of genz fit on movielens:DIR"):
        named.update("k0", {1: 5.0})


def test_other_data_than_the_runs(run: Discovery, items: Items, tmp_path: Path) -> None:
    table = table_of(run)
    with pytest.raises(InputError, match="the items are not those of the run"):
        RatedRun.of(run, items, table)
    known = open_source(str(run.record.source))
    with pytest.raises(InputError, match="the targets are not embeddings of these ratings"):
        RatedRun.of(run, known, replace(table, alpha=1.0))
    with pytest.raises(InputError, match="item '5' has no ratings"):
        RatedRun.of(run, known, replace(table, items=tuple("other" if name == "5" else name for name in table.items)))


def test_numbers_out_of_range(rated: RatedRun) -> None:
    with pytest.raises(OptionError, match="items: expected a whole number of at least 1, got 0"):
        simulate(rated, 0)
    with pytest.raises(OptionError, match="ratings: expected a whole number of at least 1, got -1"):
        simulate(rated, 5, -1)
