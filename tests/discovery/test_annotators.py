"""`discover(annotators=..., gold=...)`: who answers has rates of their own, z is shared, labels are the truth."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, discover, resume
from genz_ppl.errors import InputError, OptionError, RunDirectoryError
from genz_ppl.types import Contrast, FloatArray, Item

KINDS = [f"it is of kind {k}" for k in range(8)]
SHORT: dict[str, Any] = {
    "target": "y",
    "id": "id",
    "text": ["text"],
    "cycles": 1,
    "add": 4,
    "cut": 0,
    "combine": 1,
    "progress": False,
}


def made(rows: int = 200) -> tuple[pd.DataFrame, FloatArray]:
    """Items whose target is a sum over three of their eight kinds, which their text does not tell."""
    random = np.random.default_rng(3)
    truth = (random.random((rows, len(KINDS))) < 0.4).astype(float)
    table = pd.DataFrame({"id": [f"k{row}" for row in range(rows)], "text": [f"item {row}" for row in range(rows)]})
    table["y"] = truth[:, :3] @ np.array([2.0, -1.5, 1.2]) + 0.5 * random.normal(size=rows)
    return table, truth


class Knows:
    """Answers from a table, and proposes what tells the groups apart in it."""

    def __init__(self, truth: FloatArray, share: float, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.answers = np.where(random.random(truth.shape) < share, 1 - truth, truth)

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        rows = [int(item.id[1:]) for item in items]
        found: FloatArray = self.answers[np.ix_(rows, [KINDS.index(text) for text in features])]
        return found

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        sides = [[int(item.id[1:]) for item in side] for side in (contrast.positive, contrast.negative)]
        lead = self.answers[sides[0]].mean(axis=0) - self.answers[sides[1]].mean(axis=0)
        return [KINDS[k] for k in np.argsort(-lead)[:n]]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        return KINDS[:n]


@pytest.fixture(scope="module")
def three() -> Discovery:
    table, truth = made()
    who = [Knows(truth, 0.2, 0), Knows(truth, 0.05, 1), Knows(truth, 0.35, 2)]
    return discover(table, annotators=who, **SHORT)


def test_rates_of_three_are_found(three: Discovery) -> None:
    active = three.features[three.features["active"]]
    assert set(KINDS[:3]) <= set(active["text"])
    rates = [active[f"p_e {name}"].mean() for name in three.record.annotators]
    assert rates[1] < 0.12 < rates[0] < 0.27 < rates[2] < 0.45
    assert len(three.record.annotators) == 3
    assert (three.progress.state.error_rates.shape[1]) == 3


def test_the_bound_is_of_the_targets_given_the_answers(three: Discovery) -> None:
    """Without that, another question would cost what it takes to explain its answers."""
    gains = three.features.loc[three.features["active"], "gain"]
    assert (gains > 0).all()
    assert three.curve["bound"].iloc[-1] > three.curve["bound"].iloc[0]


def test_all_are_asked_about_new_items(three: Discovery) -> None:
    table, _ = made()
    answers = three.answers(table)
    assert answers.shape == (200, len(three.progress.active), 3)
    assert np.isfinite(answers).all()
    found = three.predict(table.drop(columns="y"), explain=True)
    parts = [record.text for record in three.progress.active]
    np.testing.assert_allclose(found["mean"], found["base"] + found[parts].sum(axis=1), atol=1e-6)
    assert np.corrcoef(found["mean"], table["y"])[0, 1] > 0.8


def test_three_are_better_than_the_worst_alone(three: Discovery) -> None:
    table, truth = made()
    alone = discover(table, Knows(truth, 0.35, 2), **SHORT)
    assert three.summary.r2 > alone.summary.r2 + 0.1


def test_report_checks_and_arviz(three: Discovery, tmp_path: Path) -> None:
    pytest.importorskip("arviz")
    data = three.to_inference_data()
    n_features = len(three.progress.active)
    assert data.posterior["p_e_by_annotator"].shape[2:] == (n_features, 3)
    assert data.constant_data["answers"].shape == (160, n_features, 3)
    assert np.isfinite(data.log_likelihood["y"].to_numpy()).all()
    three.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "it is of kind 0" in page
    assert f"{three.record.annotators[1]} " in page  # with its error rate


def tables(folder: Path, truth: FloatArray) -> list[str]:
    """The same as files."""
    names = []
    for seed, share in enumerate((0.2, 0.05)):
        known = pd.DataFrame(Knows(truth, share, seed).answers.astype(int), columns=KINDS)
        known.insert(0, "id", [f"k{row}" for row in range(len(truth))])
        known.to_csv(folder / f"{seed}.csv", index=False)
        names.append(f"table:{folder / str(seed)}.csv")
    return names


def labels(truth: FloatArray, rows: int, kinds: tuple[int, ...] = (0, 2)) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"id": f"k{row}", "question": KINDS[k], "answer": "yes" if truth[row, k] else "no"}
            for row in range(rows)
            for k in kinds
        ]
    )


@pytest.mark.parametrize("stop", [1, 3])
def test_a_run_that_was_killed_goes_on_to_the_same_end(tmp_path: Path, stop: int) -> None:
    table, truth = made(120)
    options = {**SHORT, "annotators": tables(tmp_path, truth), "gold": labels(truth, 20), "honest": 0.1}

    def kill(progress: Any, _: Any) -> None:
        if progress.step == stop:
            raise KeyboardInterrupt

    whole = discover(table, out=tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        discover(table, out=tmp_path / "parts", on_step=kill, **options)
    again = resume(tmp_path / "parts", table)
    for name in ("state.safetensors", "features.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    pd.testing.assert_frame_equal(again.features, whole.features)
    loaded = Discovery.load(tmp_path / "whole")
    pd.testing.assert_frame_equal(loaded.features, whole.features)
    pd.testing.assert_frame_equal(loaded.predict(table), whole.predict(table))


def test_labels_are_taken_as_the_truth(tmp_path: Path) -> None:
    table, truth = made()
    gold = labels(truth, 100)
    extra = pd.DataFrame([{"id": f"k{row}", "question": "is it odd", "answer": "yes"} for row in range(9)])
    with pytest.warns(match="gold: 'is it odd' is not among the questions of the run"):
        run = discover(table, Knows(truth, 0.25, 0), gold=pd.concat([gold, extra]), **SHORT)
    found = run.posterior
    for k in (0, 2):
        if (text := KINDS[k]) in found:
            known = [row for row in found.index if row < 100]
            np.testing.assert_allclose(found.loc[known, text], truth[known, k], atol=1e-3)
    assert {KINDS[0], KINDS[2]} & set(found.columns)
    rates = run.features.set_index("text")["p_e"]
    assert abs(rates[[KINDS[k] for k in (0, 2) if KINDS[k] in found]].mean() - 0.25) < 0.08


def test_what_cannot_be_is_refused_before_anybody_is_asked(tmp_path: Path) -> None:
    table, truth = made(60)

    class Never(Knows):
        def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
            raise AssertionError

        def propose(self, contrast: Contrast, n: int) -> list[str]:
            raise AssertionError

        def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
            raise AssertionError

    who = [Never(truth, 0.1, 0), Never(truth, 0.1, 0)]
    for more, said in (
        ({"inference": "svi"}, "inference: svi takes one annotator"),
        ({"error_rates": "asymmetric"}, "error_rates: asymmetric takes one annotator"),
        ({"annotators": [who[0], who[0]]}, "an object is there twice"),
        ({"varying": "text", "text": None}, "varying: groups take one annotator"),
    ):
        with pytest.raises(OptionError, match=said):
            discover(table, **{"annotators": who, **SHORT, **more})
    with pytest.raises(OptionError, match="workers: 0 leaves calls to genz work"):
        discover(table, annotators=["openai:a", "openai:b"], model_settings={"workers": 0}, **SHORT)
    for gold, said in (
        (pd.DataFrame({"id": ["k1"], "answer": ["yes"]}), "expected the columns id, question and answer"),
        (pd.DataFrame({"id": ["zz"], "question": ["q"], "answer": ["yes"]}), "no row labels a training item"),
        (pd.DataFrame({"id": ["k1", "k1"], "question": ["q", "q"], "answer": ["yes", "no"]}), "labelled yes and no"),
        (pd.DataFrame({"id": ["k1"], "question": ["q"], "answer": ["maybe"]}), "expected yes or no"),
    ):
        with pytest.raises(InputError, match=said):
            discover(table, who[0], gold=gold, **SHORT)


def test_combinations_have_the_answers_of_every_annotator() -> None:
    table, truth = made()
    who = [Knows(truth, 0.0, 0), Knows(truth, 0.3, 1)]
    both = truth[:, 0] * truth[:, 1]
    table["y"] = 2.0 * both + 0.2 * np.random.default_rng(0).normal(size=len(table))
    run = discover(table, annotators=who, gold=labels(truth, 10, (0,)), **{**SHORT, "combine": 2})
    text = next(record.text for record in run.progress.active if " AND " in record.text or " OR " in record.text)
    place = [record.text for record in run.progress.active].index(text)
    each = run.answers(table)[:, place]
    assert 0.1 < (each[:, 0] != each[:, 1]).mean() < 0.6
    assert min((each[:, 0] != both).mean(), (each[:, 0] == both).mean()) == 0
    rates = run.features.set_index("text").loc[text]
    assert rates[f"p_e {run.record.annotators[0]}"] < 0.05 < rates[f"p_e {run.record.annotators[1]}"]


def test_a_run_from_somebody_else_does_not_run_their_code(tmp_path: Path) -> None:
    table, truth = made(60)
    discover(table, out=tmp_path / "run", annotators=tables(tmp_path, truth), **SHORT)
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    content["annotators"][1] = "theirs:Model"
    path.write_text(json.dumps(content))
    with pytest.raises(RunDirectoryError, match="is not known as a run of yours"):
        Discovery.load(tmp_path / "run").predict(table.assign(text=lambda t: "new " + t["text"]))
