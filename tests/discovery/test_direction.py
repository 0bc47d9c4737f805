"""`direction`: of vectors of targets their direction is explained, and answers count as facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_films import write_films
from plain import PLAIN

from genz_ppl import Discovery, Items, discover
from genz_ppl.data import open_source
from genz_ppl.discovery.run.service import make_settings
from genz_ppl.discovery.run.target_checks import check_direction, explained, explains_direction
from genz_ppl.errors import InputError, OptionError
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray

QUICK: dict[str, Any] = {"cycles": 1, "add": 4, "cut": 1}
NAMES = [f"y{d}" for d in range(6)]


def items_of(targets: FloatArray, table: pd.DataFrame) -> Items:
    columns = pd.DataFrame(targets, columns=NAMES[: targets.shape[1]])
    return Items.from_frame(pd.concat([table, columns], axis=1), id="key", target=NAMES[: targets.shape[1]])


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    random = np.random.default_rng(3)
    rows = 160
    return pd.DataFrame(
        {
            "key": [f"k{row}" for row in range(rows)],
            "colour": random.choice(["red", "green", "blue"], rows),
            "note": random.choice(["old oak", "new pine", "old pine"], rows),
            "size": random.integers(0, 10, rows),
        }
    )


@pytest.fixture(scope="module")
def targets(table: pd.DataFrame) -> FloatArray:
    """Six numbers an item, in the directions of three features, with noise."""
    random = np.random.default_rng(4)
    traits = np.column_stack([table["colour"] == "red", table["note"].str.contains("old"), table["size"] >= 5])
    values: FloatArray = 1.0 + 2.0 * traits @ random.normal(size=(3, 6)) + 0.5 * random.normal(size=(len(table), 6))
    return values


@pytest.fixture(scope="module")
def lengths(table: pd.DataFrame) -> FloatArray:
    """A factor for each item, from 1/8 to 64: powers of two, so that dividing by the length gives the same bits."""
    return np.asarray(2.0 ** np.random.default_rng(5).integers(-3, 7, (len(table), 1)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*steps of the number")
def test_the_length_of_a_vector_does_not_matter(table: pd.DataFrame, targets: FloatArray, lengths: FloatArray) -> None:
    first, second = (discover(items_of(y, table), direction=True, **QUICK) for y in (targets, lengths * targets))
    pd.testing.assert_frame_equal(first.features, second.features)
    pd.testing.assert_frame_equal(first.curve.drop(columns="seconds"), second.curve.drop(columns="seconds"))
    found = set(first.features.loc[first.features["active"], "text"])
    assert "colour is red" in found
    assert {"size is at least 5", "size is less than 5"} & found
    plain = discover(items_of(lengths * targets, table), **QUICK, **PLAIN)
    assert first.curve["test_error"].iloc[-1] > plain.curve["test_error"].iloc[-1] + 0.05  # cosine similarity


@pytest.mark.slow
def test_answers_count_as_facts(table: pd.DataFrame, targets: FloatArray) -> None:
    run = discover(items_of(targets, table), direction=True, combine=1, **QUICK)
    active = run.features[run.features["active"]]
    assert active["p_e"].max() < 1e-3
    q = run.posterior.to_numpy()
    assert np.minimum(q, 1 - q).max() < 0.01
    red = table.loc[run.posterior.index, "colour"] == "red"
    np.testing.assert_allclose(run.posterior["colour is red"], red, atol=0.01)


def test_the_prior_that_is_given_counts() -> None:
    assert make_settings("rules", {}).error_rate_prior == (1.0, 9.0)
    assert make_settings("rules", {"direction": True}).error_rate_prior == (1.0, 9.0)  # direction is about lengths alone
    assert make_settings("rules", {"direction": True, "error_rate_prior": (1.0, 50.0)}).error_rate_prior == (1.0, 50.0)


@pytest.mark.parametrize("given", [{"calibration": 5.0}, {"shrinkage": True}])
@pytest.mark.parametrize("how", [{"inference": "svi"}, {"inference": "enumeration", "max_features": 4}, {"shortcuts": False}])
def test_what_a_strategy_cannot_follow_is_refused(given: dict[str, Any], how: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(OptionError, match=rf"^{name}: .* fits the paper's bound alone; choose inference coordinate"):
        make_settings("rules", given | how)
    assert not getattr(make_settings("rules", how | PLAIN), name)


@pytest.mark.slow
def test_diagnostics_and_predictions_are_of_the_direction(
    table: pd.DataFrame, targets: FloatArray, lengths: FloatArray, tmp_path: Path
) -> None:
    items = items_of(lengths * targets, table)
    run = discover(items, direction=True, out=tmp_path / "run", **QUICK)
    for side in ("train", "test"):
        shown = run.fitted(items, side).targets.numpy()
        np.testing.assert_allclose(np.linalg.norm(shown, axis=1), 1.0, rtol=1e-12)
    loaded = Discovery.load(tmp_path / "run")
    predicted = loaded.predict(items)
    pd.testing.assert_frame_equal(predicted, run.predict(items))
    means = predicted[[f"{name}_mean" for name in NAMES]].to_numpy()
    assert np.linalg.norm(means, axis=1).max() < 1.2  # a mean of unit vectors, fitted by a linear model
    np.testing.assert_array_equal(loaded.fitted(items).targets, run.fitted(items).targets)


def test_targets_as_explained(table: pd.DataFrame, targets: FloatArray) -> None:
    with_gap = targets.copy()
    with_gap[7] = np.nan
    items = items_of(with_gap, table)
    check_direction(items, "gaussian")
    assert explained(items, False) is items.targets
    divided = explained(items, True)
    assert np.isnan(divided[7]).all()
    kept = np.arange(len(targets)) != 7
    np.testing.assert_allclose(divided[kept] * np.linalg.norm(targets, axis=1)[kept, None], targets[kept], rtol=1e-12)


@pytest.mark.filterwarnings("ignore:.*rows repeat")
def test_targets_without_a_direction_are_refused(table: pd.DataFrame, targets: FloatArray) -> None:
    with pytest.raises(OptionError, match=r"^direction: expected at least two targets, got 'y0' alone; leave direction out$"):
        discover(items_of(targets[:, :1], table), direction=True)
    with pytest.raises(OptionError, match=r"^direction: is for vectors of numbers, and the poisson likelihood is not"):
        discover(items_of(np.abs(targets).round(), table), direction=True, likelihood="poisson")
    for value, found in ((np.nan, "some targets are missing"), (0.0, "all targets are 0")):
        wrong = targets.copy()
        wrong[9, 1 if np.isnan(value) else slice(None)] = value
        needed = "direction needs a vector of targets of each item"
        with pytest.raises(InputError, match=rf"{needed}, but {found} for item 'k9'; leave the item out"):
            discover(items_of(wrong, table), direction=True)


def test_embeddings_are_explained_by_their_direction_unless_told_otherwise(table: pd.DataFrame, targets: FloatArray) -> None:
    items = items_of(targets, table)
    assert not explains_direction(items, DiscoverSettings())
    embedded = items.as_embedding()
    assert embedded.fingerprint() == items.fingerprint()
    assert explains_direction(embedded, DiscoverSettings())
    assert not explains_direction(embedded, DiscoverSettings(direction=False))
    assert not explains_direction(embedded, DiscoverSettings(likelihood="poisson"))
    assert not explains_direction(embedded, make_settings("rules", {"paper": True}))
    incomplete = targets.copy()
    incomplete[3, 1] = np.nan
    assert not explains_direction(items_of(incomplete, table).as_embedding(), DiscoverSettings())
    run = discover(embedded, cycles=1, add=1, cut=0)
    assert run.record.settings.direction is True
    norms = np.linalg.norm(run.fitted().targets.numpy(), axis=1)
    assert norms == pytest.approx(np.ones(len(norms)))


def test_films_are_embeddings(tmp_path: Path) -> None:
    items = open_source(write_films(tmp_path))
    assert items.schema.embedding
    assert not Items.from_frame(pd.DataFrame({"name": ["a", "b"], "y": [1.0, 2.0]}), target="y").schema.embedding
