"""Effects of a run on items that had no part in choosing its questions: the test items, and those held back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.diagnostics.report.words import number, summary, worth
from genz_ppl.discovery.estimates import sample_to_label
from genz_ppl.discovery.plan import plan
from genz_ppl.discovery.reporting import gather
from genz_ppl.discovery.run.folder import STATE_FILE
from genz_ppl.errors import InputError, OptionError
from genz_ppl.settings import DiscoverSettings

HONEST: dict[str, Any] = {"cycles": 1, "add": 3, "cut": 0, "seed": 3, "honest": 0.3, "combine": 1}


@pytest.fixture
def table() -> pd.DataFrame:
    """A target of 3 x red + 2 x (size at least 5), and some noise."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({"key": [f"k{row}" for row in range(160)]})
    table["colour"], table["size"] = random.choice(["red", "green", "blue"], 160), random.integers(0, 10, 160)
    table["y"] = 3.0 * (table["colour"] == "red") + 2.0 * (table["size"] >= 5) + 0.3 * random.normal(size=160)
    return table


@pytest.fixture
def data(table: pd.DataFrame) -> Items:
    return Items.from_frame(table, id="key", target="y")


def test_held_back_items_are_asked_at_the_end_about_what_was_kept(data: Items, recorder: Any) -> None:
    run = discover(data, recorder, **HONEST)
    held, split = set(run.record.split.held), data.split_indices(3, 0.2, 0.3)
    assert held == {data.ids[row] for row in split.held}
    assert len(held) == 48
    about = [(ids, texts) for ids, texts in recorder.asked if held & set(ids)]
    assert [texts for _, texts in about] == [tuple(run.posterior.columns)]
    assert set(about[0][0]) == held
    assert run.curve["answers_asked"].iloc[-1] == sum(len(ids) * len(texts) for ids, texts in recorder.asked)
    shown = {item.id for contrast, _ in recorder.contrasts for item in (*contrast.positive, *contrast.negative)}
    assert not shown & held


def test_targets_of_held_back_items_change_nothing_but_the_effects(table: pd.DataFrame, data: Items) -> None:
    run = discover(data, **HONEST)
    other = table.assign(y=np.where(table["key"].isin(run.record.split.held), -table["y"], table["y"]))
    again = discover(Items.from_frame(other, id="key", target="y"), **HONEST)
    pd.testing.assert_frame_equal(run.features, again.features)
    assert not run.effects().equals(again.effects())


def test_effects_are_those_of_test_and_held_back_items(table: pd.DataFrame, data: Items, tmp_path: Path) -> None:
    run = discover(data, out=tmp_path / "run", **HONEST)
    found = run.effects()
    fresh = [*run.record.split.test, *run.record.split.held]
    rows = table.set_index("key").loc[fresh]
    answers = run.answers(Items.from_frame(rows.reset_index(), id="key", target="y"))
    design = np.column_stack([answers, np.ones(len(rows))])
    np.testing.assert_allclose(found["effect"], np.linalg.lstsq(design, rows["y"].to_numpy())[0][:-1])
    assert found["feature"].tolist() == list(run.posterior.columns)
    assert found["method"].unique().tolist() == ["answers as they are"]  # the rules model makes no mistake
    assert (found["p_holm"] < 0.05).all()
    assert found.attrs["estimated_on"] == "32 test items and 48 items held back"
    pd.testing.assert_frame_equal(Discovery.load(tmp_path / "run").effects(), found)
    assert (run.effects(error_rate_prior=(1, 99))["method"] == "answers, errors assumed").all()


def test_a_run_that_was_stopped_ends_with_the_same_bits(data: Items, recorder: Any, tmp_path: Path) -> None:
    discover(data, type(recorder)(), out=tmp_path / "whole", **HONEST)

    def stop(progress: Any, settings: Any) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        discover(data, type(recorder)(), out=tmp_path / "stopped", on_step=stop, **HONEST)
    part = Discovery.load(tmp_path / "stopped")
    with pytest.raises(OptionError, match="stopped before its end"):
        part.effects()
    resume(tmp_path / "stopped", data, type(recorder)())
    first, second = ((tmp_path / name / STATE_FILE).read_bytes() for name in ("whole", "stopped"))
    assert first == second


def test_gold_labels_come_by_text_or_id_and_training_items_are_left_out(table: pd.DataFrame, data: Items) -> None:
    run = discover(data, **HONEST)
    texts = list(run.posterior.columns)
    names = run.features.loc[run.features["active"], "id"].tolist()
    labels = pd.DataFrame(run.answers(table), columns=[names[0], *texts[1:]]).replace({1.0: "yes", 0.0: "No"})
    found = run.effects(gold=labels.assign(id=table["key"]))
    assert found.attrs["gold_items"] == 80
    np.testing.assert_allclose(found["effect"], run.effects()["effect"], atol=1e-9)
    sampled = run.effects(gold=labels.assign(id=table["key"], sampling="0.5"))
    np.testing.assert_allclose(sampled["effect"], found["effect"], atol=1e-9)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda gold: gold.drop(columns="id"), 'in a column "id", found none'),
        (lambda gold: gold.assign(id=["?", *gold["id"][1:]]), "the run has no item '\\?'"),
        (lambda gold: pd.concat([gold, gold.iloc[:1]]), "is there twice"),
        (lambda gold: gold.iloc[:, :-1], "expected a column for the question"),
        (lambda gold: gold.assign(**{gold.columns[1]: "perhaps"}), "expected yes or no .* found 'perhaps'"),
        (lambda gold: gold.assign(**{gold.columns[1]: ""}), "none of its 160 rows has a label of every question"),
    ],
)
def test_gold_that_cannot_be_used_is_refused(table: pd.DataFrame, data: Items, spoil: Any, message: str) -> None:
    run = discover(data, **HONEST)
    gold = pd.DataFrame(run.answers(table), columns=list(run.posterior.columns))
    gold.insert(0, "id", table["key"])
    with pytest.raises(InputError, match=message):
        run.effects(gold=spoil(gold))


def test_items_to_label_are_drawn_from_those_that_chose_nothing(data: Items) -> None:
    run = discover(data, **HONEST)
    drawn = sample_to_label(run, run.progress, 20, seed=1)
    assert len(set(drawn["id"])) == 20
    assert not set(drawn["id"]) & set(run.record.split.train)
    assert drawn["text"].str.contains("colour").all()
    assert set(drawn["id"]) != set(sample_to_label(run, run.progress, 20, seed=2)["id"])
    with pytest.raises(OptionError, match="from 1 to 80"):
        sample_to_label(run, run.progress, 81, seed=1)


def test_plans_count_what_is_held_back(data: Items) -> None:
    settings: dict[str, Any] = {"cycles": 1, "add": 3, "cut": 0, "combine": 1, "likelihood": "gaussian", "link": "linear"}
    plain, honest = plan(data, DiscoverSettings(**settings)), plan(data, DiscoverSettings(**settings, honest=0.3))
    assert (honest.training_items, honest.test_items, honest.held_items) == (80, 32, 48)
    assert plain.held_items == 0
    before = plain.answers - 3 * 32
    assert honest.answers == before * 80 // 128 + 3 * 32 + 3 * 48


def test_a_report_says_what_is_confirmed_where(data: Items) -> None:
    run = discover(data, **HONEST)
    contents, found = gather(run), run.effects()
    said = "\n".join(summary(contents))
    assert "questions confirmed on items they were not found on (32 test items and 48 items held back" in said
    assert "Intervals: the effect of what was answered" in said
    first = contents.features[0]
    row = found[found["feature"] == first.text].iloc[0]
    ends = sorted(abs(row[name]) for name in ("lower", "upper"))
    assert f"(95\u202f% interval {number(ends[0])} to {number(ends[1])})" in worth(contents, first)


def test_a_report_of_too_few_items_says_nothing_of_it(items: Items) -> None:
    contents = gather(discover(items, cycles=1, add=3, cut=0, seed=3))
    assert not contents.facts.confirmed
    assert "not found on" not in worth(contents, contents.features[0])


def test_rows_that_go_together_are_counted_by_their_groups(table: pd.DataFrame, tmp_path: Path) -> None:
    table["flat"] = [f"h{row // 2}" for row in range(160)]
    data = Items.from_frame(table, id="key", target="y", group="flat")
    run = discover(data, out=tmp_path / "run", **HONEST)
    apart = discover(Items.from_frame(table, id="key", target="y"), **HONEST)
    assert run.effects()["p"].notna().all()
    assert apart.record.roles.group is None
    loaded = Discovery.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.effects(items=data), run.effects())
    with pytest.raises(InputError, match="rows of one 'flat' go together, and the run's folder does not hold it"):
        loaded.effects()


def test_classes_are_effects_on_probabilities(table: pd.DataFrame) -> None:
    table["kind"] = np.where(table.pop("y") > 1, "high", "low")
    run = discover(Items.from_frame(table, id="key", target="kind", classes=True), **HONEST)
    found = run.effects()
    assert found["target"].unique().tolist() == ["kind is low"]
    assert (found["effect"].abs() <= 1.2).all()
