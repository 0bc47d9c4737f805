"""Weights, products and group effects as sites of the Pyro program: held at the link's parameters, or latent."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Predictive, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal
from pyro.infer.mcmc.util import initialize_model
from pyro.optim import Adam
from scipy import stats
from torch import Tensor, nn

from genz_ppl.inference import isolated
from genz_ppl.inference.engines.potential import potential_of_program
from genz_ppl.inference.guided.enumerated import EnumeratedGenZ
from genz_ppl.inference.start import build_model
from genz_ppl.inference.state import Data
from genz_ppl.models import BayesianGenZ, FeatureLayer, GaussianLikelihood, GenZ, InteractionLink, LinearLink, released
from genz_ppl.models.bayesian import flattened
from genz_ppl.models.effects import indicators, pooling_of, with_effects
from genz_ppl.models.links import Link
from genz_ppl.models.priors import Prior

ITEMS, FEATURES, TARGETS, GROUPS = 40, 2, 2, 3
SPREAD = torch.tensor([0.7, 0.3], dtype=torch.float64)
SITES = {"weights": (FEATURES, TARGETS), "interactions": (FEATURES, 1, TARGETS), "group_effects": (GROUPS, 2, TARGETS)}


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def model_with_groups(kind: type[LinearLink] = InteractionLink) -> GenZ:
    """Random parameters; weights with spreads 0.5 and 2. Call inside `isolated`."""
    link = kind(FEATURES, TARGETS, 1 + GROUPS + GROUPS, pooling=pooling_of(SPREAD, GROUPS))
    link.shrinkage = torch.tensor([4.0, 0.25], dtype=torch.float64)
    with torch.no_grad():
        for place, parameter in enumerate(link.parameters()):
            parameter.copy_(numbers(*parameter.shape, seed=place))
    return GenZ(FeatureLayer(FEATURES), link, GaussianLikelihood(TARGETS))


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Answers, covariates as `with_effects` makes them, of which the last item's group is unknown, and targets."""
    labels = [f"group {t % GROUPS}" for t in range(ITEMS - 1)] + ["another"]
    groups = indicators(labels, [f"group {g}" for g in range(GROUPS)])
    answers = (numbers(ITEMS, FEATURES, seed=5) > 0).double()
    return answers, with_effects(numbers(ITEMS, 1, seed=6), groups), numbers(ITEMS, TARGETS, seed=7)


def trace_of(program: Any, *given: Any) -> Any:
    trace = poutine.trace(program).get_trace(*given)
    trace.compute_log_prob()
    return trace


@pytest.mark.parametrize("kind", [GenZ, EnumeratedGenZ])
def test_the_program_has_them_as_observed_sites_with_their_normal_densities(kind: Any) -> None:
    with isolated(0):
        model = model_with_groups()
        nodes = trace_of(model if kind is GenZ else EnumeratedGenZ(model), *inputs()).nodes
    link: Any = model.link
    values = {"weights": link.weights, "interactions": link.interactions, "group_effects": link.group_effects()}
    spreads = {"weights": np.array([[0.5], [2.0]]), "interactions": 0.1, "group_effects": np.array([[0.7], [0.3]])}
    for name, shape in SITES.items():
        node = nodes[name]
        assert node["is_observed"]
        assert (node["fn"].batch_shape, node["fn"].event_shape) == ((), shape)
        assert torch.equal(node["value"], values[name])
        density = stats.norm(0, spreads[name]).logpdf(values[name].detach().numpy()).sum()
        assert float(node["log_prob"].detach()) == pytest.approx(density, rel=1e-12)
    assert "link_prior" not in nodes


def test_a_link_without_priors_has_none_and_empty_ones_are_no_sites() -> None:
    with isolated(0):
        link = InteractionLink(0, TARGETS, 1).shrunk()
        answers, covariates, targets = inputs()
        empty = trace_of(GenZ(FeatureLayer(0), link, GaussianLikelihood(TARGETS)), answers[:, :0], covariates[:, :1], targets)
        plain = trace_of(model_with_groups(LinearLink).plain(), answers, covariates, targets)
    assert not set(SITES) & set(empty.nodes)
    assert set(SITES) & set(plain.nodes) == {"group_effects"}


def test_weights_in_log_odds_have_a_wide_prior() -> None:
    with isolated(0):
        model = build_model(FEATURES, TARGETS, 0, likelihood="bernoulli")
        answers, _, targets = inputs()
        nodes = trace_of(model, answers, torch.zeros(ITEMS, 0).double(), (targets > 0).double()).nodes
    torch.testing.assert_close(nodes["weights"]["fn"].base_dist.scale, torch.full((FEATURES, TARGETS), 3.0, dtype=torch.float64))


class BentLink(Link):
    """y = z w + bend (z w)^2, with a narrow prior on the bend: what a user may add."""

    name = "bent"

    def __init__(self, n_features: int, n_targets: int) -> None:
        super().__init__(n_features, n_targets)
        self.slopes = nn.Parameter(torch.ones(n_features, n_targets).double())
        self.bend = nn.Parameter(torch.full((n_targets,), 0.3, dtype=torch.float64))

    def forward(self, z: Tensor, covariates: Tensor) -> Tensor:
        line = z @ self.slopes
        return line + self.bend * line**2

    def priors(self) -> dict[str, Prior]:
        return {"bend": Prior(self.bend, torch.tensor(0.2**-2, dtype=torch.float64))}


def test_what_a_link_of_ones_own_names_is_a_site_and_costs_what_its_density_falls() -> None:
    answers, _, targets = inputs()
    given = (answers, torch.zeros(ITEMS, 0).double(), targets)
    with isolated(0):
        link = BentLink(FEATURES, TARGETS)
        model = GenZ(FeatureLayer(FEATURES), link, GaussianLikelihood(TARGETS))
        held = trace_of(model, *given).nodes["bend"]
        bent = torch.full((TARGETS,), -1.0).double()
        moved = poutine.condition(released(model), data={"bend": bent, "z": answers})
        location = trace_of(moved, *given).nodes["y"]["fn"].base_dist.loc.detach()
        spread = Predictive(released(model), num_samples=500)(*given[:2])["bend"].std()
    assert float(held["log_prob"].detach()) == pytest.approx(TARGETS * stats.norm(0, 0.2).logpdf(0.3), rel=1e-9)
    assert float(link.penalty().detach()) == pytest.approx(-0.5 * TARGETS * (0.3 / 0.2) ** 2, rel=1e-9)
    assert float(torch.as_tensor(link.prior_spread("bend"))) == pytest.approx(0.2)
    line = answers.sum(1, keepdim=True).expand(-1, TARGETS)
    torch.testing.assert_close(location, line - line**2)
    assert float(spread) == pytest.approx(0.2, rel=0.15)


def test_released_they_are_drawn_from_their_priors_and_y_follows_from_the_draws() -> None:
    """The spread of y between draws is that of everything drawn: an item of no group has one share less of it."""
    answers, covariates, _ = inputs()
    with isolated(0):
        model, draws = model_with_groups(), 1000
        held = Predictive(model, num_samples=3)(answers, covariates)
        found = Predictive(released(model), num_samples=draws)(answers, covariates)
        after = trace_of(model, answers, covariates).nodes
    for name, spread in (("weights", [[0.5], [2.0]]), ("interactions", 0.1), ("group_effects", [[0.7], [0.3]])):
        drawn = found[name].reshape(draws, *SITES[name]).numpy()
        wanted = np.broadcast_to(spread, SITES[name])
        np.testing.assert_allclose(drawn.std(0), wanted, rtol=0.12)
        np.testing.assert_allclose(drawn.mean(0) / wanted, 0, atol=5 / draws**0.5)
        assert torch.equal(held[name][0], held[name][2])
        assert after[name]["is_observed"]
    z, x = found["z"], covariates[:, 0]
    link: Any = model.link
    values = {name: found[name].reshape(draws, *shape).unsqueeze(1) for name, shape in SITES.items()}
    location = link.intercept + x.unsqueeze(1) * link.covariate_weights[0] + (z.unsqueeze(-1) * values["weights"]).sum(2)
    location = location + x.unsqueeze(1) * (z.unsqueeze(-1) * values["interactions"].squeeze(3)).sum(2)
    for t in range(ITEMS - 1):
        effects = values["group_effects"][:, 0, t % GROUPS]
        location[:, t] += effects[:, 0] + x[t] * effects[:, 1]
    standardised = ((found["y"] - location) / model.likelihood.scale).detach()
    assert float(standardised.mean()) == pytest.approx(0, abs=0.02)
    assert float(standardised.std()) == pytest.approx(1, rel=0.02)


def exact_posterior_of_effects(model: GenZ, data: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of "group_effects" given z = the answers and everything else, (G, 2, D) each."""
    answers, covariates, targets = data
    link: Any = model.link
    with torch.no_grad():
        own = link.intercept + covariates[:, :1] @ link.covariate_weights[:1] + answers @ link.weights
        precision = pooling_of(SPREAD, GROUPS)[1:]
        design, rest = covariates[:, 1:], targets - own
        means, spreads = [], []
        for d, scale in enumerate(model.likelihood.scale):
            covariance = torch.linalg.inv(design.T @ design / scale**2 + torch.diag(precision))
            means.append(covariance @ design.T @ rest[:, d] / scale**2)
            spreads.append(covariance.diagonal().sqrt())
    order = torch.arange(2 * GROUPS).view(2, GROUPS).T
    return torch.stack(means, dim=-1)[order], torch.stack(spreads, dim=-1)[order]


def with_latent_effects(model: GenZ, data: tuple[Tensor, Tensor, Tensor]) -> Any:
    """The program of these parameters with the group effects alone unknown."""
    values = {"z": data[0], "p_e": torch.full((FEATURES,), 0.1).double(), "weights": model.link.weights.detach()}
    return poutine.condition(poutine.block(released(model), hide_types=["param"]), data=values)


@pytest.mark.slow
def test_pyro_finds_the_posterior_of_group_effects_by_their_name() -> None:
    """By SVI with one of Pyro's own guides, against what linear algebra says."""
    data = inputs()
    with isolated(0):
        model = model_with_groups(LinearLink)
    # As a user calls Pyro: parameters are in its store.
    with isolated(0), pyro.settings.context(module_local_params=False), pyro.validation_enabled(False):
        program = with_latent_effects(model, data)
        guide = AutoMultivariateNormal(program, init_scale=0.2)
        for rate in (0.05, 0.005):
            svi = SVI(program, guide, Adam({"lr": rate}), Trace_ELBO(num_particles=4))
            for _ in range(300):
                svi.step(*data)
        posterior = guide.get_posterior()
        found = guide.median(*data)
    mean, spread = exact_posterior_of_effects(model, data)
    assert set(found) == {"group_effects"}
    assert float(((found["group_effects"] - mean) / spread).abs().max()) < 0.25
    torch.testing.assert_close(posterior.stddev.view_as(spread), spread, rtol=0.2, atol=0.0)


def test_what_nuts_is_given_is_the_density_of_that_posterior() -> None:
    """Minus the log joint density has its minimum at the posterior's mean, and there the second derivative of its precision."""
    data = inputs()
    with isolated(0), pyro.validation_enabled(False):
        model = model_with_groups(LinearLink)
        first, potential, _, _ = initialize_model(with_latent_effects(model, data), data, max_plate_nesting=1)
        mean, spread = exact_posterior_of_effects(model, data)

        def value(at: Tensor) -> Tensor:
            found: Tensor = potential({"group_effects": at.view_as(mean)})
            return found

        at = mean.flatten().requires_grad_(True)
        (gradient,) = torch.autograd.grad(value(at), at, create_graph=True)
        curvature = torch.stack([torch.autograd.grad(one, at, retain_graph=True)[0] for one in gradient])
    assert set(first) == {"group_effects"}
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)
    torch.testing.assert_close(torch.linalg.inv(curvature).diagonal().sqrt().view_as(spread), spread)


def test_with_a_posterior_of_all_parameters_each_prior_counts_once() -> None:
    """`BayesianGenZ`, whose one site has them, by the difference that its site and y make to the log joint density."""
    answers, covariates, targets = inputs()
    with isolated(0):
        model = model_with_groups()
        bayesian = BayesianGenZ(EnumeratedGenZ(model))
        potential = potential_of_program(model, Data(answers, covariates, targets))
        at = {"link_and_noise": flattened(model), "p_e": torch.zeros(FEATURES).double()}
        nodes = trace_of(
            poutine.condition(bayesian, data={"link_and_noise": at["link_and_noise"]}), answers, covariates, targets
        ).nodes
        assert not (set(SITES) | {"link.weights", "model.link.weights"}) & set(nodes)
        prior = stats.norm(bayesian.centre.numpy(), bayesian.spread.numpy()).logpdf(at["link_and_noise"].numpy()).sum()
        assert float(nodes["link_and_noise"]["log_prob"]) == pytest.approx(prior, rel=1e-12)
        model.link.shrinkage, model.link.pooling = None, None  # its spreads are in `bayesian` now
        wide = potential_of_program(model, Data(answers, covariates, targets))
        flat = stats.norm(BayesianGenZ(model).centre.numpy(), BayesianGenZ(model).spread.numpy())
        without = -float(wide(at)) - flat.logpdf(at["link_and_noise"].numpy()).sum()
    assert -float(potential(at)) - prior == pytest.approx(without, rel=1e-10)
