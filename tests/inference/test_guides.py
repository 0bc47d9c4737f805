"""The guides: their sites, where they start, and the conditional of one feature given the others."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.nn import PyroSample
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.guided.conditional import ConditionalBernoulli
from genz_ppl.inference.guided.elbo import TraceLocalExpectation_ELBO
from genz_ppl.inference.guided.guides import MeanFieldGuide, StructuredGuide
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import build_model
from genz_ppl.models import GenZ
from genz_ppl.models.features import prior_probability

Items = tuple[Tensor, Tensor, Tensor]
Problem = tuple[GenZ, Items, Tensor, Tensor]


@pytest.fixture
def problem() -> Iterator[Callable[..., Problem]]:
    """A maker of a Gaussian model with random parameters, items, error rates (K,) and a posterior (T, K)."""

    def make(n_features: int = 3, n_items: int = 6, link: str = "linear") -> Problem:
        generator = torch.Generator().manual_seed(n_features)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        answers, targets = (normal(n_items, n_features) > 0).double(), normal(n_items, 2)
        answers[0, :1] = targets[1, 0] = targets[2] = float("nan")
        model = build_model(n_features, 2, 1, link=link)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(normal(*parameter.shape))
        rates = torch.linspace(0.1, 0.4, n_features, dtype=torch.float64)
        return model, (answers, normal(n_items, 1), targets), rates, torch.sigmoid(normal(n_items, n_features))

    with isolated(0):
        yield make


def log_joint(model: GenZ, items: Items, rates: Tensor, z: Tensor) -> Tensor:
    """log p(y, z | h) of every item for z, (S, 1 or T, K): (S, T). Written out, for a linear Gaussian model."""
    answers, covariates, targets = items
    loc = z @ model.link.weights + covariates @ model.link.covariate_weights + model.link.intercept
    scale = model.likelihood.scale
    density = -0.5 * ((targets - loc) / scale) ** 2 - torch.log(scale * math.sqrt(2 * math.pi))
    right = torch.where(answers == z, 1 - rates, rates)
    right = torch.where(torch.isnan(answers), torch.full_like(right, 0.5), right)
    return (torch.nan_to_num(density).sum(-1) + right.log().sum(-1)).detach()


def all_values(n_features: int) -> Tensor:
    """(2^K, 1, K)."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n_features)), dtype=torch.float64).unsqueeze(1)


def sites_of(guide: Any, *arguments: Any) -> dict[str, Any]:
    trace = poutine.trace(guide).get_trace(*arguments)
    return {name: node for name, node in trace.nodes.items() if node["type"] == "sample" and not site_is_subsample(node)}


def quadratic(z: Tensor) -> Tensor:
    """Log-odds of the second of four values given the others."""
    return 1.5 * z[..., 0] - 2 * z[..., 2] * z[..., 3] + 0.3


def test_conditional_bernoulli_is_a_distribution() -> None:
    logits = torch.tensor([[0.3, 99.0, -1.0, 0.5], [2.0, 0.0, 0.1, -0.7]]).double()
    q = ConditionalBernoulli(logits, 1, quadratic, validate_args=True)
    assert (q.batch_shape, q.event_shape) == ((2,), (4,))
    values = all_values(4)
    probability = q.log_prob(values.expand(-1, 2, -1)).exp()
    assert probability.shape == (16, 2)
    torch.testing.assert_close(probability.sum(0), torch.ones(2).double())
    # One of them by hand: z = (1, 1, 0, 1), item 0.
    by_hand = torch.sigmoid(torch.tensor([0.3, 1.8, 1.0, 0.5]).double()).prod()
    torch.testing.assert_close(probability[0b1101, 0], by_hand)
    with isolated(0):
        drawn = q.sample((20_000,))
    counts = (drawn.unsqueeze(0) == values.unsqueeze(1)).all(-1).double().mean(1)
    error = (probability * (1 - probability) / 20_000).sqrt()
    assert bool(((counts - probability).abs() < 5 * error).all())
    with pytest.raises(ValueError, match="support"):
        q.log_prob(torch.full((2, 4), 0.5).double())


def test_conditional_bernoulli_takes_more_batch_dimensions() -> None:
    logits = torch.tensor([[0.3, 0.0, -1.0, 0.5], [2.0, 0.0, 0.1, -0.7]]).double()
    q = ConditionalBernoulli(logits, -3, quadratic)
    larger = q.expand(torch.Size([3, 2]))
    assert (larger.batch_shape, larger.event_shape, larger.feature) == ((3, 2), (4,), 1)
    with isolated(0):
        assert larger().shape == (3, 2, 4)
        z = q.sample((5, 3))
    assert z.shape == (5, 3, 2, 4)
    torch.testing.assert_close(q.log_prob(z)[4, 1], q.log_prob(z[4, 1]))


def test_mean_field_guide_starts_at_the_posterior(problem: Any) -> None:
    _, items, rates, posterior = problem()
    posterior[0, 0], posterior[1, 0] = 0.0, 1.0
    guide = MeanFieldGuide(rates, posterior)
    torch.testing.assert_close(guide.posterior, posterior, rtol=0, atol=1e-6)
    torch.testing.assert_close(guide.posterior_of(*items), guide.posterior)
    assert guide.logits is not None
    assert float(guide.logits.detach().abs().max()) == 15.0
    sites = sites_of(guide, *items)
    torch.testing.assert_close(sites["p_e"]["value"].detach(), rates)
    assert [frame.name for frame in sites["p_e"]["cond_indep_stack"]] == ["features"]
    assert [(frame.name, frame.dim) for frame in sites["z"]["cond_indep_stack"]] == [("items", -1)]
    torch.testing.assert_close(sites["z"]["fn"].base_dist.probs.detach(), guide.posterior)


def test_mean_field_guide_without_a_posterior_starts_at_the_prior(problem: Any) -> None:
    model, items, rates, _ = problem()
    guide = MeanFieldGuide(rates, None)
    with pytest.raises(InputError, match="posterior: the guide was made without one"):
        _ = guide.posterior
    guide(*items)
    torch.testing.assert_close(guide.posterior, prior_probability(items[0], rates))
    TraceLocalExpectation_ELBO().loss_and_grads(model, guide, *items)
    assert guide.logits is not None
    assert guide.logits.grad is not None


def test_error_rates_stay_inside(problem: Any) -> None:
    _, _, _, posterior = problem()
    guide = MeanFieldGuide(torch.tensor([0.0, 1.0, 0.3]).double(), posterior)
    rates = guide.error_rates.detach()
    assert bool(((rates > 1e-6) & (rates < 1 - 1e-6)).all())
    torch.testing.assert_close(rates, torch.tensor([0.0, 1.0, 0.3]).double(), rtol=0, atol=3e-6)


def test_guides_without_features_have_no_error_rates(problem: Any) -> None:
    _, items, rates, posterior = problem(0)
    for guide in (MeanFieldGuide(rates, posterior), MeanFieldGuide(rates, None, sparse=True)):
        sites = sites_of(guide, *items)
        assert set(sites) == {"z"}
        assert sites["z"]["value"].shape == (6, 0)
        assert guide.posterior_of(*items).shape == (6, 0)


@pytest.mark.parametrize("make", [MeanFieldGuide, StructuredGuide])
def test_other_items_than_the_guides_are_refused(make: Any, problem: Any) -> None:
    model, items, rates, posterior = problem()
    options = {"model": model} if make is StructuredGuide else {}
    with pytest.raises(InputError, match="posterior: expected 6 x 3"):
        make(rates, posterior[:, :2], **options)
    guide = make(rates, posterior, **options)
    with pytest.raises(InputError, match=r"answers: expected 6 x 3 .* got 4 x 3; use the items"):
        guide(*(part[:4] for part in items))


@pytest.mark.parametrize("batch_size", [None, 2])
def test_sparse_gradients_are_the_dense_ones(batch_size: int | None, problem: Any) -> None:
    model, items, rates, posterior = problem()
    found = []
    for sparse in (False, True):
        guide = MeanFieldGuide(rates, posterior, sparse=sparse)
        elbo = TraceLocalExpectation_ELBO(num_particles=2)
        elbo.loss(model, guide, *items)
        pyro.set_rng_seed(5)
        elbo.loss_and_grads(model, guide, *items, batch_size)
        assert guide.logits is not None
        assert guide.logits.grad is not None
        assert guide.logits.grad.is_sparse == sparse
        logits = guide.logits
        found.append(guide.logits.grad)
    torch.testing.assert_close(found[1].to_dense(), found[0])
    rows = found[1].coalesce().indices()[0]
    assert len(rows) <= (6 if batch_size is None else 2 * batch_size)  # two particles, a batch each
    optimiser = torch.optim.SparseAdam([logits], lr=0.1)
    before = guide.posterior
    optimiser.step()  # type: ignore[no-untyped-call]
    changed = (guide.posterior != before).any(1)
    assert sorted(rows.tolist()) == torch.nonzero(changed)[:, 0].tolist()


def test_exact_conditional_is_bayes_rule(problem: Any) -> None:
    model, items, rates, posterior = problem()
    for feature in (0, 1, -1):
        guide = StructuredGuide(rates, posterior, feature, "exact", model)
        q = guide.distribution(None, items, rates)
        values = all_values(3).expand(-1, 6, -1)
        yes, no = values.clone(), values.clone()
        yes[..., feature], no[..., feature] = 1.0, 0.0
        expected = log_joint(model, items, rates, yes) - log_joint(model, items, rates, no)
        torch.testing.assert_close(q.conditional_logit(values), expected)
        guide(*items)
        torch.testing.assert_close(guide.conditional(values[3]), torch.sigmoid(expected[3]))


def test_exact_conditional_given_a_draw_of_the_weights(problem: Any) -> None:
    model, items, rates, posterior = problem()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_()
    guide, expected = (StructuredGuide(rates, posterior, 1, "exact", source) for source in (model, other))
    z = posterior.round()
    own = guide.distribution(None, items, rates).conditional_logit(z)
    guide.given(dict(other.named_parameters()))
    drawn = guide.distribution(None, items, rates)
    guide.given(None)
    torch.testing.assert_close(drawn.conditional_logit(z), expected.distribution(None, items, rates).conditional_logit(z))
    guide.given(dict(other.named_parameters()))
    guide(*items)
    torch.testing.assert_close(guide.conditional(z), torch.sigmoid(own))
    assert float((drawn.conditional_logit(z) - own).abs().max()) > 0.1


@pytest.mark.parametrize("conditional", ["exact", "learned"])
def test_posterior_sums_the_conditional_out(conditional: Any, problem: Any) -> None:
    model, items, rates, posterior = problem()
    guide = StructuredGuide(rates, posterior, 1, conditional, model)
    if conditional == "learned":
        torch.testing.assert_close(guide.posterior, posterior)
        with torch.no_grad():
            guide.slopes.copy_(torch.tensor([2.0, -1.0]))
    guide(*items)
    log_q = guide.distribution(None, items, rates).log_prob(all_values(3).expand(-1, 6, -1)).detach()
    expected = (log_q.exp().unsqueeze(-1) * all_values(3)).sum(0)
    torch.testing.assert_close(guide.posterior, expected)
    torch.testing.assert_close(guide.posterior[:, [0, 2]], posterior[:, [0, 2]])


def test_posterior_of_many_features_is_drawn_the_same_each_time(problem: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, items, rates, posterior = problem(12)
    guide = StructuredGuide(rates, posterior, -1, "exact", model)
    guide(*items)
    drawn = guide.posterior
    torch.testing.assert_close(guide.posterior, drawn, rtol=0, atol=0)
    monkeypatch.setattr("genz_ppl.inference.guided.conditional.MOST_SUMMED", 11)
    summed = guide.posterior
    torch.testing.assert_close(drawn[:, :11], summed[:, :11])
    error = 0.5 / math.sqrt(256)  # at most, for a number between 0 and 1
    assert 0 < float((drawn[:, 11] - summed[:, 11]).abs().max()) < 5 * error
    monkeypatch.setattr("genz_ppl.inference.guided.conditional.CHUNK", 6 * 12 * 100)
    torch.testing.assert_close(guide.posterior, summed)


def test_two_features_reach_the_evidence(problem: Any) -> None:
    model, items, rates, _ = problem(2)
    joint = log_joint(model, items, rates, all_values(2))
    exact = (torch.softmax(joint, 0).unsqueeze(-1) * all_values(2)).sum(0)
    guide = StructuredGuide(rates, exact, 0, "exact", model)
    evidence = torch.logsumexp(joint, 0).sum() + dist.Beta(torch.tensor(1.0).double(), 9.0).log_prob(rates).sum()
    elbo = TraceLocalExpectation_ELBO()
    assert -elbo.loss(model, guide, *items) == pytest.approx(float(evidence), rel=1e-9)
    torch.testing.assert_close(guide.posterior, exact)
    elbo.loss_and_grads(model, guide, *items)
    assert guide.logits.grad is not None
    torch.testing.assert_close(guide.logits.grad, torch.zeros(6, 1).double(), rtol=0, atol=1e-9)


def test_model_of_the_structured_guide_is_not_part_of_it(problem: Any) -> None:
    model, items, rates, posterior = problem()
    guide = StructuredGuide(rates, posterior, 1, "exact", model)
    guide(*items)
    assert {name for name, _ in guide.named_parameters()} == {"logits", "error_rates_unconstrained"}
    assert set(sites_of(guide, *items)) == {"p_e", "z"}
    names = poutine.trace(guide).get_trace(*items).nodes
    assert not [name for name in names if name.startswith(("link", "likelihood"))]


def test_exact_conditional_is_read_without_dropout(problem: Any) -> None:
    model, items, rates, posterior = problem(link="neural")
    guide = StructuredGuide(rates, posterior, 1, "exact", model)
    q = guide.distribution(None, items, rates)
    z = posterior.round()
    torch.testing.assert_close(q.conditional_logit(z), q.conditional_logit(z), rtol=0, atol=0)
    assert all(part.training for part in model.modules())


def test_structured_options_that_do_not_fit(problem: Any) -> None:
    model, items, rates, posterior = problem()
    with pytest.raises(OptionError, match="feature: expected the position of one of 3 features, got 3"):
        StructuredGuide(rates, posterior, 3, "exact", model)
    with pytest.raises(OptionError, match=r"feature: .* 0 features"):
        StructuredGuide(rates[:0], posterior[:, :0], -1, "learned")
    with pytest.raises(OptionError, match="conditional: expected exact or learned, got 'both'"):
        StructuredGuide(rates, posterior, 0, "both", model)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="model: expected one"):
        StructuredGuide(rates, posterior, 0)
    guide = StructuredGuide(rates, posterior, 0, "exact", model)
    with pytest.raises(InputError, match=r"items: .* run it on the items first"):
        _ = guide.posterior
    with pytest.raises(InputError, match="targets: expected values"):
        guide(*items[:2])
    model.link.weights = PyroSample(dist.Normal(torch.zeros(3, 2).double(), 1.0).to_event(2))
    with pytest.raises(NotImplementedError, match=r"it samples \['weights'\]"):
        StructuredGuide(rates, posterior, 0, "exact", model)
