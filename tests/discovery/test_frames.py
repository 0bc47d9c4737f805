"""DataFrames in, tables on their index out; columns are matched by name; what a run lacks or another table lacks is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest

from genz_ppl import Discovery, Items, baseline, discover, resume
from genz_ppl.discovery.matching import needed_schema
from genz_ppl.errors import GenzWarning, InputError, OptionError
from genz_ppl.llm.rules.model import RulesModel

QUICK: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 0}
TOWNS = ("north", "south", "east")


class AnyModel(RulesModel):
    """Answers as the rules do, but reads, for all the run knows, the whole of an item."""


def homes(rows: int = 60, index: pd.Index | None = None) -> pd.DataFrame:
    """A target of 3 x red + area / 2 - beds + the town's level."""
    random = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "colour": random.choice(["red", "green", "blue"], rows),
            "note": random.choice(["old oak", "new pine"], rows),
            "area": random.normal(size=rows),
            "beds": random.normal(size=rows),
            "town": random.choice(TOWNS, rows),
        },
        index=index,
    )
    table["price"] = 3.0 * (table["colour"] == "red") + 0.5 * table["area"] - table["beds"] + table["town"].map(TOWNS.index)
    table["price"] += 0.1 * random.normal(size=rows)
    return table


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return homes(index=pd.Index(range(1000, 1060), name="house"))


@pytest.fixture(scope="module")
def run(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Discovery:
    out = tmp_path_factory.mktemp("frames") / "run"
    roles: dict[str, Any] = {"target": "price", "covariates": ["area", "beds"], "varying": "town"}
    return discover(frame, **roles, text=["colour", "note"], out=out, **QUICK)


@pytest.mark.slow
def test_a_frame_is_enough(frame: pd.DataFrame, run: Discovery) -> None:
    d = frame.copy()
    d["pred"] = run.predict(d)["mean"]
    assert (d["pred"] - d["price"]).abs().median() < 0.3
    roles: dict[str, Any] = {"target": "price", "covariates": ["area", "beds"], "varying": "town", "text": ["colour", "note"]}
    d["again"] = run.predict(Items.from_frame(frame, **roles))["mean"]
    np.testing.assert_array_equal(d["again"], d["pred"])
    new = frame.drop(columns="price").iloc[::-1].assign(further="column")
    pd.testing.assert_series_equal(run.predict(new)["mean"].reindex(frame.index), d["pred"], check_names=False)


@pytest.mark.parametrize(
    "index",
    [
        pd.date_range("2020-01-01", periods=60, name="day"),
        pd.MultiIndex.from_product([range(6), list("abcdefghij")], names=["n", "letter"]),
        pd.Index([f"h{row}" for row in range(60)]),
    ],
)
def test_predictions_and_posterior_are_on_the_index(index: pd.Index, tmp_path: Path) -> None:
    d = homes(index=index)
    run = discover(d, target="price", text=["colour"], out=tmp_path / "run", cycles=1, add=1, cut=0)
    pd.testing.assert_index_equal(run.predict(d).index, index, exact="equiv")
    part = d.loc[run.posterior.index]
    assert np.corrcoef(run.posterior["colour is red"], part["colour"] == "red")[0, 1] > 0.7
    loaded = Discovery.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.posterior, run.posterior)
    assert loaded.posterior.index.dtype == index.dtype


def test_an_index_that_no_file_holds_comes_back_as_ids(tmp_path: Path) -> None:
    d = homes(index=pd.Index([*range(30), *(f"h{row}" for row in range(30))], dtype=object))
    run = discover(d, target="price", text=["colour"], out=tmp_path / "run", cycles=1, add=1, cut=0)
    assert set(run.posterior.index) < set(d.index)
    assert set(Discovery.load(tmp_path / "run").posterior.index) < set(map(str, d.index))


def test_covariates_are_matched_by_name(frame: pd.DataFrame, run: Discovery) -> None:
    expected = run.predict(frame)
    roles: dict[str, Any] = {"require_target": False, "varying": "town"}
    turned = Items.from_frame(frame, covariates=["beds", "area"], text=["note", "colour"], **roles)
    pd.testing.assert_frame_equal(run.predict(turned), expected)
    more = Items.from_frame(frame.assign(age=1.0), covariates=["age", "beds", "area"], text="{note}, {colour}", **roles)
    pd.testing.assert_frame_equal(run.predict(more), expected)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"beds": "Bed"}, r"'beds' \(covariate\).*did you mean 'Bed'\?"),
        ({"area": "elsewhere"}, r"'area' \(covariate\)"),
        ({"town": "towns"}, r"'town' \(varying\).*did you mean 'towns'\?"),
        ({"colour": "color"}, r"'colour' \(text\).*did you mean 'color'\?"),
    ],
)
def test_what_is_missing_is_refused_by_name(
    frame: pd.DataFrame, run: Discovery, whole: bool, columns: dict[str, str], expected: str
) -> None:
    changed = frame.rename(columns=columns)
    names = {name: columns.get(name, name) for name in frame.columns}
    roles: dict[str, Any] = {"covariates": [names["area"], names["beds"]], "text": [names["colour"], "note"]}
    roles |= {"varying": names["town"], "require_target": False}
    with pytest.raises(InputError, match=expected) as error:
        run.predict(changed if whole else Items.from_frame(changed, **roles))
    assert "\n" not in str(error.value)


def test_words_in_a_covariate_are_refused(frame: pd.DataFrame, run: Discovery) -> None:
    with pytest.raises(InputError, match=r"column 'area', row 1: expected a number written as in '1234\.5', found 'wide'"):
        run.predict(frame.assign(area="wide"))


def test_only_what_the_questions_ask_is_needed(frame: pd.DataFrame, run: Discovery) -> None:
    assert run.posterior.columns.tolist() == ["colour is red"]
    assert run.needed.readable == ("colour",)
    pd.testing.assert_frame_equal(run.predict(frame.drop(columns="note")), run.predict(frame))
    schema = run.schema
    assert needed_schema(schema, ["is it fine?"], "openai:some") == schema
    assert needed_schema(schema, ["elsewhere is 3"], "rules") == schema  # no column of this name: all may be needed


def test_a_model_that_reads_all_gets_it_as_in_the_run(frame: pd.DataFrame) -> None:
    items = Items.from_frame(frame, target="price", text=["colour", "note"])
    run = discover(items, AnyModel(), **QUICK)
    known = run.matched(Items.from_frame(frame[["price", "note", "colour"]].assign(more=1), target="price"))
    assert known.items == items.items  # so that no answer is asked for twice
    as_template = discover(Items.from_frame(frame, target="price", text="{colour}: {note}"), AnyModel(), **QUICK)
    assert as_template.matched(frame.drop(columns="price"))[0].text == f"{frame['colour'].iloc[0]}: {frame['note'].iloc[0]}"
    with pytest.raises(InputError, match=r"no column 'note' \(text\)"):
        run.predict(frame.drop(columns="note"))
    with pytest.raises(InputError, match=r"'note' \(text\) of the run, which is missing; there are: colour"):
        run.predict(Items.from_frame(frame, target="price", text="colour"))


def test_images_are_part_of_what_is_read(frame: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    shown = frame.assign(photo=str(tmp_path / "a.jpg"))
    run = discover(shown, AnyModel(), target="price", text="colour", images="photo", **QUICK)
    with pytest.raises(InputError, match=r"'photo' \(image\)"):
        run.predict(Items.from_frame(shown, target="price", text="colour"))


def test_answers_that_stay_out_are_said(frame: pd.DataFrame, run: Discovery) -> None:
    with pytest.warns(GenzWarning, match="the DataFrame: 'colour is red' has hardly any answer here"):
        run.predict(frame.assign(colour=None))


def test_roles_go_with_a_frame_alone(frame: pd.DataFrame) -> None:
    items = Items.from_frame(frame, target="price")
    with pytest.raises(OptionError, match="target: the items have their columns already"):
        discover(items, target="price")
    with pytest.raises(OptionError, match=r"expected a DataFrame, got a str; .* Items.from_file\(path\)"):
        discover("homes.csv", target="price")
    with pytest.raises(OptionError, match="name the column to explain"):
        discover(frame)


@pytest.mark.slow
def test_classes_and_a_baseline_of_a_frame(frame: pd.DataFrame) -> None:
    table = frame.assign(dear=np.where(frame["price"] > 2, "dear", "cheap")).drop(columns="price")
    run = discover(table, target="dear", text=["colour"], likelihood="bernoulli", cycles=1, add=1, cut=0)
    assert run.schema.classes == (("cheap", "dear"),)
    assert run.predict(table).index.equals(table.index)
    asked = baseline(frame, target="price", text=["colour"], n_questions=3)
    assert asked.predict(frame).index.equals(frame.index)


def test_tables_everywhere(frame: pd.DataFrame, run: Discovery, tmp_path: Path) -> None:
    others = pyarrow.Table.from_pandas(frame)
    np.testing.assert_array_equal(run.predict(others.drop_columns(["price"]))["mean"], run.predict(frame)["mean"])
    assert run.directory is not None
    again = resume(run.directory.path, frame)
    assert again.features.equals(run.features)
    assert again.fitted(frame, "test").item_ids == run.fitted(side="test").item_ids
    again.report(tmp_path / "report.html", items=others)
    with pytest.raises(InputError, match="the items are not those of the run; give the data it was started on"):
        again.fitted(frame.iloc[::-1])
    with pytest.raises(OptionError, match=r"got a ndarray, whose columns have no names; pass pd.DataFrame\(array"):
        run.predict(frame.to_numpy())


def test_settings_of_python_are_named_in_its_words(frame: pd.DataFrame) -> None:
    with pytest.raises(OptionError, match=r"it comes from test_fraction=0\.99: take another fraction"):
        discover(frame, target="price", test_fraction=0.99)
