"""Runs with more training items than questions are sought on: the others count in the last fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.discovery.card import card_of
from genz_ppl.discovery.mine import rest
from genz_ppl.discovery.plan import plan
from genz_ppl.discovery.run import items as item_files
from genz_ppl.discovery.run import problem
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.discovery.run.sampling import sampled
from genz_ppl.inference import packed
from genz_ppl.llm.table import TableModel
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray

N_ITEMS, SAMPLE = 2500, 500
TRAINING = N_ITEMS * 4 // 5


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six attributes of which two matter, one answer in twenty wrong and one in fifty missing."""
    random, folder = np.random.default_rng(3), tmp_path_factory.mktemp("known")
    z = (random.random((N_ITEMS, 6)) < 0.4).astype(float)
    y = z[:, :2] @ np.array([[2.0, 0.0, 1.0], [0.5, -1.5, 0.0]]) + random.normal(size=(N_ITEMS, 3))
    names = [f"thing {row}" for row in range(N_ITEMS)]
    items = pd.DataFrame({"id": names, "what": names, **{f"y{d}": y[:, d] for d in range(3)}})
    items.to_csv(folder / "items.csv", index=False)
    answers = pd.DataFrame(np.where(random.random(z.shape) < 0.05, 1 - z, z), columns=[f"has {k}" for k in range(6)])
    answers = answers.map(lambda value: "yes" if value else "no").mask(random.random(z.shape) < 0.02, "")
    answers.insert(0, "id", names)
    answers.to_csv(folder / "table.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def items(table: Path) -> Items:
    return Items.from_csv(table / "items.csv", id="id", target="y*")


def found(items: Items, table: Path, out: Path | None = None, **settings: Any) -> Discovery:
    options: dict[str, Any] = {"link": "linear", "likelihood": "gaussian", "add": 2, "cycles": 1, "cut": 0, "combine": 1}
    return discover(items, f"table:{table / 'table.csv'}", out=out, progress=False, **{**options, **settings})


def test_a_sample_of_all_training_items_changes_nothing(items: Items, table: Path) -> None:
    whole, same = found(items, table, sample=0), found(items, table, sample=TRAINING)
    pd.testing.assert_frame_equal(whole.features, same.features)
    assert same.record.rest == 0


@pytest.mark.parametrize("large", [None, 0], ids=["float64", "packed"])
def test_effects_and_gains_are_those_of_all_training_items(
    items: Items, table: Path, large: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if large is not None:
        monkeypatch.setattr(packed, "LARGE", large)
    monkeypatch.setattr(rest, "AT_ONCE", 300)  # several parts
    whole = found(items, table, sample=0, final_steps=60, refit_steps=30)
    some = found(items, table, tmp_path / "run", sample=SAMPLE, final_steps=60, refit_steps=30)
    assert (some.record.rest, len(some.record.split.train)) == (TRAINING - SAMPLE, SAMPLE)
    one, other = (run.features.set_index("text").sort_index() for run in (whole, some))
    assert list(one.index) == list(other.index)
    for name in ("effect", "effect_lower", "effect_upper"):
        np.testing.assert_allclose(other[name], one[name], rtol=1e-2)  # how far error rates have come makes that difference
    np.testing.assert_allclose(other["gain"], one["gain"], rtol=1e-4)
    np.testing.assert_allclose(other["p_e"], one["p_e"], atol=5e-3)
    means = [run.predict(items[:50])[["y0_mean", "y1_mean", "y2_mean"]] for run in (some, whole)]
    np.testing.assert_allclose(means[0].to_numpy(), means[1].to_numpy(), atol=5e-2)
    # Of the sample alone intervals are twice as wide.
    width, narrow = (run["effect_upper"] - run["effect_lower"] for run in (found_on_sample(items, table), other))
    assert bool((width.to_numpy() > 1.6 * narrow.to_numpy()).all())


def found_on_sample(items: Items, table: Path) -> pd.DataFrame:
    split = items.split_indices(0)
    alone = items.take(np.concatenate([split.train[:SAMPLE], split.test[: SAMPLE // 4]]))
    return found(alone, table, sample=0).features.set_index("text").sort_index()


def test_packed_and_float64_agree(items: Items, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = found(items, table, sample=SAMPLE)
    monkeypatch.setattr(packed, "LARGE", 0)
    large = found(items, table, sample=SAMPLE)
    numbers = ["gain", "effect", "effect_lower", "effect_upper", "p_e", "prevalence"]
    np.testing.assert_allclose(large.features[numbers], usual.features[numbers], rtol=1e-6)
    np.testing.assert_allclose(large.curve["bound"], usual.curve["bound"], rtol=1e-9)
    np.testing.assert_allclose(large.predict(items[:50]), usual.predict(items[:50]), atol=1e-6)


def test_what_is_measured_at_the_end_is_of_all(items: Items, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = found(items, table, sample=SAMPLE)
    monkeypatch.setattr(problem, "MANY", 100)
    monkeypatch.setattr(problem, "MEASURED", 60)
    run = found(items, table, sample=SAMPLE)
    assert run.summary == usual.summary
    last, before = (one.curve[["train_error", "test_error"]] for one in (run, usual))
    pd.testing.assert_frame_equal(last.tail(1), before.tail(1))
    assert not np.allclose(last.iloc[:-1], before.iloc[:-1])


class Counting(TableModel):
    """A table that notes about how many items each question was asked, and stops when it is told to."""

    def __init__(self, path: Path, most: float = np.inf) -> None:
        super().__init__(path)
        self.asked: dict[str, int] = {}
        self.most = most

    def answer(self, items: Any, features: Any) -> FloatArray:
        for text in features:
            self.asked[text] = self.asked.get(text, 0) + len(items)
        if max(self.asked.values(), default=0) > self.most:
            raise KeyboardInterrupt
        return super().answer(items, features)


def test_the_rest_is_asked_about_what_is_kept_alone(items: Items, table: Path) -> None:
    model = Counting(table / "table.csv")
    run = discover(items, model, sample=SAMPLE, add=2, cycles=1, cut=0, combine=1, link="linear", progress=False)
    kept = set(run.features.loc[run.features["active"], "text"]) if "active" in run.features else set(run.features["text"])
    n_test = len(run.record.split.test)
    assert all(model.asked[text] == TRAINING + n_test for text in kept)
    assert all(count <= SAMPLE + n_test for text, count in model.asked.items() if text not in kept)


def test_a_run_that_was_stopped_in_the_last_fit_ends_the_same(items: Items, table: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "sample": SAMPLE,
        "add": 2,
        "cycles": 1,
        "cut": 0,
        "combine": 1,
        "link": "linear",
        "progress": False,
    }
    whole = discover(items, Counting(table / "table.csv"), out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        discover(items, Counting(table / "table.csv", most=SAMPLE + N_ITEMS // 5), out=tmp_path / "stopped", **options)
    assert RunDirectory(tmp_path / "stopped").record().status == "interrupted"
    resumed = resume(tmp_path / "stopped", items, Counting(table / "table.csv"), progress=False)
    pd.testing.assert_frame_equal(resumed.features, whole.features)
    states = [(tmp_path / name / "state.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert states[0] == states[1]


def test_the_folder_says_so_and_is_read(items: Items, table: Path, tmp_path: Path) -> None:
    run = found(items, table, tmp_path / "run", sample=SAMPLE)
    written = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert (written["rest"], written["items"]["train"], written["settings"]["sample"]) == (TRAINING - SAMPLE, SAMPLE, SAMPLE)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["sought_on"], metrics["fitted_to"]) == (SAMPLE, TRAINING)
    loaded = Discovery.load(tmp_path / "run")
    pd.testing.assert_frame_equal(loaded.features, run.features)
    assert f"{SAMPLE} train, {TRAINING - SAMPLE} for the last fit alone and" in card_of(loaded)
    loaded.report(tmp_path / "report.html", items=items)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert f"sought on {SAMPLE} training items of {TRAINING:,}".replace(",", "\u202f") in page
    split = loaded.record.split_of(items)
    together = np.sort(np.concatenate([split.train, split.test, split.held, split.rest]))
    np.testing.assert_array_equal(together, np.arange(N_ITEMS))


@pytest.mark.parametrize("kind", ["ids", "numbers", "several kinds"])
def test_items_are_written_part_by_part(items: Items, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    several = pd.Index([None, "a", *range(2, len(items))])
    index = {"ids": items.index, "numbers": pd.RangeIndex(len(items)), "several kinds": several}
    given = replace(items, index=index[kind])
    record = found_record(given)
    tables = []
    for folder, most in (("whole", N_ITEMS), ("parts", 700)):
        monkeypatch.setattr(item_files, "_AT_ONCE", most)
        directory = RunDirectory(tmp_path / folder)
        directory.create(record)
        item_files.write_items(directory, given, (), keep_texts=True)
        read = item_files.read_items(directory, record)
        assert read is not None
        assert read.targets is not None
        assert given.targets is not None
        np.testing.assert_array_equal(read.targets, given.targets)
        assert [item.text for item in read] == [item.text for item in given]
        tables.append(read.index)
    assert list(tables[0]) == list(tables[1])
    assert list(tables[0]) == (list(items.ids) if kind == "several kinds" else list(given.index))


def found_record(items: Items) -> RunRecord:
    """Of a run on them that has not begun."""
    settings = DiscoverSettings(link="linear", likelihood="gaussian", sample=SAMPLE)
    split = sampled(items.split_indices(0), settings, items.schema)
    return Problem(items, split, settings).record(source=None)


def test_groups_and_others_have_all_items_for_both(items: Items, table: Path) -> None:
    run = found(items, table, sample=SAMPLE, inference="enumeration", max_features=2)
    assert (run.record.rest, len(run.record.split.train)) == (0, TRAINING)


def test_a_plan_counts_the_rest(items: Items) -> None:
    settings = DiscoverSettings(cycles=1, add=2, cut=0, combine=1, sample=SAMPLE)
    some, whole = plan(items, settings), plan(items, DiscoverSettings(cycles=1, add=2, cut=0, combine=1))
    assert (some.training_items, some.rest_items, whole.training_items) == (SAMPLE, TRAINING - SAMPLE, TRAINING)
    assert some.answers < whole.answers


def test_without_a_question_the_last_fit_has_all_items(items: Items) -> None:
    class Silent:
        def answer(self, items: Any, features: Any) -> FloatArray:
            return np.zeros((len(items), len(features)))

        def propose(self, contrast: Any, n: int) -> list[str]:
            return []

        def suggest(self, items: Any, task: str, n: int) -> list[str]:
            return []

    run = discover(items, Silent(), sample=SAMPLE, link="linear", likelihood="gaussian", progress=False)
    assert len(run.features) == 0
    train = run.record.split_of(items)
    assert items.targets is not None
    expected = items.targets[np.concatenate([train.train, train.rest])].mean(0)
    np.testing.assert_allclose(run.predict(items[:1])[["y0_mean", "y1_mean", "y2_mean"]].to_numpy()[0], expected, atol=1e-9)
