"""Test items that are asked about once, with all questions of the final model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.diagnostics.report.charts_run import baseline_chart, learning_curve
from genz_ppl.diagnostics.report.steps import steps_of
from genz_ppl.discovery.reporting import gather
from genz_ppl.discovery.run.folder import STATE_FILE, RunDirectory
from genz_ppl.discovery.run.service import make_settings
from genz_ppl.discovery.run.states import load_progress, state_bytes
from genz_ppl.discovery.steps import step_entry, step_line
from genz_ppl.errors import RunDirectoryError
from genz_ppl.llm.combined import parts_of
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import Item

LATE: dict[str, Any] = {"cycles": 2, "add": 2, "cut": 1, "seed": 3, "test_at_end": True}


class Stopping(RulesModel):
    """Is stopped as it is asked about the test items."""

    def __init__(self, test: Sequence[str]) -> None:
        self.test = set(test)

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        if items[0].id in self.test:
            raise KeyboardInterrupt
        return super().answer(items, features)


def test_it_is_asked_once_and_ends_as_ever(items: Items, recorder: Any) -> None:
    other = type(recorder)()
    run, along = (discover(items, model, **{**LATE, "test_at_end": late}) for model, late in ((recorder, True), (other, False)))
    tested = set(run.record.split.test)
    about = [texts for ids, texts in recorder.asked if tested & set(ids)]
    assert about == [tuple(dict.fromkeys(part for text in run.posterior.columns for part in parts_of(text)))] != [()]
    pd.testing.assert_frame_equal(run.features, along.features)
    pd.testing.assert_frame_equal(run.posterior, along.posterior)
    assert run.curve["event"].tolist() == along.curve["event"].tolist()
    known = run.curve["test_error"].notna()
    assert known.tolist() == ((run.curve["n_features"] == 0) | (run.curve["event"] == "final")).tolist()
    assert run.curve["test_error"][known].tolist() == along.curve["test_error"][known].tolist()
    assert run.summary == along.summary
    assert run.curve["answers_asked"].iloc[-1] <= along.curve["answers_asked"].iloc[-1]
    assert run.curve["answers_asked"].iloc[-1] - run.curve["answers_asked"].iloc[-2] == len(tested) * len(about[0])


def test_it_is_the_default_where_answers_are_paid_for() -> None:
    assert make_settings("openai:some", {}).test_at_end is True
    assert make_settings("openai:some", {"test_at_end": False}).test_at_end is False
    assert make_settings("rules", {}).test_at_end is False
    assert make_settings("rules", {"test_at_end": True}).test_at_end is True


def test_a_run_that_is_not_tested_yet_is_read_and_goes_on(items: Items, tmp_path: Path, assert_same_run: Any) -> None:
    whole = discover(items, Stopping([]), **LATE, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        discover(items, Stopping(whole.record.split.test), **LATE, out=tmp_path / "run")
    stopped = Discovery.load(tmp_path / "run", Stopping([]))
    assert stopped.status == "running"
    assert stopped.progress.active
    assert not stopped.progress.tested
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert set(metrics["test"].values()) == {None}
    assert None not in metrics["train"].values()
    line, entry = (say(stopped.progress, DiscoverSettings(**LATE)) for say in (step_line, step_entry))
    assert ", test " not in line
    assert ": train " in line
    assert json.loads(entry)["test_error"] is None
    asked = stopped.predict(items)  # all of whose answers it has, or asks for
    np.testing.assert_array_equal(asked.index, items.index)
    resume(tmp_path / "run", items, model=Stopping([]))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_a_line_names_few_of_the_wordings_that_were_discarded(items: Items) -> None:
    progress = discover(items, cycles=1, add=1, cut=0).progress
    row = progress.curve[-1]
    for number in range(5):
        progress.curve.append({**row, "event": "discard", "feature": f"wording {number}"})
    assert "; discarded: wording 0, wording 1, wording 2 and 2 more" in step_line(progress, DiscoverSettings())
    del progress.curve[-2:]
    assert step_line(progress, DiscoverSettings()).endswith("; discarded: wording 0, wording 1, wording 2")


def test_a_finished_run_without_answers_on_test_items_is_spoilt(items: Items, tmp_path: Path) -> None:
    discover(items, **LATE, out=tmp_path)
    directory = RunDirectory(tmp_path)
    record = directory.record()
    progress = load_progress(directory, record)
    assert progress is not None
    progress.test_pool.clear()
    (tmp_path / STATE_FILE).write_bytes(state_bytes(progress))
    with pytest.raises(RunDirectoryError):
        load_progress(directory, record)


def test_charts_show_what_is_known(items: Items) -> None:
    run = discover(items, **LATE)
    data = gather(run, items, [(1, 0.5), (2, 0.4)])
    traces = {trace["name"]: trace for trace in learning_curve(data)["traces"]}
    unseen = traces["unseen items"]
    assert [y is not None for y in unseen["y"]] == [not s.active or s is data.steps[-1] for s in data.steps]
    assert unseen["mode"] == "lines+markers"  # points that have no neighbour are lines of no length
    assert traces["training items"]["mode"] == "lines"
    assert None not in traces["added"]["y"]
    (own, _) = baseline_chart(data)["traces"]
    assert None not in own["y"]
    steps = steps_of(run.curve, run.features)
    assert all(step.known_error in (step.train_error, step.test_error) for step in steps)
