"""Parts of the two-item model: eq. 36, fold-in, predictions, and what happens at the edges of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro.distributions import Normal
from two_sides import make_world

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs import fit_cooccurrence
from genz_ppl.inference.pairs.embedding import Embedding, balanced, location_moments
from genz_ppl.inference.pairs.fit import schedule
from genz_ppl.inference.pairs.given_pairs import embedding_given_pairs
from genz_ppl.inference.pairs.prediction import pair_densities, pair_means, predict_pairs
from genz_ppl.inference.start import build_model
from genz_ppl.models import LIKELIHOODS
from genz_ppl.models.cooccurrence import CoOccurrence
from genz_ppl.settings import PairSettings
from genz_ppl.types import Pairs

SMALL: dict[str, Any] = {"dimensions": 2, "epochs": 8}


def normal(random: np.random.Generator, n_items: int, n_entries: int) -> Embedding:
    return Embedding(
        torch.from_numpy(random.normal(size=(n_items, n_entries))),
        torch.from_numpy(random.uniform(0.1, 0.5, (n_items, n_entries))),
    )


def program(likelihood: str, n_entries: int = 3) -> CoOccurrence:
    with isolated(0):
        model = CoOccurrence(build_model(0, n_entries, 0), build_model(0, n_entries, 0), LIKELIHOODS[likelihood](1))
        with torch.no_grad():
            model.offset.fill_(0.3)
    return model


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(0, 1), rows=st.integers(2, 9), columns=st.integers(2, 9))
def test_turned_embeddings_have_the_same_products_and_the_scales_of_eq_36(
    seed: int, alpha: float, rows: int, columns: int
) -> None:
    random = np.random.default_rng(seed)
    left, right = normal(random, rows, 3), normal(random, columns, 3)
    first, second = balanced(left, right, alpha)
    product = left.mean[:, 1:] @ right.mean[:, 1:].T
    assert torch.allclose(first.mean[:, 1:] @ second.mean[:, 1:].T, product, atol=1e-8)
    assert torch.equal(first.mean[:, 0], left.mean[:, 0])
    singular = torch.linalg.svdvals(product)[:2]
    assert torch.allclose(first.mean[:, 1:].norm(dim=0), singular**alpha, atol=1e-6)
    assert torch.allclose(second.mean[:, 1:].norm(dim=0), singular ** (1 - alpha), atol=1e-6)


def test_moments_of_the_location_are_those_of_draws() -> None:
    random = np.random.default_rng(0)
    left, right = normal(random, 4, 3), normal(random, 4, 3)
    mean, variance = location_moments(left, right)
    y = [one.mean.numpy() + one.sd.numpy() * random.standard_normal((200_000, 4, 3)) for one in (left, right)]
    drawn = y[0][..., 0] + y[1][..., 0] + (y[0][..., 1:] * y[1][..., 1:]).sum(-1)
    assert np.allclose(drawn.mean(0), mean.numpy(), atol=4.5 * np.sqrt(variance.numpy().max() / 200_000))
    assert np.allclose(drawn.var(0), variance.numpy(), rtol=0.03)


def test_folding_in_gaussian_pairs_is_the_exact_posterior() -> None:
    random = np.random.default_rng(1)
    model, prior, other = program("gaussian"), normal(random, 2, 3), normal(random, 6, 3)
    with torch.no_grad():
        model.likelihood.scale = torch.tensor([0.7], dtype=torch.float64)
    items, others = torch.tensor([0, 0, 0, 0]), torch.tensor([0, 2, 3, 5])
    values = torch.from_numpy(random.normal(size=(4, 1)))
    folded = embedding_given_pairs(model, prior, items, others, values, other)
    design = np.column_stack([np.ones(4), other.mean[others, 1:]])
    precision = np.diag(prior.sd[0].numpy() ** -2) + design.T @ design / 0.49
    left = values[:, 0].numpy() - 0.3 - other.mean[others, 0].numpy()
    right = prior.mean[0].numpy() * prior.sd[0].numpy() ** -2 + design.T @ left / 0.49
    assert np.allclose(folded.mean[0], np.linalg.solve(precision, right))
    assert np.allclose(folded.sd[0], np.sqrt(np.diag(np.linalg.inv(precision))))
    assert torch.allclose(folded.mean[1], prior.mean[1])  # no pairs: prior only
    assert torch.allclose(folded.sd[1], prior.sd[1])


@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson"])
def test_folding_in_other_pairs_finds_the_mode(likelihood: str) -> None:
    random = np.random.default_rng(2)
    model, prior, other = program(likelihood), normal(random, 3, 3), normal(random, 20, 3)
    prior = Embedding(prior.mean, torch.full_like(prior.sd, 2.0))
    items, others = torch.arange(60) % 3, torch.arange(60) % 20
    values = torch.from_numpy(random.integers(0, 2, (60, 1)).astype(float))
    folded = embedding_given_pairs(model, prior, items, others, values, other)
    at = folded.mean.clone().requires_grad_(True)
    density = Normal(prior.mean, prior.sd).log_prob(at).sum()
    density = density + model.likelihood(model.location(at[items], other.mean[others])).log_prob(values).sum()
    (slope,) = torch.autograd.grad(density, at)
    assert slope.abs().max() < 1e-5


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "poisson"])
def test_predictions_agree_with_draws(likelihood: str) -> None:
    random = np.random.default_rng(3)
    model = program(likelihood)
    left, right = normal(random, 5, 3), normal(random, 4, 3)
    first, second = torch.tensor([0, 1, 4]), torch.tensor([3, 0, 2])
    mean = pair_means(model, left, right, first, second)
    found = predict_pairs(model, left, right, first, second, draws=20_000)
    assert np.allclose(found.mean, mean)
    drawn = predict_pairs(model, left, right, first, second, draws=20_000, seed=1)
    assert np.allclose(found.sd, drawn.sd, rtol=0.1)
    assert (found.lower <= mean).all()
    assert (mean <= found.upper).all()
    if likelihood == "bernoulli":  # probabilities of both outcomes
        densities = [pair_densities(model, left, right, first, second, torch.full((3, 1), x).double()) for x in (0.0, 1.0)]
        assert np.allclose(np.exp(densities).sum(0), 1)
        assert np.allclose(np.exp(densities[1]), mean)


@pytest.mark.slow
def test_an_item_without_pairs_has_the_prior_of_its_features() -> None:
    world = make_world(0, sizes=(40, 30), density=0.5)
    pairs = world.pairs()
    result = fit_cooccurrence(pairs.select(pairs.rows > 0), *world.answers, dimensions=2, epochs=60)
    prior = result.state.rows.prior()
    assert np.allclose(result.rows.mean[0], prior.location[0], atol=0.5 * float(prior.scale.max()))
    assert (result.rows.sd[0] > result.rows.sd[1:].mean(0)).all()


@pytest.mark.slow
def test_a_side_with_one_item_and_an_undescribed_side() -> None:
    world = make_world(0, sizes=(40, 30), density=0.8)
    pairs = world.pairs()
    one = pairs.select(pairs.columns == 0)
    single = Pairs(one.rows, one.columns, one.values, 40, 1)
    result = fit_cooccurrence(single, world.answers[0], None, **SMALL)
    assert result.columns.mean.shape == (1, 3)
    assert np.isfinite(result.bounds).all()
    assert result.columns.posterior.shape == (1, 0)


@pytest.mark.slow
@pytest.mark.parametrize("link", ["interaction", "neural"])
@pytest.mark.parametrize("guide", ["normal", "point"])
def test_other_links_and_points(link: str, guide: str) -> None:
    world = make_world(0, sizes=(60, 40), density=0.6)
    result = fit_cooccurrence(world.pairs(), *world.answers, link=link, guide=guide, **SMALL)
    assert result.affinity is None
    assert result.bounds[-1] > result.bounds[0]
    new = result.new_rows(world.answers[0][:5])
    prediction = result.predict([0, 1], [2, 3], new_rows=new)
    assert np.isfinite(prediction.sd).all()
    assert (result.rows.sd > 0).all()


@pytest.mark.slow
def test_equal_seeds_give_equal_bits() -> None:
    world = make_world(0, sizes=(30, 20), density=0.5)
    first, second = (fit_cooccurrence(world.pairs(), *world.answers, **SMALL) for _ in range(2))
    assert np.array_equal(first.rows.mean, second.rows.mean)
    assert np.array_equal(first.bounds, second.bounds)


def test_few_pairs_are_seen_as_often_as_they_need() -> None:
    assert schedule(10_000_000, PairSettings()) == (65536, 10)
    assert schedule(100, PairSettings()) == (13, 150)
    assert schedule(1, PairSettings(epochs=3)) == (1, 3)


def test_faults_are_told() -> None:
    pairs = Pairs(np.array([0, 1]), np.array([0, 0]), np.array([1.0, 0.5]), 2, 1)
    with pytest.raises(InputError, match=r"0 or 1 for the bernoulli likelihood, got 0\.5"):
        fit_cooccurrence(pairs, likelihood="bernoulli")
    with pytest.raises(InputError, match="row_answers: expected 2 rows, one an item, got 3"):
        fit_cooccurrence(pairs, np.ones((3, 1)))
    with pytest.raises(InputError, match="there are no pairs"):
        fit_cooccurrence(pairs.select([]))
    with pytest.raises(InputError, match="row positions from 0 to 0, found 0 to 1"):
        fit_cooccurrence(Pairs(pairs.rows, pairs.columns, pairs.values, 1, 1))
    with pytest.raises(InputError, match="finite values, found nan"):
        fit_cooccurrence(Pairs(pairs.rows, pairs.columns, np.array([1.0, np.nan]), 2, 1))
    with pytest.raises(OptionError, match="fit: expected one of joint, decoupled"):
        fit_cooccurrence(pairs, fit="both")
