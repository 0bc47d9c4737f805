"""The bound of the two-item model and its gradient against enumeration and quadrature on a tiny case."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pyro
import pytest
import torch
from pyro.distributions import Normal
from torch import Tensor

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.fit import PairState
from genz_ppl.inference.pairs.side import Side
from genz_ppl.inference.pairs.training import EmbeddingTraining, PairTensors
from genz_ppl.inference.start import Scaling, build_model
from genz_ppl.inference.state import State
from genz_ppl.models import LIKELIHOODS
from genz_ppl.models.cooccurrence import CoOccurrence, PairBatch, SideInputs
from genz_ppl.models.features import prior_probability

SIZES, FEATURES, ENTRIES = (3, 2), (2, 1), 2
NODES = 9


def tiny(likelihood: str) -> tuple[PairState, PairTensors]:
    """3 rows with 2 features, 2 columns with 1, one dimension; everything at random, nothing fitted."""
    random = torch.Generator().manual_seed(3)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    sides, embeddings = [], []
    for size, features in zip(SIZES, FEATURES, strict=True):
        model = build_model(features, ENTRIES, 0)
        with torch.no_grad():
            model.link.weights.copy_(noise(features, ENTRIES))
            model.link.intercept.copy_(0.3 * noise(ENTRIES))
            model.likelihood.scale = noise(ENTRIES).abs() + 0.3
        answers = (torch.rand(size, features, generator=random) < 0.5).double()
        posterior = torch.rand(size, features, generator=random, dtype=torch.float64)
        scaling = Scaling(0.2 * noise(ENTRIES), noise(ENTRIES).abs() + 0.5, torch.zeros(0).double(), torch.ones(0).double())
        state = State(model, torch.full((features,), 0.1).double(), posterior)
        sides.append(Side(state, scaling, answers, torch.zeros(size, 0).double()))
        embeddings.append(Embedding(0.7 * noise(size, ENTRIES), noise(size, ENTRIES).abs() * 0.3 + 0.2))
    units = [(side.scaling.target_centre, side.scaling.target_spread) for side in sides]
    program = CoOccurrence(sides[0].state.model, sides[1].state.model, LIKELIHOODS[likelihood](1), *units)
    with torch.no_grad():
        program.offset.fill_(0.4)
    rows, columns = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 0, 1])
    values = torch.tensor([[1.0], [0.0], [1.0], [1.0], [0.0]], dtype=torch.float64)
    return PairState(program, sides[0], sides[1], (embeddings[0], embeddings[1]), []), PairTensors(rows, columns, values, *SIZES)


def enumerated(state: PairState, pairs: PairTensors, means: list[Tensor], log_sds: list[Tensor]) -> Tensor:
    """The bound of eq. 33 written out: every z by enumeration, every E over q(y) by a product rule of quadrature."""
    total = torch.zeros((), dtype=torch.float64)
    points, mass = np.polynomial.hermite_e.hermegauss(NODES)
    nodes, weights = torch.from_numpy(points), torch.from_numpy(mass / mass.sum())
    for side, mean, log_sd in zip(state.sides, means, log_sds, strict=True):
        link, scale, spread = side.state.model.link, side.state.model.likelihood.scale.detach(), side.scaling.target_spread
        for t in range(len(mean)):
            total = total + (0.5 * math.log(2 * math.pi * math.e) + log_sd[t]).sum()
            p = prior_probability(side.answers[t : t + 1], side.state.error_rates)[0]
            q = side.state.posterior[t]
            for bits in itertools.product((0.0, 1.0), repeat=len(q)):
                z = torch.tensor(bits, dtype=torch.float64)
                share = torch.prod(z * q + (1 - z) * (1 - q))
                ratio = torch.log(torch.prod(z * p + (1 - z) * (1 - p))) - torch.log(share)
                f = side.scaling.target_centre + spread * (z @ link.weights.detach() + link.intercept.detach())
                y = mean[t] + log_sd[t].exp() * nodes[:, None]
                density = Normal(f, scale * spread).log_prob(y)
                total = total + share * (ratio + (weights[:, None] * density).sum())
        total = total + side.state.model.penalty(side.state.error_rates)
    grid = torch.cartesian_prod(*[torch.arange(NODES)] * 4)
    joint = weights[grid].prod(1)
    for i, j, value in zip(pairs.rows, pairs.columns, pairs.values, strict=True):
        both = [means[a][t] + log_sds[a][t].exp() * nodes[grid[:, 2 * a : 2 * a + 2]] for a, t in ((0, i), (1, j))]
        location = state.model.offset.detach() + both[0][:, :1] + both[1][:, :1] + both[0][:, 1:] * both[1][:, 1:]
        total = total + (joint * state.model.likelihood(location).log_prob(value)[:, 0]).sum()
    return total


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli", "poisson"])
def test_the_estimated_bound_and_its_gradient_are_those_of_enumeration(likelihood: str) -> None:
    with isolated(0):
        state, pairs = tiny(likelihood)
        means = [one.mean.clone().requires_grad_(True) for one in state.embeddings]
        logs = [one.sd.log().requires_grad_(True) for one in state.embeddings]
        exact = enumerated(state, pairs, means, logs)
        slopes = torch.autograd.grad(exact, [*means, *logs])
        training = EmbeddingTraining(state.model, state.embeddings, "normal", 0.0, 1)
        guide, priors = training.guide, (state.rows.prior(), state.columns.prior())
        features = state.rows.feature_bound() + state.columns.feature_bound()
        whole = PairBatch(pairs.rows, pairs.columns, pairs.values, len(pairs))
        bounds, gradients = [], []
        parameters = [guide.row_mean, guide.column_mean, guide.row_log, guide.column_log]
        for _ in range(3000):
            for one in parameters:
                one.grad = None
            bounds.append(training.step(*priors, whole) + features)
            gradients.append(torch.cat([-one.grad.flatten() for one in parameters if one.grad is not None]))
    estimates = np.array(bounds)
    error = estimates.std() / math.sqrt(len(estimates))
    assert abs(estimates.mean() - float(exact.detach())) < 4.5 * error
    drawn = torch.stack(gradients)
    expected = torch.cat([slope.flatten() for slope in slopes])
    assert ((drawn.mean(0) - expected).abs() < 4.5 * drawn.std(0) / math.sqrt(len(drawn)) + 1e-9).all()
    assert estimates.std() > 0  # a bound without draws could not have been wrong


def test_minibatches_estimate_the_bound_of_all_pairs() -> None:
    with isolated(0):
        state, pairs = tiny("gaussian")
        training = EmbeddingTraining(state.model, state.embeddings, "point", 0.0, 1)
        priors = (state.rows.prior(), state.columns.prior())
        whole = training.step(*priors, PairBatch(pairs.rows, pairs.columns, pairs.values, len(pairs)))
        parts = [
            training.step(*priors, PairBatch(pairs.rows[[k]], pairs.columns[[k]], pairs.values[[k]], len(pairs)))
            for k in range(len(pairs))
        ]
    assert np.mean(parts) == pytest.approx(whole, abs=1e-9)


def test_the_program_samples_every_site_of_both_sides() -> None:
    with isolated(0):
        state, pairs = tiny("poisson")
        inputs = [SideInputs(side.answers, side.covariates) for side in state.sides]
        trace = pyro.poutine.trace(state.model).get_trace(*inputs, PairBatch(pairs.rows, pairs.columns, None, len(pairs)))
        assert {"rows/p_e", "rows/z", "rows/y", "columns/p_e", "columns/z", "columns/y", "x"} <= set(trace.nodes)
        assert trace.nodes["x"]["value"].shape == (5, 1)
        y = [
            centre + spread * trace.nodes[f"{name}/y"]["value"]
            for name, (centre, spread) in (("rows", state.model.row_units), ("columns", state.model.column_units))
        ]
        location = state.model.location(y[0][pairs.rows], y[1][pairs.columns])
        assert torch.equal(trace.nodes["x"]["fn"].base_dist.rate, state.model.likelihood.rate(location))
