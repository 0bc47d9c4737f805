"""Pairs and sides meet a run by name: index, columns of ids, covariates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import CoOccurrenceRun, Items, cooccur
from genz_ppl.errors import InputError

SHORT: dict[str, Any] = {"dimensions": 1, "rounds": 1, "epochs": 3, "cycles": 1, "add": 1, "cut": 0}


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """A side of 24 items whose ids are numbers that the other side has, too, and the pairs of the two sides."""
    random = np.random.default_rng(0)
    side = pd.DataFrame({"id": range(24), "colour": random.choice(["red", "green"], 24), "a": random.normal(size=24)})
    side["b"] = random.normal(size=24)
    first, second = (part.ravel() for part in np.indices((24, 10)))
    values = 2.0 * (side["colour"] == "red").to_numpy()[first] + 0.1 * second + 0.1 * random.normal(size=len(first))
    return side, pd.DataFrame({"user": first, "film": second, "rating": values}, index=np.arange(len(first)) + 5000)


@pytest.fixture(scope="module")
def run(tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> CoOccurrenceRun:
    side, pairs = tables
    users = Items.from_frame(side, id="id", covariates=["a", "b"], text="colour", require_target=False)
    out = tmp_path_factory.mktemp("pairs") / "run"
    cooccur(users, [str(film) for film in range(10)], pairs, out=out, **SHORT)
    return CoOccurrenceRun.load(out)


def known(run: CoOccurrenceRun, pairs: pd.DataFrame) -> pd.DataFrame:
    return pairs[pairs["user"].astype(str).isin(run.ids[0])]


def test_predictions_are_on_the_index_of_the_pairs(run: CoOccurrenceRun, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    d = known(run, tables[1]).copy()
    d["pred"] = run.predict(d)["mean"]
    assert d["pred"].notna().all()
    floats = run.predict(d.astype({"user": float}))
    np.testing.assert_array_equal(floats["mean"], d["pred"])


def test_columns_of_ids_are_matched_by_name(run: CoOccurrenceRun, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    d = known(run, tables[1])
    pd.testing.assert_frame_equal(run.predict(d[["rating", "film", "user"]]), run.predict(d))
    other = d[["user", "film"]].set_axis(["row", "column"], axis=1)  # other names: by place
    np.testing.assert_array_equal(run.predict(other)["mean"], run.predict(d)["mean"])


def test_covariates_of_new_items_are_matched_by_name(run: CoOccurrenceRun, tables: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    side, _ = tables
    new = side.assign(id=[f"new{row}" for row in range(24)])
    pairs = [(name, "3") for name in new["id"]]
    roles: dict[str, Any] = {"id": "id", "text": "colour", "require_target": False}
    expected = run.predict(pairs, rows=Items.from_frame(new, covariates=["a", "b"], **roles))
    turned = run.predict(pairs, rows=Items.from_frame(new, covariates=["b", "a"], **roles))
    pd.testing.assert_frame_equal(turned, expected)
    with pytest.raises(InputError, match=r"'b' \(covariate\) of the run, which is missing"):
        run.predict(pairs, rows=Items.from_frame(new, covariates=["a"], **roles))


def test_it_says_what_it_is(run: CoOccurrenceRun) -> None:
    assert repr(run).startswith(f"<CoOccurrenceRun: questions: 1 of the {len(run.ids[0])} rows and 0 of the 10 columns; held-out")


def test_files_are_matched_by_name(tables: tuple[pd.DataFrame, pd.DataFrame], tmp_path: Path) -> None:
    side, pairs = tables
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    users = Items.from_frame(side, id="id", text="colour", require_target=False)
    run = cooccur(users, [str(film) for film in range(10)], tmp_path / "pairs.csv", **SHORT)
    d = known(run, pairs)
    pd.testing.assert_frame_equal(run.predict(d[["film", "user"]]), run.predict(d))
