"""What a run leaves about classes and counts: metrics.json, its summary, its predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover
from genz_ppl.data import Schema
from genz_ppl.diagnostics.class_measures import CLASS_MEASURES
from genz_ppl.diagnostics.summary import Summary
from genz_ppl.discovery.prediction_table import prediction_table
from genz_ppl.discovery.run import problem
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.prediction import Prediction, log_predictive_density
from genz_ppl.models import LIKELIHOODS

QUICK: dict[str, Any] = {"cycles": 1, "add": 1, "cut": 0, "refit_steps": 2, "final_steps": 2, "proposals": 2}


def targets_of(kind: str, frame: pd.DataFrame) -> Any:
    red, random = (frame["colour"] == "red").to_numpy(), np.random.default_rng(0)
    if kind == "negative_binomial":
        return random.poisson(np.where(red, 6.0, 2.0) * random.gamma(2.0, 0.5, len(frame)))
    words = np.where(red ^ (random.random(len(frame)) < 0.1), "warm", "cold")
    return words if kind == "bernoulli" else np.where(frame["size"] == 7, "strange", words)


def made(kind: str, frame: pd.DataFrame, out: Path) -> tuple[Discovery, Items, dict[str, Any]]:
    frame = frame.assign(y=targets_of(kind, frame))
    frame.loc[4, "y"] = None if kind != "negative_binomial" else np.nan
    items = Items.from_frame(frame, id="key", target="y", classes=kind != "negative_binomial")
    run = discover(items, likelihood=kind, out=out, **QUICK)
    return run, items, json.loads((out / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["bernoulli", pytest.param("categorical", marks=pytest.mark.slow)])
def test_a_run_on_classes(kind: str, frame: pd.DataFrame, tmp_path: Path) -> None:
    run, items, metrics = made(kind, frame, tmp_path / "run")
    names = ["cold", "warm"] if kind == "bernoulli" else ["cold", "strange", "warm"]
    split = items.split_indices(0, 0.2)
    columns = ["most_probable", *(f"probability_{name}" for name in names)]
    assert items.targets is not None
    for side, rows in (("train", split.train), ("test", split.test)):
        found, predicted = metrics[side], run.predict(items.take(rows))
        assert list(predicted.columns) == columns + (["mean", "sd", "lower", "upper"] if kind == "bernoulli" else [])
        np.testing.assert_allclose(predicted[columns[1:]].sum(axis=1), 1.0)
        assert len(np.unique(predicted["probability_warm"])) == 2  # by one question: ties are ties
        there = ~np.isnan(items.targets[rows, 0])
        came = np.array(names)[items.targets[rows[there], 0].astype(int)]
        part = predicted[there]
        right = part["most_probable"].to_numpy() == came
        chances = np.array([part[f"probability_{name}"].iloc[row] for row, name in enumerate(came)])
        assert found["accuracy"] == pytest.approx(right.mean())
        assert found["log_loss"] == pytest.approx(-np.log(chances).mean())
        assert found["log_loss"] == pytest.approx(found["log_loss" if kind == "bernoulli" else "cross_entropy"])
        assert set(CLASS_MEASURES) < set(found)
        matrix = found["confusion"]["y"]
        assert matrix["classes"] == names
        assert matrix["counts"] == [
            [int(((came == one) & (part["most_probable"] == other)).sum()) for other in names] for one in names
        ]
        curves = found["calibration"]["y"]
        assert list(curves) == names[1:] if kind == "bernoulli" else names
        assert all(sum(point[2] for point in curve) == len(came) for curve in curves.values())
    summary = metrics["summary"]
    assert summary["accuracy"] == pytest.approx(metrics["test"]["accuracy"])
    assert summary["auc"] == pytest.approx(metrics["test"]["auc"])
    right, guessed = (f"{100 * summary[name]:.3g} %" for name in ("accuracy", "guess_accuracy"))
    assert run.summary.line().endswith(f"; accuracy {right}, {guessed} by guessing; AUC {summary['auc']:.3g}")
    assert Discovery.load(tmp_path / "run").summary == run.summary
    older = {name: value for name, value in summary.items() if name not in ("accuracy", "guess_accuracy", "auc")}
    assert "accuracy" not in Summary.from_dict(older).line()


def test_a_class_that_is_not_among_the_test_items(frame: pd.DataFrame, tmp_path: Path) -> None:
    words = np.where(frame["size"] >= 5, "warm", "cold")
    words[:3], side = "rare", np.where(np.arange(60) < 50, "train", "test")
    items = Items.from_frame(frame.assign(y=words, side=side), id="key", target="y", classes=True, split="side")
    discover(items, likelihood="categorical", out=tmp_path / "run", **QUICK)
    found = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert found["confusion"]["y"]["counts"][1] == [0, 0, 0]
    assert found["balanced_accuracy"] == 1.0
    assert found["auc"] == 1.0


def test_a_run_on_counts(frame: pd.DataFrame, tmp_path: Path) -> None:
    run, items, metrics = made("negative_binomial", frame, tmp_path / "run")
    assert list(run.predict(items).columns) == ["mean", "sd", "lower", "upper"]
    for found in (metrics["train"], metrics["test"]):
        assert 0 < found["negative_binomial_deviance"] < found["deviance"]
        table = found["rootogram"]["y"]
        assert sum(table["observed"]) == pytest.approx(sum(table["expected"]))
    assert sum(metrics["train"]["rootogram"]["y"]["observed"]) == 47  # one has no count
    assert "accuracy" not in metrics["summary"]


def test_predictions_of_several_classes_have_one_form() -> None:
    def table(likelihood: str, mean: list[list[float]], labels: Any, names: tuple[str, ...]) -> pd.DataFrame:
        values = np.array(mean)
        with isolated(0):
            kind = LIKELIHOODS[likelihood].sized(len(names), 3)
        schema = Schema(target=names, classes=labels)
        return prediction_table(Prediction(*[values] * 4), pd.RangeIndex(len(values)), schema, kind)

    labels = (("a", "b", "c"), ("no", "yes"))
    found = table("categorical", [[0.2, 0.5, 0.3, 0.9, 0.1, 0.0]], labels, ("x", "y"))
    chances = {"x_probability_a": 0.2, "x_probability_b": 0.5, "x_probability_c": 0.3}
    assert found.iloc[0].to_dict() == {
        **{"x_most_probable": "b", **chances},
        **{"y_most_probable": "no", "y_probability_no": 0.9, "y_probability_yes": 0.1},
    }
    two = table("bernoulli", [[0.25], [0.75]], (("no", "yes"),), ("y",))
    assert two["most_probable"].tolist() == ["no", "yes"]
    assert two["probability_no"].tolist() == [0.75, 0.25]
    assert two["probability_yes"].tolist() == two["mean"].tolist() == [0.25, 0.75]
    assert list(table("bernoulli", [[0.25]], (), ("y",)))[:3] == ["most_probable", "probability_0", "probability_1"]


def test_while_a_run_goes_on_many_items_are_measured_by_a_sample(
    frame: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    exact = log_predictive_density

    def counted(state: Any, scaling: Any, answers: Any, *rest: Any) -> Any:
        sizes.append(len(answers))
        return exact(state, scaling, answers, *rest)

    monkeypatch.setattr(problem, "log_predictive_density", counted)
    monkeypatch.setattr(problem, "MANY", 31)
    monkeypatch.setattr(problem, "MEASURED", 30)
    items = Items.from_frame(frame.assign(y=(frame["colour"] == "red") + frame["size"] / 10), id="key", target="y")
    seen: list[dict[str, Any]] = []

    def noted(*_: Any) -> None:
        seen.append(json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8")))

    discover(items, out=tmp_path / "run", on_step=noted, **QUICK)
    split = items.split_indices(0, 0.2)
    whole = [len(split.train), len(split.test)]
    shown = [min(30, size) for size in whole]
    assert sizes == [*(shown * (len(sizes) // 2 - 1)), *whole]
    assert len(sizes) > 2
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    assert "measured_items" not in metrics["train"]
    assert {one["train"].get("measured_items") for one in seen[:-1]} == {30}
