"""The local expectation estimator: value, gradient and its noise against sums over all 2^K values of z."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch import Tensor
from written_out import (
    LIKELIHOODS,
    all_values,
    check_unbiased,
    estimates,
    gradients,
    mean_field_bound,
    parameters_of,
    structured_bound,
)

from genz_ppl.inference.guided.elbo import TraceLocalExpectation_ELBO, stratified
from genz_ppl.inference.guided.guides import MeanFieldGuide, StructuredGuide
from genz_ppl.inference.isolation import isolated


@pytest.mark.parametrize("n_features", [1, 3, 6])
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_value_and_gradients_are_unbiased(likelihood: str, n_features: int, world: Any) -> None:
    many = world(likelihood, n_features).repeated(30)
    guide = MeanFieldGuide(many.rates, many.posterior)
    found = estimates(TraceLocalExpectation_ELBO(), many, guide, 40)
    check_unbiased(found, mean_field_bound(many, guide), parameters_of(many.model, guide), 30)


@pytest.mark.parametrize("conditional", ["exact", "learned"])
@pytest.mark.parametrize(("likelihood", "n_features", "feature"), [("student_t", 1, 0), ("poisson", 3, 1), ("gaussian", 5, -1)])
def test_structured_value_and_gradients_are_unbiased(
    likelihood: str, n_features: int, feature: int, conditional: Any, world: Any
) -> None:
    many = world(likelihood, n_features).repeated(30)
    guide = StructuredGuide(many.rates, many.posterior, feature, conditional, many.model)
    if conditional == "learned":
        with torch.no_grad():
            guide.slopes.normal_()
    found = estimates(TraceLocalExpectation_ELBO(), many, guide, 40)
    check_unbiased(found, structured_bound(many, guide), parameters_of(many.model, guide), 30)


@pytest.mark.parametrize("link", ["linear", "interaction"])
@pytest.mark.parametrize("n_features", [1, 4])
def test_at_the_mean_a_quadratic_density_is_exact(link: str, n_features: int, world: Any) -> None:
    one = world("gaussian", n_features, link)
    guide = MeanFieldGuide(one.rates, one.posterior)
    parameters, bound = parameters_of(one.model, guide), mean_field_bound(one, guide)
    loss = TraceLocalExpectation_ELBO(others="mean").differentiable_loss(one.model, guide, *one.items)
    torch.testing.assert_close(-loss, bound, rtol=0, atol=1e-9)
    exact, found = gradients(parameters, bound), gradients(parameters, -loss)
    for name, expected in exact.items():
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-9)


def test_at_the_mean_a_conditional_of_two_features_is_exact(world: Any) -> None:
    one = world("poisson", 2)
    for conditional in ("exact", "learned"):
        guide = StructuredGuide(one.rates, one.posterior, 0, conditional, one.model)
        parameters, bound = parameters_of(one.model, guide), structured_bound(one, guide)
        loss = TraceLocalExpectation_ELBO(others="mean").differentiable_loss(one.model, guide, *one.items)
        torch.testing.assert_close(-loss, bound, rtol=0, atol=1e-9)
        exact, found = gradients(parameters, bound), gradients(parameters, -loss)
        for name, expected in exact.items():
            torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_variance_of_gradients_is_a_tenth_of_the_score_functions(likelihood: str, world: Any) -> None:
    one = world(likelihood, 6, n_items=20)
    guide = MeanFieldGuide(one.rates, one.posterior)

    def variance(elbo: Any, draws: int) -> dict[str, float]:
        parts = {"all": "", "guide": "Guide", "model": "GenZ"}
        found = estimates(elbo, one, guide, draws)
        del found["value"]
        spread = {name: float(gradient.var(0).sum()) for name, gradient in found.items()}
        return {part: sum(value for name, value in spread.items() if key in name) for part, key in parts.items()}

    local, score = variance(TraceLocalExpectation_ELBO(), 80), variance(Trace_ELBO(), 160)
    # A variance from 80 draws is right to about 16 %; over many entries to less.
    for part, allowed in (("all", 0.1 / 1.5), ("guide", 0.1 / 1.5), ("model", 0.1)):
        assert local[part] < allowed * score[part], part


def test_draws_for_the_clamps_are_each_from_q() -> None:
    # Features x items; those of 0, 1 and an exact number of strata, too.
    q = torch.tensor([[0.07, 0.5, 1.0], [0.6, 2 / 3, 0.0], [0.93, 0.2, 0.5], [0.4, 1 / 3, 0.8]]).double()
    n, times = len(q), 4000
    with isolated(0):
        draws = torch.stack([stratified(q) for _ in range(times)])  # (times, clamps, items, features)
        assert stratified(q[:1]).shape == (1, 3, 1)
    assert draws.shape == (times, n, 3, n)
    for clamp in range(n):
        others = [j for j in range(n) if j != clamp]
        assert float(draws[:, clamp, :, clamp].abs().max()) == 0
        drawn, chance = draws[:, clamp][..., others], q[others].T
        # The 8 assignments of the others have the probabilities of a product: marginals and independence in one.
        for value in all_values(n - 1):
            check_frequency((drawn == value).all(-1), torch.where(value == 1, chance, 1 - chance).prod(-1))
        # So have pairs of entries of different items.
        for t, s in itertools.combinations(range(3), 2):
            both = drawn[:, t].unsqueeze(-1) * drawn[:, s].unsqueeze(-2)
            check_frequency(both == 1, chance[t].unsqueeze(-1) * chance[s])
    # Over the clamps they are stratified: the number of ones is the expected one, rounded up or down.
    count, expected = draws.sum(1), (n - 1) * q.T
    assert float((count - expected).abs().max()) < 1
    # Products of features, averaged over the clamps, are uncorrelated between items.
    products = (draws[..., 0] * draws[..., 3]).mean(1)[:, :2]
    assert bool((products.std(0) > 0.05).all())
    assert abs(float(torch.corrcoef(products.T)[0, 1])) < 5 / math.sqrt(times)


def test_order_of_draws_is_random_for_each_feature() -> None:
    times, n = 4000, 5
    with isolated(0):
        draws = torch.stack([stratified(torch.full((n, 1), 0.5).double()) for _ in range(times)])[:, :, 0]
    signs = 2 * draws[:, 2:, :2] - 1  # of features 0 and 1 in the other three clamps
    total = signs.prod(-1).sum(1)
    # Each feature is 1 in two of four draws, so signs in two draws have the covariance -1/3: 3 + 3 x 2 / 9 with random orders.
    expected = 3 + 6 / 9
    # The total is 1 or 3 in size, 3 with probability 1/3.
    error = math.sqrt((81 / 3 + 2 / 3 - expected**2) / times)
    assert abs(float(total.var()) - expected) < 5 * error


def check_frequency(happened: Tensor, probability: Tensor) -> None:
    """What happened, (times, ...), has this probability, (...), within five standard errors."""
    error = (probability * (1 - probability) / len(happened)).sqrt()
    assert bool(((happened.double().mean(0) - probability).abs() <= 5 * error + 1e-12).all())


def test_a_sum_over_features_has_no_noise() -> None:
    with isolated(0):
        logits, theta = torch.randn(5, 4).double().requires_grad_(), torch.randn(4).double().requires_grad_()

        def model() -> None:
            with pyro.plate("items", 5, dim=-1):
                z = pyro.sample("z", dist.Bernoulli(torch.full((5, 4), 0.3).double()).to_event(1))
                pyro.factor("f", torch.sin(theta * (1 + z)).sum(-1))

        def guide() -> None:
            with pyro.plate("items", 5, dim=-1):
                pyro.sample("z", dist.Bernoulli(logits=logits).to_event(1))

        q = torch.sigmoid(logits)
        density = (q * torch.sin(2 * theta) + (1 - q) * torch.sin(theta)).sum()
        divergence = (q * torch.log(q / 0.3) + (1 - q) * torch.log((1 - q) / 0.7)).sum()
        loss = TraceLocalExpectation_ELBO().differentiable_loss(model, guide)
        parameters = {"logits": logits, "theta": theta}
        torch.testing.assert_close(-loss, density - divergence, check_dtype=False)
        expected = gradients(parameters, density - divergence)
        for name, gradient in gradients(parameters, -loss).items():
            torch.testing.assert_close(gradient, expected[name])
