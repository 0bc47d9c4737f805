"""Discovery while a guide is in training: the hook, the curve it marks, and runs that are stopped and resumed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.mine.hook import MiningHook
from genz_ppl.discovery.run.mining import MiningRun
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.guided.svi import Training, TrainingOptions
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.strategies import Guided
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.settings import DiscoverSettings

QUICK: dict[str, Any] = {"inference": "svi", "cycles": 1, "add": 3, "cut": 1, "refit_steps": 3}


@pytest.mark.slow
def test_a_guide_in_training_finds_what_made_the_target(items: Items, tmp_path: Path) -> None:
    run = discover(items, out=tmp_path / "run", **QUICK)
    texts = set(run.features.loc[run.features["active"], "text"])
    assert "colour is red" in texts
    assert texts & {"size is at least 5", "size is less than 5"}
    curve = run.curve
    assert curve["event"].iloc[0] == "start"
    assert curve["event"].iloc[-1] == "final"
    assert (curve["event"] == "add").sum() >= 2
    added = curve[curve["event"] == "add"]
    assert added["bound"].iloc[-1] > curve["bound"].iloc[0] + 20  # the marks come after the epochs that follow a change
    assert run.curve["test_error"].iloc[-1] < 0.5 * run.curve["test_error"].iloc[0]
    again = Discovery.load(tmp_path / "run")
    pd.testing.assert_frame_equal(again.features, run.features)


class Stopping(RulesModel):
    """Is interrupted at its n-th answer."""

    def __init__(self, at: int) -> None:
        self.left = at

    def answer(self, items: Sequence[Any], features: Sequence[str]) -> NDArray[np.float64]:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return super().answer(items, features)


@pytest.mark.slow
def test_a_stopped_training_goes_on_to_the_same_end(items: Items, tmp_path: Path, assert_same_run: Any) -> None:
    settings = {**QUICK, "updates": 1}
    discover(items, Stopping(0), out=tmp_path / "whole", **settings)
    with pytest.raises(KeyboardInterrupt):
        discover(items, Stopping(4), out=tmp_path / "run", **settings)
    assert Discovery.load(tmp_path / "run").status == "running"
    resume(tmp_path / "run", items, model=Stopping(0))
    assert_same_run(tmp_path / "run", tmp_path / "whole")


def test_replacing_a_feature_leaves_the_others_moments_alone(items: Items) -> None:
    settings = DiscoverSettings(inference="svi", refit_steps=1, algorithm="basic")
    problem = Problem(items, items.split_indices(0, 0.2), settings)
    with isolated(0):
        progress = MiningRun(problem).start()
        oracle_free = Cycle(settings, problem.train.items, problem.test.items, problem.data, _oracle(progress))
        seen: list[list[tuple[str, str]]] = []
        steps: Any = iter([oracle_free.add, oracle_free.add, lambda p: oracle_free.prune(p) + oracle_free.add(p)])

        def advance() -> list[tuple[str, str]]:
            progress.step += 1
            step = next(steps, None)
            return [("final", "")] if step is None else step(progress)

        training = Training(progress.state, oracle_free.training_data(progress), TrainingOptions())
        hook = MiningHook(progress, oracle_free, advance, seen.append, MiningRun(problem).seed_of, training)
        assert not hook(training.local, 0)
        training.run(None, hook)
    assert [[event for event, _ in events if event != "discard"] for events in seen] == [
        ["add"],
        ["add"],
        ["prune", "add"],
        ["final"],
    ]
    moments = progress.state.moments
    assert moments is not None
    assert len(moments.first["link.weights"]) == len(progress.active) == 2
    assert training.data.answers.shape[1] == 2


def _oracle(progress: Any) -> Any:
    from genz_ppl.discovery.mine.oracle import Oracle

    return Oracle(RulesModel(), progress.counters)


@pytest.mark.slow
@pytest.mark.parametrize("inference", ["structured", "enumeration"])
def test_other_strategies_discover_too(items: Items, inference: str) -> None:
    settings: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 0, "refit_steps": 2, "max_features": 3}
    run = discover(items, inference=inference, **settings)
    assert "colour is red" in set(run.features["text"])


@pytest.mark.slow
def test_bayesian_run_keeps_its_uncertainty(items: Items, tmp_path: Path) -> None:
    run = discover(items, out=tmp_path / "run", bayesian=True, **{**QUICK, "add": 1, "cut": 0})
    loaded = Discovery.load(tmp_path / "run", model=RulesModel())
    state = loaded.progress.state
    assert state.uncertainty is not None
    assert state.uncertainty.root.shape == (3, 3)  # one weight, the intercept and the scale
    pd.testing.assert_frame_equal(loaded.predict(items), run.predict(items))


def classes_frame(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.drop(columns="y")
    return frame.assign(kind=np.where(frame["colour"] == "red", "warm", np.where(frame["size"] >= 5, "large", "small")))


@pytest.mark.slow
def test_classes_by_name(frame: pd.DataFrame) -> None:
    items = Items.from_frame(classes_frame(frame), id="key", target="kind", classes=True)
    run = discover(items, likelihood="categorical", cycles=1, add=3, cut=0)
    assert run.curve["metric"].iloc[-1] == "cross_entropy"
    assert run.curve["test_error"].iloc[-1] < 0.5 * run.curve["test_error"].iloc[0]
    predicted = run.predict(items)
    assert list(predicted.columns) == ["most_probable", "probability_large", "probability_small", "probability_warm"]
    np.testing.assert_allclose(predicted.iloc[:, 1:].sum(axis=1), 1.0)
    assert (predicted["most_probable"].to_numpy() == classes_frame(frame)["kind"].to_numpy()).mean() > 0.9


@pytest.mark.slow
def test_counts(frame: pd.DataFrame) -> None:
    rate = np.exp(1.0 + 1.5 * (frame["colour"] == "red"))
    counted = frame.assign(y=np.random.default_rng(0).poisson(rate))
    run = discover(Items.from_frame(counted, id="key", target="y"), likelihood="poisson", cycles=1, add=2, cut=0)
    assert run.curve["metric"].iloc[-1] == "deviance"
    assert run.features["text"].iloc[0] in ("colour is red", "colour is one of blue, green")


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        ({"y": -1.0}, {"likelihood": "poisson"}, r"target 'y': expected counts .* got -1 for item 'k7'; correct it"),
        ({"y": 0.5}, {"likelihood": "bernoulli"}, r"target 'y': expected 0 or 1 for the bernoulli likelihood, got"),
    ],
)
def test_targets_that_do_not_suit_are_refused_by_name(
    frame: pd.DataFrame, change: dict[str, float], settings: dict[str, Any], message: str
) -> None:
    frame = frame.assign(y=np.arange(len(frame)) % 2.0)
    frame.loc[7, "y"] = change["y"]
    with pytest.raises(InputError, match=message):
        discover(Items.from_frame(frame, id="key", target="y"), **settings)


def test_options_that_exclude_each_other(items: Items) -> None:
    with pytest.raises(OptionError, match=r"^bayesian: auto fits weights and noise as points; choose inference svi"):
        discover(items, bayesian=True)
    with pytest.raises(OptionError, match=r"^batch_size: enumeration works on all items at once; choose inference svi"):
        discover(items, inference="enumeration", max_features=4, batch_size=10)
    with pytest.raises(OptionError, match=r"^batch_size: expected at most the 48 items there are to fit, got 49"):
        discover(items, inference="svi", batch_size=49)


def test_classes_for_a_likelihood_of_numbers_are_refused(frame: pd.DataFrame) -> None:
    items = Items.from_frame(classes_frame(frame), id="key", target="kind", classes=True)
    with pytest.raises(InputError, match="holds classes, and the gaussian likelihood is for numbers; choose bernoulli or"):
        discover(items, likelihood="gaussian")
    with pytest.raises(InputError, match=r"expected 0 or 1 for the bernoulli likelihood, got 'warm', one of 3 classes"):
        discover(items, likelihood="bernoulli")


def test_a_structured_free_feature_is_conditional_on_the_others_modes(items: Items) -> None:
    splits = {}
    for inference in ("coordinate", "structured"):
        settings = DiscoverSettings(inference=inference)
        problem = Problem(items, items.split_indices(0, 0.2), settings)
        with isolated(0):
            progress = MiningRun(problem).start()
            cycle = Cycle(settings, problem.train.items, problem.test.items, problem.data, _oracle(progress))
            cycle.add(progress)
            splits[inference] = cycle.split(progress, cycle.training_data(progress)).posterior
    assert not np.array_equal(splits["coordinate"], splits["structured"])
    assert np.mean((splits["coordinate"] > 0.5) == (splits["structured"] > 0.5)) > 0.8


def test_conditional_split_is_bayes_rule(items: Items) -> None:
    problem = Problem(items, items.split_indices(0, 0.2), DiscoverSettings())
    with isolated(0):
        progress = MiningRun(problem).start()
        cycle = Cycle(problem.settings, problem.train.items, problem.test.items, problem.data, _oracle(progress))
        cycle.add(progress)
        cycle.add(progress)
        data, state = cycle.training_data(progress), progress.state
        _, found = Guided(structured=True).split(state, data, 0)
        z = (state.posterior > 0.5).double()
        evidence = []
        for value, prior in ((1.0, state.prior(data.answers)[:, -1]), (0.0, 1 - state.prior(data.answers)[:, -1])):
            z[:, -1] = value
            location = state.model.link(z, data.covariates).detach()
            scale = state.model.likelihood.scale.detach()
            evidence.append(torch.exp(-0.5 * ((data.targets - location) / scale) ** 2)[:, 0] * prior)
    torch.testing.assert_close(
        found, evidence[0] / (evidence[0] + evidence[1]), rtol=0, atol=1e-4
    )  # a guide keeps error rates a little further from 0
