"""The Pyro program itself: its sites, and the densities of z (eq. 5) and y (eq. 9)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from torch import Tensor

from genz_ppl.inference import isolated
from genz_ppl.models import LIKELIHOODS, FeatureLayer, GaussianLikelihood, GenZ, IsotropicLikelihood, LinearLink, NeuralLink
from genz_ppl.models.genz import observed_at

ITEMS, FEATURES, TARGETS, COVARIATES = 7, 4, 3, 2


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def linear_model(likelihood: type[GaussianLikelihood] = GaussianLikelihood) -> GenZ:
    link = LinearLink(FEATURES, TARGETS, COVARIATES)
    with torch.no_grad():
        link.weights.copy_(numbers(FEATURES, TARGETS, seed=1))
        link.intercept.copy_(numbers(TARGETS, seed=2))
        link.covariate_weights.copy_(numbers(COVARIATES, TARGETS, seed=3))
    model = GenZ(FeatureLayer(FEATURES), link, likelihood(TARGETS))
    model.likelihood.update(numbers(ITEMS, TARGETS, seed=4) ** 2, torch.ones(ITEMS, TARGETS, dtype=torch.bool))
    return model


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    answers = (numbers(ITEMS, FEATURES, seed=5) > 0).double()
    answers[2, 1] = answers[4, 3] = float("nan")
    return answers, numbers(ITEMS, COVARIATES, seed=6), numbers(ITEMS, TARGETS, seed=7)


def trace_of(model: GenZ, *arguments: Any, **clamped: Tensor) -> Any:
    return poutine.trace(poutine.condition(model, data=clamped)).get_trace(*arguments)


def test_sites_shapes_and_plates() -> None:
    with isolated(0):
        nodes = trace_of(linear_model(), *inputs()).nodes
    samples = {name: node for name, node in nodes.items() if node["type"] == "sample" and name not in ("features", "items")}
    assert set(samples) == {"p_e", "z", "y"}
    assert samples["p_e"]["value"].shape == (FEATURES,)
    assert [frame.name for frame in samples["p_e"]["cond_indep_stack"]] == ["features"]
    for name, event in (("z", FEATURES), ("y", TARGETS)):
        assert samples[name]["fn"].batch_shape == (ITEMS,)
        assert samples[name]["fn"].event_shape == (event,)
        assert samples[name]["value"].shape == (ITEMS, event)
        assert [(frame.name, frame.size) for frame in samples[name]["cond_indep_stack"]] == [("items", ITEMS)]
    assert samples["y"]["is_observed"]
    assert not samples["z"]["is_observed"]


def test_log_density_of_z_is_equation_5() -> None:
    answers, covariates, targets = inputs()
    rates = torch.tensor([0.05, 0.1, 0.2, 0.4], dtype=torch.float64)
    z = (numbers(ITEMS, FEATURES, seed=8) > 0).double()
    with isolated(0):
        nodes = trace_of(linear_model(), answers, covariates, targets, z=z, p_e=rates).nodes
    found = nodes["z"]["fn"].log_prob(z)
    for t in range(ITEMS):
        by_hand = 0.0
        for k in range(FEATURES):
            h, rate = float(answers[t, k]), float(rates[k])
            by_hand += math.log(0.5) if math.isnan(h) else math.log(1 - rate if h == float(z[t, k]) else rate)
        assert float(found[t]) == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("likelihood", [GaussianLikelihood, IsotropicLikelihood])
def test_log_density_of_y_is_equation_9(likelihood: type[GaussianLikelihood]) -> None:
    answers, covariates, targets = inputs()
    targets[1, 0] = targets[3, 2] = float("nan")
    targets[5] = float("nan")
    z = (numbers(ITEMS, FEATURES, seed=8) > 0).double()
    with isolated(0):
        model = linear_model(likelihood)
        site = trace_of(model, answers, covariates, targets, z=z).nodes["y"]
        found, scale = site["fn"].log_prob(site["value"]), model.likelihood.scale.detach()
    assert bool((scale == scale[0]).all()) == (likelihood is IsotropicLikelihood)
    location = (z.numpy() @ numbers(FEATURES, TARGETS, seed=1).numpy()) + numbers(TARGETS, seed=2).numpy()
    location += covariates.numpy() @ numbers(COVARIATES, TARGETS, seed=3).numpy()
    error = (targets.numpy() - location) / scale.numpy()
    terms = -0.5 * error**2 - np.log(scale.numpy()) - 0.5 * math.log(2 * math.pi)
    by_hand = np.nansum(terms, axis=1)
    np.testing.assert_allclose(found.detach().numpy(), by_hand, atol=1e-12)
    assert float(found.detach()[5]) == 0


def test_loss_is_the_mean_negative_log_density_of_a_target_entry() -> None:
    answers, covariates, targets = inputs()
    targets[1, 0] = float("nan")
    z = (numbers(ITEMS, FEATURES, seed=8) > 0).double()
    with isolated(0):
        model = linear_model()
        site = trace_of(model, answers, covariates, targets, z=z).nodes["y"]
        expected = -site["fn"].log_prob(site["value"]).sum() / (ITEMS * TARGETS)
        found = model.loss(model.link(z, covariates), targets)
    assert found.item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("missing", [False, True])
def test_observation_integrates_missing_entries_out(name: str, missing: bool, case: Any) -> None:
    """Several assignments at once, and the filled targets are never NaN."""
    made = case(name, n_items=ITEMS, missing=0.3 if missing else 0.0)
    with isolated(0):
        width = made.likelihood.n_locations
        model = GenZ(FeatureLayer(FEATURES), LinearLink(FEATURES, width), made.likelihood)
        with torch.no_grad():
            model.link.weights.copy_(numbers(FEATURES, width, seed=1))
        z, nothing = (numbers(2, ITEMS, FEATURES, seed=8) > 0).double(), torch.zeros(ITEMS, 0, dtype=torch.float64)
        found = model.log_density(z, nothing, made.targets)
        _, filled = observed_at(made.likelihood, model.link(z, nothing), made.targets)
        assert found.shape == (2, ITEMS)
        assert filled is not None
        assert not bool(torch.isnan(filled).any())
        for part in range(2):
            expected = made.likelihood.distribution(model.link(z[part], nothing), made.observed).log_prob(made.filled)
            torch.testing.assert_close(found[part], expected)
        empty = made.targets.clone()
        empty[2] = float("nan")
        assert model.log_density(z, nothing, empty)[:, 2].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_batches_are_scaled_up_to_all_items(name: str, case: Any) -> None:
    made = case(name, n_items=6)
    with isolated(0):
        model = GenZ(FeatureLayer(2), LinearLink(2, made.likelihood.n_locations), made.likelihood)
        answers, nothing = (numbers(6, 2) > 0).double(), torch.zeros(6, 0, dtype=torch.float64)
        trace = poutine.trace(model).get_trace(answers, nothing, made.targets, batch_size=3)
        trace.compute_log_prob()
    site, rows = trace.nodes["y"], trace.nodes["items"]["value"]
    assert site["value"].shape == (3, 3)
    assert torch.equal(site["value"], made.targets[rows])
    assert site["scale"] == pytest.approx(2.0)
    assert trace.nodes["z"]["value"].shape == (3, 2)
    torch.testing.assert_close(site["log_prob_sum"], 2 * site["fn"].log_prob(site["value"]).sum())


def test_targets_are_sampled_when_not_given() -> None:
    answers, covariates, _ = inputs()
    with isolated(0):
        model = linear_model()
        first = model(answers, covariates)
        second = model(answers, covariates)
    assert first.shape == (ITEMS, TARGETS)
    assert not torch.equal(first, second)


def test_program_runs_without_features() -> None:
    with isolated(0):
        model = GenZ(FeatureLayer(0), LinearLink(0, TARGETS), GaussianLikelihood(TARGETS))
        empty = torch.zeros(ITEMS, 0, dtype=torch.float64)
        assert model(empty, empty).shape == (ITEMS, TARGETS)


@pytest.mark.parametrize("link", [LinearLink, NeuralLink])
def test_two_models_of_one_class_share_no_parameters(link: Callable[..., Any]) -> None:
    answers, covariates, targets = inputs()

    def build() -> GenZ:
        return GenZ(FeatureLayer(FEATURES), link(FEATURES, TARGETS, COVARIATES), GaussianLikelihood(TARGETS))

    with isolated(0):
        first, second = build(), build()
        seen = torch.ones(ITEMS, TARGETS, dtype=torch.bool)
        first.likelihood.update(torch.full_like(targets, 4.0), seen)
        second.likelihood.update(torch.full_like(targets, 9.0), seen)
        for model in (first, second):  # parameters would collide when the programs run
            model(answers, covariates, targets)
        before = [parameter.detach().clone() for parameter in second.parameters()]
        with torch.no_grad():
            for parameter in first.parameters():
                parameter.add_(1.0)
        for model in (first, second):
            model(answers, covariates, targets)
        assert all(torch.equal(old, new) for old, new in zip(before, second.parameters(), strict=True))
        assert float(second.likelihood.scale.detach()[0]) == pytest.approx(3)
        # A model of another size must not meet the first one's parameters either.
        larger = GenZ(FeatureLayer(FEATURES + 2), link(FEATURES + 2, TARGETS, COVARIATES), GaussianLikelihood(TARGETS))
        more = torch.cat([answers, answers[:, :2]], dim=1)
        assert larger(more, covariates, targets).shape == (ITEMS, TARGETS)
        assert not list(pyro.get_param_store().keys())
