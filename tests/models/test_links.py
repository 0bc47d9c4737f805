"""Links one by one; what all of them must do is in the loops over LINKS."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from genz_ppl.inference import isolated
from genz_ppl.models import LINKS, InteractionLink, LinearLink, NeuralLink
from genz_ppl.models.effects import pooling_of
from genz_ppl.models.links import Link, TrainingPlan

CLOSED = [name for name, kind in LINKS.items() if issubclass(kind, LinearLink)]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def randomised(link: Link) -> Link:
    with torch.no_grad():
        for position, parameter in enumerate(link.parameters()):
            parameter.copy_(numbers(*parameter.shape, seed=position))
    return link


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("n_covariates", [0, 2])
def test_link_keeps_leading_dimensions(name: str, n_covariates: int) -> None:
    with isolated(0):
        link = randomised(LINKS[name](3, 2, n_covariates)).eval()
        z, x = (numbers(5, 6, 3) > 0).double(), numbers(6, n_covariates, seed=1)
        together = link(z, x)
        assert together.shape == (5, 6, 2)
        assert together.dtype == torch.float64
        torch.testing.assert_close(together[3], link(z[3], x))
        torch.testing.assert_close(link.function()(z, x), together)


@pytest.mark.parametrize("name", LINKS)
def test_covariates_may_have_leading_dimensions_of_their_own(name: str) -> None:
    with isolated(0):
        link = randomised(LINKS[name](3, 2, 2)).eval()
        z, x = (numbers(4, 6, 3) > 0).double(), numbers(4, 6, 2, seed=1)
        together = link(z, x)
        for part, (features, covariates) in enumerate(zip(z, x, strict=True)):
            torch.testing.assert_close(together[part], link(features, covariates))


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("kept", [[], [2], [2, 0]])
@pytest.mark.parametrize("n_added", [0, 1, 2])
def test_added_columns_have_no_effect_and_kept_ones_keep_theirs(name: str, kept: list[int], n_added: int) -> None:
    with isolated(0):
        link = randomised(LINKS[name](3, 2, 2)).eval()
        changed = link.with_columns(kept, n_added).eval()
        assert type(changed) is type(link)
        assert changed.n_features == len(kept) + n_added
        z, x = (numbers(6, 3) > 0).double(), numbers(6, 2, seed=1)
        # A removed column counts as its neutral value: one half for the neural link, zero for those linear in z.
        neutral = torch.full_like(z, 0.5 if name == "neural" else 0.0)
        neutral[:, kept] = z[:, kept]
        for fill in (0.0, 1.0):
            added = torch.full((6, n_added), fill, dtype=torch.float64)
            torch.testing.assert_close(changed(torch.cat([z[:, kept], added], dim=1), x), link(neutral, x))
        before = changed(torch.cat([z[:, kept], added], dim=1), x).detach().clone()
        with torch.no_grad():
            for parameter in link.parameters():
                parameter.add_(1.0)
        torch.testing.assert_close(changed(torch.cat([z[:, kept], added], dim=1), x), before)


@pytest.mark.parametrize("name", LINKS)
def test_fresh_link_is_of_the_same_make_and_forgets(name: str) -> None:
    plan = TrainingPlan(epochs=7)
    with isolated(0):
        link = randomised(LINKS[name](3, 2, 1, plan))
        fresh = link.fresh()
        assert type(fresh) is type(link)
        assert fresh.training_plan == plan
        shapes = {key: value.shape for key, value in link.named_parameters()}
        assert {key: value.shape for key, value in fresh.named_parameters()} == shapes
        assert not any(torch.equal(old, new) for old, new in zip(link.parameters(), fresh.parameters(), strict=True))
        z, x = (numbers(50, 3) > 0).double(), numbers(50, 1, seed=1)
        assert float(fresh.eval()(z, x).detach().abs().max()) < 1.0


def test_linear_link_by_hand() -> None:
    with isolated(0):
        link = LinearLink(2, 1, 1)
        with torch.no_grad():
            link.weights.copy_(torch.tensor([[2.0], [3.0]]))
            link.intercept.fill_(10.0)
            link.covariate_weights.fill_(100.0)
        z, x = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double(), torch.tensor([[0.5], [-1.0]]).double()
        assert link(z, x).flatten().tolist() == [62.0, -85.0]


@pytest.mark.parametrize("n_covariates", [0, 1, 3])
def test_interaction_link_is_the_sum_it_says(n_covariates: int) -> None:
    with isolated(0):
        link = randomised(InteractionLink(3, 2, n_covariates))
        z, x = numbers(5, 3, seed=1), numbers(5, n_covariates, seed=2)
        found = link(z, x).detach()
        weights, products = link.weights.detach(), link.interactions.detach()
        intercept, slopes = link.intercept.detach(), link.covariate_weights.detach()
    assert products.shape == (3, n_covariates, 2)
    for t, d in itertools.product(range(5), range(2)):
        expected = float(intercept[d])
        expected += sum(float(z[t, k] * weights[k, d]) for k in range(3))
        expected += sum(float(x[t, p] * slopes[p, d]) for p in range(n_covariates))
        expected += sum(float(z[t, k] * x[t, p] * products[k, p, d]) for k in range(3) for p in range(n_covariates))
        assert float(found[t, d]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n_covariates", [0, 2])
@pytest.mark.parametrize("name", CLOSED)
def test_links_linear_in_the_features_say_how(name: str, n_covariates: int) -> None:
    with isolated(0):
        link = randomised(LINKS[name](3, 2, n_covariates))
        assert isinstance(link, LinearLink)
        z, x = numbers(5, 3, seed=1), numbers(5, n_covariates, seed=2)
        effects = torch.einsum("tm,kmd->tkd", link.modifiers(x), link.coefficients())
        expected = link.intercept + x @ link.covariate_weights + torch.einsum("tk,tkd->td", z, effects)
        torch.testing.assert_close(link(z, x), expected)
        other = link.fresh()
        other.set_solution(link.coefficients(), link.intercept, link.covariate_weights)
        assert all(torch.equal(first, second) for first, second in zip(link.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("name", LINKS)
def test_prior_of_the_parameters_is_a_normal_one(name: str) -> None:
    """`penalty` is relative to its mode, and for links that are linear in z what `ridge` says of the coefficients."""
    with isolated(0):
        link = randomised(LINKS[name](3, 2, 2))
        found, names = link.penalty().detach(), set(link.priors())
        assert found.shape == ()
        assert names == ({"interactions"} if name == "interaction" else set())
        assert (float(found) < 0) == bool(names)
        if isinstance(link, LinearLink):
            ridge, coefficients = link.ridge(), link.coefficients()
            assert (ridge is not None) == bool(names)
            cost = 0.0 if ridge is None else 0.5 * float((ridge.unsqueeze(2) * coefficients**2).sum().detach())
            assert float(found) == pytest.approx(-cost, rel=1e-12)
        with torch.no_grad():
            for parameter in link.parameters():
                parameter.zero_()
        assert float(link.penalty().detach()) == 0.0
        assert all(link.prior_spread(key) > 0 for key, _ in link.named_parameters())


@pytest.mark.parametrize("kind", [LinearLink, InteractionLink])
def test_group_effects_have_a_prior_and_no_products(kind: type[LinearLink]) -> None:
    """One covariate of its own and two groups: columns [x, group 1, group 2, group 1 times x, group 2 times x]."""
    with isolated(0):
        pooling = pooling_of(torch.tensor([0.5, 0.2], dtype=torch.float64), 2)
        link = randomised(kind(3, 2, 5, pooling=pooling))
        assert isinstance(link, LinearLink)
        assert link.modifiers(numbers(5, 5)).shape[1] == (2 if kind is InteractionLink else 1)
        columns, effects = link.covariate_weights.detach(), link.group_effects().detach()
        assert torch.equal(effects, torch.stack([columns[[1, 3]], columns[[2, 4]]]))
        density = stats.norm(0.0, np.array([[0.5], [0.2]])).logpdf
        prior = link.priors()["group_effects"]
        log_prob = float(prior.distribution.log_prob(prior.value).detach())
        assert log_prob == pytest.approx(density(effects.numpy()).sum(), rel=1e-12)
        products = 50 * float(link.interactions.detach().square().sum()) if kind is InteractionLink else 0.0
        expected = (density(effects.numpy()) - density(0.0)).sum() - products
        assert float(link.penalty().detach()) == pytest.approx(expected, rel=1e-9)
        spread = torch.as_tensor(link.prior_spread("covariate_weights")).flatten().tolist()
        assert spread == pytest.approx([1.0, 0.5, 0.5, 0.2, 0.2])
        for other in (link.fresh(), link.with_columns([0, 2], 1)):
            assert other.pooling is not None
            assert torch.equal(other.pooling, pooling)
        assert torch.equal(link.with_columns([2], 0).covariate_weights, link.covariate_weights)


def test_products_are_held_near_zero() -> None:
    with isolated(0):
        link = randomised(InteractionLink(3, 2, 2))
        density = stats.norm(0.0, link.prior_spread("interactions")).logpdf
        expected = density(link.interactions.detach().numpy()) - density(0.0)
        assert float(link.penalty().detach()) == pytest.approx(expected.sum(), rel=1e-9)


def test_dropout_only_while_training() -> None:
    with isolated(0):
        link = NeuralLink(3, 2)
        z, x = (numbers(50, 3) > 0).double(), torch.zeros(50, 0, dtype=torch.float64)
        link.train()
        assert not torch.equal(link(z, x), link(z, x))
        link.eval()
        assert torch.equal(link(z, x), link(z, x))


def test_half_written_links_say_what_is_missing() -> None:
    class Blank(Link):
        pass

    value = torch.zeros(2, 1, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"Blank must define forward\(z, covariates\)"):
        Blank(1, 1)(value, value)
    with pytest.raises(TypeError, match=r"Blank must define with_columns\(kept, n_added\)"):
        Blank(1, 1).with_columns([], 1)
