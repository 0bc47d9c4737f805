"""The local expectation estimator in use: batches, scales, masks, random weights, plain SVI, and what it cannot take."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer import SVI
from torch import Tensor
from written_out import (
    World,
    all_values,
    bernoulli_log,
    gradients,
    log_beta,
    log_joint,
    log_likelihood,
    mean_field_bound,
    parameters_of,
)

from genz_ppl.errors import OptionError
from genz_ppl.inference.guided.conditional import ConditionalBernoulli
from genz_ppl.inference.guided.elbo import TraceLocalExpectation_ELBO
from genz_ppl.inference.guided.guides import MeanFieldGuide, StructuredGuide
from genz_ppl.inference.isolation import isolated


def test_loss_loss_and_grads_and_differentiable_loss_agree(world: Any) -> None:
    one = world("bernoulli", 4)
    guide = MeanFieldGuide(one.rates, one.posterior)
    parameters = parameters_of(one.model, guide)
    elbo = TraceLocalExpectation_ELBO(num_particles=3)
    elbo.loss(one.model, guide, *one.items)  # the first run looks at the structure
    pyro.set_rng_seed(1)
    differentiable = elbo.differentiable_loss(one.model, guide, *one.items)
    expected, loss = gradients(parameters, differentiable), float(differentiable.detach())
    pyro.set_rng_seed(1)
    assert elbo.loss(one.model, guide, *one.items) == pytest.approx(loss, rel=1e-12)
    pyro.set_rng_seed(1)
    assert elbo.loss_and_grads(one.model, guide, *one.items) == pytest.approx(loss, rel=1e-12)
    for name, value in parameters.items():
        if float(expected[name].abs().sum()) > 0:
            torch.testing.assert_close(value.grad, expected[name])
    # Particles are averaged.
    pyro.set_rng_seed(1)
    single = TraceLocalExpectation_ELBO()
    single._dependents, single._checked_guides = elbo._dependents, elbo._checked_guides
    losses = [single.differentiable_loss(one.model, guide, *one.items) for _ in range(3)]
    assert len({float(part.detach()) for part in losses}) == 3
    mean = torch.stack(losses).mean()
    assert float(mean.detach()) == pytest.approx(loss, rel=1e-12)
    for name, gradient in gradients(parameters, mean).items():
        torch.testing.assert_close(gradient, expected[name])


def batch_of(rows: tuple[int, ...]) -> poutine.Trace:
    """A trace that holds the batch of the plate "items", for `poutine.replay`."""
    trace = poutine.Trace()
    indices = torch.tensor(rows)
    trace.add_node("items", name="items", type="sample", is_observed=False, value=indices, infer={}, fn=None)
    return trace


GUIDES: dict[str, Callable[[World], Any]] = {
    "mean_field": lambda one: MeanFieldGuide(one.rates, one.posterior),
    "sparse": lambda one: MeanFieldGuide(one.rates, one.posterior, sparse=True),
    "exact": lambda one: StructuredGuide(one.rates, one.posterior, 0, "exact", one.model),
    "learned": lambda one: StructuredGuide(one.rates, one.posterior, 0, "learned"),
}


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_mean_over_all_batches_is_the_full_value(name: str, world: Any) -> None:
    # No noise: at the mean both a quadratic density and a pair with one feature summed out are exact.
    one = world("gaussian", 2, n_items=4)
    guide = GUIDES[name](one)
    elbo, parameters = TraceLocalExpectation_ELBO(others="mean"), parameters_of(one.model, guide)
    full = elbo.differentiable_loss(one.model, guide, *one.items)
    batches = list(itertools.combinations(range(4), 2))
    losses = [elbo.differentiable_loss(one.model, poutine.replay(guide, trace=batch_of(rows)), *one.items, 2) for rows in batches]
    assert len({round(float(loss.detach()), 6) for loss in losses}) == len(batches)
    mean = torch.stack(losses).mean()
    torch.testing.assert_close(mean, full, rtol=1e-10, atol=1e-10)
    expected, found = gradients(parameters, full), gradients(parameters, mean)
    for parameter in parameters:
        got = found[parameter].to_dense()
        torch.testing.assert_close(got, expected[parameter].to_dense(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["mean_field", "exact", "learned"])
def test_scaling_model_and_guide_scales_the_loss(name: str, world: Any) -> None:
    one = world("gaussian", 2)
    guide = GUIDES[name](one)
    elbo, parameters = TraceLocalExpectation_ELBO(others="mean"), parameters_of(one.model, guide)
    full = elbo.differentiable_loss(one.model, guide, *one.items)
    scaled = elbo.differentiable_loss(poutine.scale(one.model, 0.3), poutine.scale(guide, 0.3), *one.items)
    torch.testing.assert_close(scaled, 0.3 * full)
    expected, found = gradients(parameters, 0.3 * full), gradients(parameters, scaled)
    for parameter in parameters:
        torch.testing.assert_close(found[parameter], expected[parameter])


def test_scaling_the_model_alone_tempers_it(world: Any) -> None:
    one = world("gaussian", 3)
    guide = MeanFieldGuide(one.rates, one.posterior)
    assert guide.logits is not None
    log_q = bernoulli_log(all_values(3), guide.logits).sum(-1)
    joint = (log_q.exp() * log_joint(one, guide.error_rates)).sum() + log_beta(guide.error_rates)
    expected = 0.4 * joint - (log_q.exp() * log_q).sum()
    elbo = TraceLocalExpectation_ELBO(others="mean")
    found = -elbo.differentiable_loss(poutine.scale(one.model, 0.4), guide, *one.items)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("others", ["sample", "mean"])
def test_masked_items_do_not_count(others: Any, world: Any) -> None:
    one = world("gaussian", 1)
    kept = torch.tensor([True, False, True, True, False])
    guide = MeanFieldGuide(one.rates, one.posterior)
    part = World(one.model, one.rates, one.posterior[kept], tuple(part[kept] for part in one.items))
    bound = mean_field_bound(part, MeanFieldGuide(part.rates, part.posterior))

    def masked(program: Any) -> Callable[..., None]:
        def run(*items: Tensor) -> None:
            # The error rates have another shape and are not masked: the plate tells the sites apart.
            with MaskItems(kept):
                program(*items)

        return run

    elbo = TraceLocalExpectation_ELBO(others=others)
    loss = elbo.differentiable_loss(masked(one.model), masked(guide), *one.items)
    torch.testing.assert_close(-loss, bound.detach(), check_dtype=False)
    assert guide.logits is not None
    (gradient,) = torch.autograd.grad(loss, guide.logits)
    assert bool((gradient[~kept] == 0).all())
    assert bool((gradient[kept] != 0).all())


class MaskItems(poutine.messenger.Messenger):  # type: ignore[misc]
    """`poutine.mask` for sites in the plate "items" only."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask = mask

    def _pyro_sample(self, msg: Any) -> None:
        if any(frame.name == "items" for frame in msg["cond_indep_stack"]):
            msg["mask"] = self.mask


@pytest.mark.parametrize("others", ["sample", "mean"])
def test_no_features(others: Any, world: Any) -> None:
    one = world("gaussian", 0)
    elbo = TraceLocalExpectation_ELBO(others=others)
    expected = log_likelihood(one.model, torch.zeros(1, 5, 0).double(), *one.items[1:]).sum()
    loss = elbo.differentiable_loss(one.model, MeanFieldGuide(one.rates, one.posterior), *one.items)
    torch.testing.assert_close(-loss, expected)
    parameters = dict(one.model.named_parameters())
    found, exact = gradients(parameters, -loss), gradients(parameters, expected)
    for name in parameters:
        torch.testing.assert_close(found[name], exact[name])


class RandomWeights:
    """y_td ~ N(z_t . w, 1) for a random w, with the outputs d in a plate of their own, and v_t ~ N(z_t1 - z_t0, 1)."""

    def __init__(self, conditional: bool) -> None:
        generator = torch.Generator().manual_seed(3)
        self.y = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        self.v = torch.randn(4, generator=generator, dtype=torch.float64)
        self.conditional = conditional
        self.parameters = {
            "logits": torch.randn(4, 2, generator=generator, dtype=torch.float64).requires_grad_(),
            "slope": torch.tensor(1.3).double().requires_grad_(),
            "centre": torch.tensor([0.5, -1.5]).double().requires_grad_(),
            "log_spread": torch.tensor([-2.5, -2.0]).double().requires_grad_(),
        }

    def model(self) -> None:
        w = pyro.sample("w", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
        with pyro.plate("items", 4, dim=-1):
            z = pyro.sample("z", dist.Bernoulli(torch.full((4, 2), 0.25).double()).to_event(1))
            pyro.deterministic("location", z @ w)
            pyro.sample("v", dist.Normal(z[..., 1] - z[..., 0], 1.0), obs=self.v)
            with pyro.plate("outputs", 3, dim=-2):
                pyro.sample("y", dist.Normal(z @ w, 1.0), obs=self.y)

    def guide(self) -> None:
        pyro.sample("w", dist.Normal(self.parameters["centre"], self.parameters["log_spread"].exp()).to_event(1))
        logits = self.parameters["logits"]
        with pyro.plate("items", 4, dim=-1):
            independent = dist.Bernoulli(logits=logits).to_event(1)
            pyro.sample("z", ConditionalBernoulli(logits, 1, self.second) if self.conditional else independent)

    def second(self, z: Tensor) -> Tensor:
        """Log-odds of the second value given the first."""
        return self.parameters["logits"][:, 1] + self.parameters["slope"] * z[..., 0]

    def bound(self) -> Tensor:
        centre, variance = self.parameters["centre"], (2 * self.parameters["log_spread"]).exp()
        z, logits = all_values(2), self.parameters["logits"]
        second = self.second(z) if self.conditional else logits[:, 1]
        log_q = bernoulli_log(z[..., 0], logits[:, 0]) + bernoulli_log(z[..., 1], second)
        squared = ((self.y.T - z @ centre.unsqueeze(-1)) ** 2 + z @ variance.unsqueeze(-1)).sum(-1)
        squared = squared + (self.v - z[..., 1] + z[..., 0]) ** 2
        density = -0.5 * squared - 2 * math.log(2 * math.pi)
        prior = bernoulli_log(z, torch.logit(torch.tensor(0.25).double())).sum(-1)
        divergence = 0.5 * (variance + centre**2 - 1 - variance.log()).sum()
        return (log_q.exp() * (density + prior - log_q)).sum() - divergence


@pytest.mark.slow
@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("others", ["sample", "mean"])
def test_random_weights_more_sites_and_plates_inside(others: Any, conditional: bool) -> None:
    with isolated(0):
        case = RandomWeights(conditional)
        elbo = TraceLocalExpectation_ELBO(others=others)
        exact = {"value": case.bound().detach(), **gradients(case.parameters, case.bound())}
        rows = []
        for _ in range(120):
            value = -elbo.differentiable_loss(case.model, case.guide)
            rows.append({"value": value.detach(), **gradients(case.parameters, value)})
    for name, expected in exact.items():
        draws = torch.stack([row[name] for row in rows])
        error = draws.std(0) / math.sqrt(len(draws))
        assert float(error.max()) < 0.5
        assert bool(((draws.mean(0) - expected).abs() <= 5 * error + 1e-9).all()), name


@pytest.mark.slow
def test_plain_svi_finds_the_exact_posterior_of_one_feature(world: Any) -> None:
    one = world("gaussian", 1, n_items=30)
    with pyro.settings.context(module_local_params=False):  # SVI collects from the parameter store
        guide = MeanFieldGuide(one.rates, torch.full((30, 1), 0.5).double())
        # The model stays as it is; with one feature the gradients of the guide are exact also at draws.
        optimiser = pyro.optim.ClippedAdam(lambda name: {"lr": 0.0 if "." in name else 0.3, "lrd": 0.985})
        svi = SVI(one.model, guide, optimiser, loss=TraceLocalExpectation_ELBO())
        losses = [svi.step(*one.items) for _ in range(350)]
        names = set(pyro.get_param_store().keys())
    assert names == {"logits", "error_rates", "link.weights", "link.intercept", "link.covariate_weights", "likelihood.scale"}
    assert losses[-1] < losses[0] - 5
    joint = log_joint(one, guide.error_rates).detach()
    torch.testing.assert_close(guide.posterior[:, 0], torch.softmax(joint, 0)[1], rtol=0, atol=2e-3)
    evidence = torch.logsumexp(joint, 0).sum() + log_beta(guide.error_rates.detach())
    assert losses[-1] == pytest.approx(-float(evidence), abs=1e-3)


@pytest.mark.slow
def test_plain_svi_improves_the_loss_from_draws(world: Any) -> None:
    one = world("poisson", 3, n_items=20)
    with pyro.settings.context(module_local_params=False):
        guide = MeanFieldGuide(one.rates, one.posterior)
        before = float(TraceLocalExpectation_ELBO(num_particles=50).loss(one.model, guide, *one.items))
        svi = SVI(one.model, guide, pyro.optim.Adam({"lr": 0.02}), loss=TraceLocalExpectation_ELBO(num_particles=2))
        for _ in range(60):
            svi.step(*one.items, 10)
        after = float(TraceLocalExpectation_ELBO(num_particles=50).loss(one.model, guide, *one.items))
    assert after < before - 5


def test_as_a_module_it_names_all_parameters(world: Any) -> None:
    one = world("gaussian", 2)
    guide = MeanFieldGuide(one.rates, one.posterior)
    loss = TraceLocalExpectation_ELBO()(one.model, guide)
    loss(*one.items).backward()
    found = {name for name, parameter in loss.named_parameters() if parameter.grad is not None}
    model = {f"model.{name}" for name, _ in one.model.named_parameters()}
    assert found == model | {"guide.logits", "guide.error_rates_unconstrained"}
    assert not list(pyro.get_param_store().keys())


def test_unknown_options() -> None:
    with pytest.raises(OptionError, match="others: expected sample or mean, got 'mode'"):
        TraceLocalExpectation_ELBO(others="mode")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="num_particles"):
        TraceLocalExpectation_ELBO(num_particles=0)


def items_model(
    after: Callable[[Tensor], None] = lambda z: None, before: Callable[[], None] = lambda: None
) -> Callable[[], None]:
    """A model or guide of three items and two features, with more around it."""

    def run() -> None:
        before()
        with pyro.plate("items", 3, dim=-1):
            z = pyro.sample("z", dist.Bernoulli(torch.full((3, 2), 0.5).double()).to_event(1))
        after(z)

    return run


def observe_total(z: Tensor) -> None:
    pyro.sample("n", dist.Normal(z.sum(), 1.0), obs=torch.tensor(1.0).double())


def observe_total_of_numpy(z: Tensor) -> None:
    with pyro.plate("rows", 3, dim=-1):
        total = torch.from_numpy(z.sum(-1).numpy())
        pyro.sample("n", dist.Normal(total, 1.0), obs=torch.zeros(3).double())


def coin() -> None:
    pyro.sample("c", dist.Bernoulli(torch.tensor(0.5).double()))


def follower(z: Tensor) -> None:
    pyro.sample("w", dist.Normal(z.sum(), 1.0))


def weight() -> None:
    pyro.sample("w", dist.Normal(torch.zeros(()).double(), 1.0))


class Normals:
    """z of the wrong kind."""

    def __call__(self) -> None:
        with pyro.plate("items", 3, dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(3, 2).double(), 1.0).to_event(1))


@pytest.mark.parametrize(
    ("model", "guide", "message"),
    [
        (items_model(observe_total), items_model(), "site 'n' depends on 'z' but is outside its plate 'items'"),
        (items_model(observe_total_of_numpy), items_model(), "site 'n' depends on 'z' but is outside its plate 'items'"),
        (items_model(before=coin), items_model(before=coin), "site 'c': expected a point .* reparameterised"),
        (items_model(before=weight), items_model(follower), "site 'w' of the guide depends on 'z'"),
        (items_model(before=weight), items_model(), "site 'w': expected it observed or in the guide"),
        (weight, weight, "site 'z': expected it as a latent site"),
        (Normals(), Normals(), r"site 'z': expected Bernoulli\(...\).to_event\(1\)"),
        (items_model(), pyro.infer.autoguide.AutoNormalMessenger(items_model()), "messenger"),
    ],
)
def test_what_it_cannot_take_is_named(model: Any, guide: Any, message: str) -> None:
    with isolated(0), pytest.raises(NotImplementedError, match=message):
        TraceLocalExpectation_ELBO().loss(model, guide)


def test_targets_left_out_are_named(world: Any) -> None:
    one = world()
    guide = MeanFieldGuide(one.rates, one.posterior)
    with pytest.raises(NotImplementedError, match="site 'y': expected it observed or in the guide"):
        TraceLocalExpectation_ELBO().loss(one.model, guide, *one.items[:2])


def test_another_name_for_the_site() -> None:
    def model() -> None:
        with pyro.plate("items", 3, dim=-1):
            bits = pyro.sample("bits", dist.Bernoulli(torch.full((3, 2), 0.4, dtype=torch.float64)).to_event(1))
            pyro.sample("y", dist.Normal(bits.sum(-1), 1.0), obs=torch.ones(3).double())

    def guide() -> None:
        q = pyro.param("q", torch.full((3, 2), 0.5).double(), constraint=constraints.unit_interval)
        with pyro.plate("items", 3, dim=-1):
            pyro.sample("bits", dist.Bernoulli(q).to_event(1))

    with isolated(0):
        found = -TraceLocalExpectation_ELBO(others="mean", site="bits").loss(model, guide)
    # Two fair bits: half the time their sum is 1, else it misses by 1.
    density = -0.5 * math.log(2 * math.pi) - 0.5 * 0.5
    divergence = 2 * (math.log(0.5) - 0.5 * math.log(0.4) - 0.5 * math.log(0.6))
    assert found == pytest.approx(3 * (density - divergence), rel=1e-10)
