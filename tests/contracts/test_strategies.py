"""What every way of fitting promises, whatever link, likelihood and strategy it uses."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from genz_ppl.inference import FitResult, fit
from genz_ppl.models import LIKELIHOODS, LINKS, links
from genz_ppl.models.links import TrainingPlan
from genz_ppl.settings import GUIDED, INFERENCE_NAMES

Array = NDArray[np.float64]
ITEMS, FEATURES, TARGETS, COVARIATES, CLASSES, STEPS = 40, 3, 2, 1, 3, 2
COUNTS = ("poisson", "negative_binomial")


def quick_plan(epochs: int = 0, batch_size: int | None = None, learning_rate: float = 0.02) -> TrainingPlan:
    """Three epochs, whatever a link wants: promises do not depend on how well it is trained."""
    return TrainingPlan(3, batch_size, learning_rate)


def world(likelihood: str, missing: bool) -> tuple[Array, Array, Array]:
    """Answers, targets of the likelihood's kind and covariates."""
    random = np.random.default_rng(0)
    truth = (random.random((ITEMS, FEATURES)) < 0.5).astype(np.float64)
    covariates = random.normal(size=(ITEMS, COVARIATES))
    values = truth @ random.normal(size=(FEATURES, TARGETS)) * 2 + covariates
    if likelihood in COUNTS:
        targets = random.poisson(np.exp(0.5 * values)).astype(np.float64)
    elif likelihood == "bernoulli":
        targets = (random.random(values.shape) < 1 / (1 + np.exp(-values))).astype(np.float64)
    elif likelihood == "categorical":
        targets = np.digitize(values + random.normal(size=values.shape), [-1.0, 1.0]).astype(np.float64)
        targets[:CLASSES] = np.arange(CLASSES)[:, None]
    else:
        targets = values + 0.3 * random.normal(size=values.shape)
    answers = np.where(random.random(truth.shape) < 0.1, 1 - truth, truth)
    if missing:
        answers[random.random(answers.shape) < 0.2] = np.nan
        targets[CLASSES:][random.random((ITEMS - CLASSES, TARGETS)) < 0.2] = np.nan
        answers[5], targets[5] = np.nan, np.nan
    return answers, targets, covariates


def combinations() -> Iterator[tuple[dict[str, Any], bool]]:
    """Options of `fit`, and whether answers and targets are missing. Guides take their time: with complete data one link only."""
    for inference, link, likelihood in itertools.product(INFERENCE_NAMES, LINKS, LIKELIHOODS):
        options = {"inference": inference, "link": link, "likelihood": likelihood}
        yield options, True
        if inference not in GUIDED or link == "linear":
            yield options, False
        if link == "linear" and likelihood == "gaussian":
            for own in ("own_likelihoods:Gumbel", "own_likelihoods:contaminated"):
                yield {**options, "likelihood": own}, True
    # Where there is a closed form `auto` is exact, elsewhere it is the mode.
    yield {"expectation": "mode"}, True
    yield {"expectation": "mode", "link": "interaction", "likelihood": "student_t"}, True
    for link, likelihood in (("linear", "gaussian"), ("linear", "categorical"), ("neural", "gaussian")):
        yield {"expectation": "sample", "link": link, "likelihood": likelihood}, True
    for inference in GUIDED:
        yield {"inference": inference, "batch_size": 15}, True
    for link, likelihood in (("linear", "gaussian"), ("interaction", "poisson"), ("neural", "categorical")):
        yield {"inference": "svi", "bayesian": True, "link": link, "likelihood": likelihood}, True


def named(value: object) -> str:
    return "-".join(map(str, value.values())) if isinstance(value, dict) else ("missing" if value else "complete")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Problems this small run several times faster on one thread, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(("options", "missing"), list(combinations()), ids=named)
def test_contract(options: dict[str, Any], missing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "TrainingPlan", quick_plan)
    data = world(options.get("likelihood", "gaussian"), missing)
    copies = tuple(part.copy() for part in data)
    answers, targets, covariates = data
    result = fit(answers, targets, covariates, steps=STEPS, seed=3, **options)
    assert all(np.array_equal(now, then, equal_nan=True) for now, then in zip(data, copies, strict=True))
    check_shapes(result)
    again = fit(answers, targets, covariates, steps=STEPS, seed=3, **options)
    assert np.array_equal(again.posterior, result.posterior)
    assert again.bound == result.bound
    check_predictions(result, answers, targets, covariates)


def check_shapes(result: FitResult) -> None:
    assert result.posterior.shape == (ITEMS, FEATURES)
    assert result.posterior.dtype == np.float64
    assert np.all((result.posterior >= 0) & (result.posterior <= 1))
    assert result.error_rates.shape == (FEATURES,)
    assert np.all((result.error_rates > 0) & (result.error_rates < 1))
    assert result.bounds.shape == (STEPS,)
    assert np.all(np.isfinite(result.bounds))
    assert result.bound == result.bounds[-1] == pytest.approx(result.bound_terms.total)
    assert result.bound_terms.penalty <= 1e-9
    values = result.parameters
    assert all(np.all(np.isfinite(value)) for value in values.values())
    link, likelihood = result.settings.link, result.settings.likelihood
    width = TARGETS * CLASSES if likelihood == "categorical" else TARGETS
    if link != "neural":
        shapes = {"weights": (FEATURES, width), "intercept": (width,), "covariate_weights": (COVARIATES, width)}
        if link == "interaction":
            shapes["interactions"] = (FEATURES, COVARIATES, width)
        assert {name: values.pop(name).shape for name in shapes} == shapes
        own = {
            "student_t": {"scale", "degrees_of_freedom"},
            "low_rank_gaussian": {"scale", "factor"},
            "negative_binomial": {"base", "concentration"},
            "poisson": {"base"},
            "bernoulli": {"base"},
            "categorical": {"base"},
        }.get(likelihood, {"scale"})
        assert set(values) == own
        assert all(len(value) == (width if name == "base" else TARGETS) for name, value in values.items())


def check_predictions(result: FitResult, answers: Array, targets: Array, covariates: Array) -> None:
    likelihood = result.settings.likelihood
    width = TARGETS * CLASSES if likelihood == "categorical" else TARGETS
    mean = result.predict(answers, covariates)
    found = result.predict_interval(answers, covariates)
    for part in (mean, found.mean, found.sd, found.lower, found.upper):
        assert part.shape == (ITEMS, width)
        assert part.dtype == np.float64
        assert np.all(np.isfinite(part))
    np.testing.assert_array_equal(found.mean, mean)
    assert np.all(found.sd >= 0)
    assert np.all(found.lower <= found.upper)
    if likelihood in ("bernoulli", "categorical"):
        assert np.all((mean >= 0) & (mean <= 1))
    elif likelihood in COUNTS:
        assert np.all(mean > 0)
    else:
        assert np.all(found.sd > 0)
        assert np.all(found.lower < found.upper)
    if likelihood == "categorical":
        np.testing.assert_allclose(mean.reshape(ITEMS, TARGETS, CLASSES).sum(-1), 1)
    density = result.log_likelihood(answers, targets, covariates)
    assert density.shape == (ITEMS,)
    assert np.all(np.isfinite(density))
    assert np.all(density[np.isnan(targets).all(axis=1)] == pytest.approx(0))
    if likelihood in ("bernoulli", "categorical", *COUNTS):
        assert density.max() <= 1e-12


DETERMINISTIC = [("gaussian", "exact"), ("student_t", "exact"), ("gaussian", "mode"), ("poisson", "mode")]


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize(("likelihood", "expectation"), DETERMINISTIC)
def test_order_of_items_does_not_matter(likelihood: str, expectation: str, missing: bool) -> None:
    order = np.random.default_rng(1).permutation(ITEMS)
    answers, targets, covariates = world(likelihood, missing)
    options: Any = {"steps": 4, "likelihood": likelihood, "expectation": expectation}
    plain = fit(answers, targets, covariates, **options)
    shuffled = fit(answers[order], targets[order], covariates[order], **options)
    np.testing.assert_allclose(shuffled.posterior, plain.posterior[order], atol=1e-7)
    assert shuffled.bound == pytest.approx(plain.bound, rel=1e-8)


@pytest.mark.parametrize("expectation", ["exact", "mode", "sample"])
def test_answers_turned_around_turn_the_posterior_around(expectation: str) -> None:
    answers, targets, covariates = world("gaussian", missing=False)
    plain = fit(answers, targets, covariates, steps=8, expectation=expectation)
    turned = fit(1 - answers, targets, covariates, steps=8, expectation=expectation)
    sure = np.abs(plain.posterior - 0.5) > 0.45
    assert sure.mean() > 0.5
    if expectation == "exact":  # at the mode ties, and with samples chance, may fall differently
        np.testing.assert_allclose(turned.posterior, 1 - plain.posterior, atol=1e-6)
        np.testing.assert_allclose(turned.parameters["weights"], -plain.parameters["weights"], atol=1e-6)
    else:
        assert np.mean((turned.posterior > 0.5) == (plain.posterior <= 0.5)) > 0.9


def test_the_answers_are_used() -> None:
    answers, targets, covariates = world("gaussian", missing=False)
    noise = (np.random.default_rng(2).random(answers.shape) < 0.5).astype(np.float64)
    assert fit(answers, targets, covariates, steps=5).bound > fit(noise, targets, covariates, steps=5).bound + 20
