"""The exact posterior against sums written out by hand, EM on it, its Pyro program, and the limits of both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, TraceEnum_ELBO, infer_discrete
from pyro.optim import Adam
from scipy.special import gammaln, log_softmax, rel_entr
from scipy.stats import multivariate_normal
from torch import Tensor

from genz_ppl.errors import OptionError
from genz_ppl.inference.engines import enumeration, exact
from genz_ppl.inference.engines.enumeration import enumerate_fit, refit_exactly
from genz_ppl.inference.engines.exact import bit_table, check_enumeration, exact_posterior
from genz_ppl.inference.guided.enumerated import EnumeratedGenZ, posterior_by_pyro
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import LIKELIHOODS


@pytest.fixture(autouse=True)
def set_aside() -> Iterator[None]:
    """Every test by itself: Pyro modules of one class would share their parameters otherwise."""
    with isolated(0):
        yield


CLOSED_FORM = ["gaussian", "isotropic", "student_t", "laplace"]
TRAINED = ["low_rank_gaussian", "poisson", "negative_binomial", "bernoulli", "categorical"]


def problem(
    seed: int, likelihood: str, n_features: int = 4, link: str = "linear", n_items: int = 15, missing: float = 0.2, **sizes: int
) -> tuple[State, Data]:
    """Random parameters and data of the likelihood's kind, nothing fitted. The last item shows nothing of y."""
    random = np.random.default_rng(seed)
    n_targets, n_covariates = sizes.get("n_targets", 3), sizes.get("n_covariates", 2)
    shape = (n_items, n_targets)
    if likelihood in ("poisson", "negative_binomial"):
        targets = random.poisson(3.0, size=shape).astype(np.float64)
    elif likelihood in ("bernoulli", "categorical"):
        targets = random.integers(2 if likelihood == "bernoulli" else 3, size=shape).astype(np.float64)
    else:
        targets = random.normal(size=shape)
    answers = (random.random((n_items, n_features)) < 0.5).astype(np.float64)
    answers[random.random(answers.shape) < missing] = np.nan
    targets[random.random(shape) < missing] = np.nan
    if missing > 0:
        targets[-1] = np.nan
    data = Data(*(torch.from_numpy(part) for part in (answers, random.normal(size=(n_items, n_covariates)), targets)))
    with torch.no_grad():
        model = build_model(n_features, n_targets, n_covariates, link, likelihood, n_classes=3)
        model.likelihood.start(torch.nan_to_num(data.targets), data.observed)
        parameters = list(model.link.parameters())
        if likelihood != "isotropic":  # its scales stay equal
            parameters += list(model.likelihood.parameters())
        for parameter in parameters:
            parameter += 0.5 * torch.from_numpy(random.normal(size=parameter.shape))
    rates = torch.from_numpy(random.uniform(0.02, 0.4, size=n_features))
    return State(model, rates, torch.full((n_items, n_features), 0.5, dtype=torch.float64)), data


def location(model: Any, z: Any, x: Any) -> Any:
    """f(z, x) of one item, in numpy."""
    values = {name: value.detach().numpy() for name, value in model.link.named_parameters()}
    if model.link.name == "neural":
        hidden = np.concatenate([z - 0.5, x])
        layers = sorted({name.rsplit(".", 1)[0] for name in values})
        for layer in layers[:-1]:
            hidden = np.maximum(values[f"{layer}.weight"] @ hidden + values[f"{layer}.bias"], 0)
        return values[f"{layers[-1]}.weight"] @ hidden + values[f"{layers[-1]}.bias"]
    total = z @ values["weights"] + values["intercept"] + x @ values["covariate_weights"]
    if model.link.name == "interaction":
        total = total + np.einsum("k,p,kpd->d", z, x, values["interactions"])
    return total


def log_density(likelihood: Any, f: Any, y: Any) -> float:
    """log p(y | f) of one item without its missing entries, by the formulas of the textbooks."""
    parts: Any = {name: getattr(likelihood, name).detach().numpy() for name in ("scale", "base") if hasattr(likelihood, name)}
    scale: Any = parts.get("scale")
    base, there = parts.get("base"), ~np.isnan(y)
    if not there.any():
        return 0.0
    if likelihood.name == "low_rank_gaussian":
        factor = likelihood.factor.detach().numpy()
        covariance = (np.diag(scale**2) + factor @ factor.T)[np.ix_(there, there)]
        return float(multivariate_normal(f[there], covariance).logpdf(y[there]))
    if likelihood.name == "categorical":
        shares = log_softmax(base + f.reshape(len(y), -1), axis=1)
        return float(sum(shares[d, int(y[d])] for d in np.flatnonzero(there)))
    if scale is not None:
        error = (y - f) / scale
    if likelihood.name in ("gaussian", "isotropic"):
        terms = -0.5 * error**2 - np.log(scale) - 0.5 * np.log(2 * np.pi)
    elif likelihood.name == "laplace":
        terms = -np.abs(error) - np.log(2 * scale)
    elif likelihood.name == "student_t":
        df = likelihood.degrees_of_freedom.detach().numpy()
        constant = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(np.pi * df) - np.log(scale)
        terms = constant - (df + 1) / 2 * np.log(1 + error**2 / df)
    elif likelihood.name == "bernoulli":
        p = 1 / (1 + np.exp(-(base + f)))
        terms = np.where(y == 1, np.log(p), np.log(1 - p))
    else:
        mean = np.exp(base + f)
        if likelihood.name == "poisson":
            terms = y * np.log(mean) - mean - gammaln(y + 1)
        else:
            size = likelihood.concentration.detach().numpy()
            constant = gammaln(y + size) - gammaln(size) - gammaln(y + 1)
            terms = constant + size * np.log(size / (size + mean)) + y * np.log(mean / (size + mean))
    return float(terms[there].sum())


def brute_force(state: State, data: Data) -> tuple[Any, Any, Any]:
    """Table (T, 2^K) with the first feature as the leading digit, log evidence (T,) and E log p(y | z), one item at a time."""
    answers, covariates, targets = (part.numpy() for part in (data.answers, data.covariates, data.targets))
    rates = state.error_rates.numpy()
    tables, evidence, observation = [], [], []
    for h, x, y in zip(answers, covariates, targets, strict=True):
        joint, given = [], []
        for assignment in itertools.product([0.0, 1.0], repeat=len(h)):
            z = np.array(assignment)
            agree = np.where(np.isnan(h), 0.5, np.where(h == z, 1 - rates, rates))
            given.append(log_density(state.model.likelihood, location(state.model, z, x), y))
            joint.append(given[-1] + np.log(agree).sum())
        largest = max(joint)
        weights = np.exp(np.array(joint) - largest)
        tables.append(weights / weights.sum())
        evidence.append(largest + np.log(weights.sum()))
        observation.append(tables[-1] @ np.array(given))
    return np.array(tables), np.array(evidence), np.array(observation)


# Laplace noise is rounded off where an error is below a thousandth of its scale: that is less than 0.0005 nats an entry.
TOLERANCE = {"laplace": 2e-3}


def agrees(state: State, data: Data) -> None:
    table, evidence, _ = brute_force(state, data)
    found, near = exact_posterior(state, data), TOLERANCE.get(state.model.likelihood.name, 1e-9)
    assert rel_entr(table, found.table.numpy()).sum(1).max() < max(1e-9, near**2 / 2)  # Kullback-Leibler, nats
    np.testing.assert_allclose(found.log_evidence, evidence, rtol=1e-9, atol=near)
    bits = np.array(list(itertools.product([0.0, 1.0], repeat=len(state.error_rates))))
    mean = table @ bits
    second = np.einsum("tr,rj,rk->tjk", table, bits, bits)
    np.testing.assert_allclose(found.marginals, mean, atol=near)
    np.testing.assert_allclose(found.pairwise, second, atol=near)
    np.testing.assert_allclose(found.entropy, -(table * np.log(np.maximum(table, 1e-300))).sum(1), atol=10 * near)
    np.testing.assert_allclose(found.covariance, second - mean[:, :, None] * mean[:, None, :], atol=2 * near)


@pytest.mark.parametrize("n_features", [1, 4])
@pytest.mark.parametrize("likelihood", CLOSED_FORM + TRAINED)
def test_posterior_is_the_sum_written_out(likelihood: str, n_features: int) -> None:
    agrees(*problem(1, likelihood, n_features))


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "poisson"])
@pytest.mark.parametrize("link", ["linear", "interaction", "neural"])
def test_posterior_is_the_sum_for_every_link(link: str, likelihood: str, missing: float) -> None:
    agrees(*problem(2, likelihood, 3, link, missing=missing))


def test_every_likelihood_is_in_the_comparison() -> None:
    assert sorted(CLOSED_FORM + TRAINED) == sorted(name for name in LIKELIHOODS if ":" not in name)


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.parametrize("link", ["linear", "interaction"])
@pytest.mark.parametrize("likelihood", CLOSED_FORM)
def test_short_cuts_agree_with_the_program(likelihood: str, link: str, missing: float) -> None:
    state, data = problem(3, likelihood, 7, link, n_items=40, missing=missing, n_targets=6)
    found, bits = exact_posterior(state, data), bit_table(7)
    with torch.no_grad():
        joint = exact.program_log_density(state.model, bits, data) + exact.log_prior(bits, state.prior(data.answers))
    near = TOLERANCE.get(likelihood, 1e-9)
    torch.testing.assert_close(found.log_evidence, joint.logsumexp(1), rtol=1e-9, atol=near)
    torch.testing.assert_close(found.table, joint.softmax(1), rtol=0, atol=near)


def test_working_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for likelihood in ("gaussian", "student_t", "poisson"):
        state, data = problem(4, likelihood, n_items=33)
        whole = exact_posterior(state, data)
        with monkeypatch.context() as patch:
            patch.setattr(exact, "CHUNK", 400)
            parts = exact_posterior(state, data)
            torch.testing.assert_close(parts.entropy, whole.entropy)
        torch.testing.assert_close(parts.table, whole.table)
        torch.testing.assert_close(parts.log_evidence, whole.log_evidence)


def test_draws_follow_the_table() -> None:
    state, data = problem(5, "gaussian", 3, n_items=6)
    found = exact_posterior(state, data)
    draws = found.draws(20_000, seed=3)
    assert draws.shape == (20_000, 6, 3)
    assert torch.equal(draws, found.draws(20_000, seed=3))
    assert not torch.equal(draws, found.draws(20_000, seed=4))
    shares = (draws @ torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)).long()
    seen = torch.stack([(shares == row).double().mean(0) for row in range(8)], dim=1)
    error = (found.table * (1 - found.table) / 20_000).sqrt()
    assert bool(((seen - found.table).abs() <= 5 * error + 1e-9).all())  # 48 shares, five standard errors each


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "poisson"])
def test_no_features_and_one(likelihood: str) -> None:
    for n_features in (0, 1):
        state, data = problem(6, likelihood, n_features)
        agrees(state, data)
        assert exact_posterior(state, data).pairwise.shape == (15, n_features, n_features)
        bounds = enumerate_fit(state, data, 4)
        assert np.isfinite([bound.total for bound in bounds]).all()
        assert state.posterior.shape == (15, n_features)


def elbo(state: State, data: Data) -> Tensor:
    """Of the enumerated program with p_e given: the log evidence and the link's log prior, without that of p_e."""
    program = poutine.condition(EnumeratedGenZ(state.model), data={"p_e": state.error_rates})
    inputs = (data.answers, data.covariates, data.targets)
    loss: Tensor = TraceEnum_ELBO(max_plate_nesting=1).differentiable_loss(program, lambda *_: None, *inputs)
    without: Tensor = -loss - dist.Beta(*state.model.features.concentration).log_prob(state.error_rates).sum()
    return without


@pytest.mark.parametrize("n_features", [1, 4])
@pytest.mark.parametrize(
    ("link", "likelihood"),
    [("linear", name) for name in CLOSED_FORM + TRAINED] + [("interaction", "gaussian"), ("neural", "gaussian")],
)
def test_evidence_is_that_of_the_enumerated_program(link: str, likelihood: str, n_features: int) -> None:
    state, data = problem(7, likelihood, n_features, link)
    evidence = exact_posterior(state, data).log_evidence.sum()
    for prior in state.model.link.priors().values():
        evidence = evidence + prior.distribution.log_prob(prior.value).detach()
    torch.testing.assert_close(elbo(state, data).detach(), evidence, rtol=1e-9, atol=15 * TOLERANCE.get(likelihood, 0.0))
    found, by_hand, near = posterior_by_pyro(state, data), exact_posterior(state, data), TOLERANCE.get(likelihood, 1e-12)
    torch.testing.assert_close(found.log_evidence, by_hand.log_evidence, rtol=1e-8, atol=near)
    torch.testing.assert_close(found.table, by_hand.table, rtol=1e-8, atol=near)


def test_enumerated_program_draws_from_the_exact_posterior() -> None:
    state, data = problem(8, "student_t", 3, n_items=5)
    table = exact_posterior(state, data).table
    several = data.repeated(4000)
    program = poutine.condition(EnumeratedGenZ(state.model), data={"p_e": state.error_rates})
    decoder = infer_discrete(program, first_available_dim=-2)
    trace = poutine.trace(decoder).get_trace(several.answers, several.covariates, several.targets)
    rows, z = trace.nodes["row"]["value"], trace.nodes["z"]["value"]
    torch.testing.assert_close(z, bit_table(3)[rows])
    seen = torch.nn.functional.one_hot(rows.view(4000, 5), 8).double().mean(0)
    error = (table * (1 - table) / 4000).sqrt()
    assert bool(((seen - table).abs() <= 5 * error + 1e-9).all())


def test_enumerated_program_shares_the_parts_of_a_model_that_has_run() -> None:
    state, data = problem(9, "poisson", 4, "neural")
    state.model(data.answers, data.covariates)
    program = EnumeratedGenZ(state.model)
    shared = {name: id(value) for name, value in state.model.named_parameters()}
    assert {name: id(value) for name, value in program.named_parameters()} == shared
    assert program(data.answers, data.covariates).shape == (15, 3)
    trace = poutine.trace(program).get_trace(data.answers, data.covariates, data.targets, batch_size=6)
    assert trace.nodes["row"]["value"].shape == (6,)
    assert trace.nodes["z"]["value"].shape == (6, 4)


def test_enumerated_program_can_be_trained_by_svi() -> None:
    with pyro.settings.context(module_local_params=False):  # as in a script of one's own
        state, data = problem(9, "poisson", 2, n_targets=1)
        before = state.model.link.weights.detach().clone()
        program = poutine.condition(EnumeratedGenZ(state.model), data={"p_e": state.error_rates})
        svi = SVI(program, lambda *_: None, Adam({"lr": 0.02}), TraceEnum_ELBO(max_plate_nesting=1))
        losses = [svi.step(data.answers, data.covariates, data.targets) for _ in range(20)]
    assert losses[0] - losses[-1] > 1.0
    assert float((state.model.link.weights.detach() - before).abs().max()) > 0.1  # the learned ones are the model's own


def test_enumerated_program_without_features() -> None:
    state, data = problem(9, "student_t", 0)
    trace = poutine.trace(EnumeratedGenZ(state.model)).get_trace(data.answers, data.covariates, data.targets)
    torch.testing.assert_close(trace.log_prob_sum().detach(), exact_posterior(state, data).log_evidence.sum())


def by_steps(state: State, data: Data, steps: int) -> Any:
    return np.array([bound.total for bound in enumerate_fit(state, data, steps)])


@pytest.mark.parametrize(
    ("likelihood", "link", "missing"),
    [*itertools.product(CLOSED_FORM, ["linear", "interaction"], [0.0, 0.2])]
    + [(name, "linear", 0.2) for name in TRAINED]
    + [("poisson", "interaction", 0.0)],
)
def test_no_step_lowers_the_evidence(likelihood: str, link: str, missing: float) -> None:
    state, data = problem(10, likelihood, 3, link, n_items=40, missing=missing, n_targets=2, n_covariates=1)
    totals = by_steps(state, data, 25 if likelihood in CLOSED_FORM else 6)
    assert np.diff(totals).min() >= -1e-8, np.diff(totals)
    assert totals[-1] > totals[0] + 1e-3


@pytest.mark.parametrize(
    ("likelihood", "link"),
    [*itertools.product(["gaussian", "isotropic", "student_t"], ["linear", "interaction"]), ("poisson", "linear")],
)
def test_em_ends_where_the_evidence_is_stationary(likelihood: str, link: str) -> None:
    state, data = problem(11, likelihood, 2, link, n_items=40, n_targets=2, n_covariates=1)
    by_steps(state, data, 60 if likelihood == "poisson" else 250)
    elbo(state, data).backward()  # type: ignore[no-untyped-call]
    parameters = [*state.model.link.parameters()]
    if likelihood == "gaussian":
        parameters += [*state.model.likelihood.parameters()]
    for parameter in parameters:
        assert parameter.grad is not None
        assert float(parameter.grad.abs().max()) < 1e-2  # nats per unit; at the start of the fit they are above 1
    answered = ~torch.isnan(data.answers)
    wrong = torch.where(answered, (torch.nan_to_num(data.answers) - state.posterior).abs(), 0.0).sum(0)
    torch.testing.assert_close(state.error_rates, wrong / (answered.sum(0) + 8), rtol=0, atol=1e-4)  # under Beta(1, 9)


def test_bound_is_the_evidence_and_its_terms_are_those_of_equations_1_and_2() -> None:
    state, data = problem(12, "student_t", 4, n_items=30)
    bounds = enumerate_fit(state, data, 3)
    assert len(bounds) == 3
    bound = bounds[-1]
    table, evidence, observation = brute_force(state, data)
    assert bound.total == pytest.approx(evidence.sum() + float(state.model.penalty(state.error_rates)), rel=1e-9)
    assert bound.observation == pytest.approx(observation.sum(), rel=1e-9)
    assert bound.entropy == pytest.approx(-(table * np.log(np.maximum(table, 1e-300))).sum(), rel=1e-9)
    torch.testing.assert_close(state.posterior, exact_posterior(state, data).marginals)


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "poisson"])
def test_refit_goes_on_from_where_a_state_stands(likelihood: str) -> None:
    state, data = problem(13, likelihood, 3, n_items=60, n_targets=1)
    reached = by_steps(state, data, 10)[-1]
    assert refit_exactly(state.copy(), data, 0).total >= reached - 1e-8
    assert refit_exactly(state, data, 5).total > reached


def test_new_feature_starts_at_its_split(simulate: Any) -> None:
    world = simulate(2, n_items=400, n_features=3, n_targets=2, noise=0.3)
    state, data, _ = started(world.answers[:, :2], world.targets)
    enumerate_fit(state, data, 10)
    split = torch.from_numpy(np.abs(world.truth[:, [2]] - 0.2))
    larger = state.with_columns([0, 1], split)
    free = torch.full((400, 1), float("nan"), dtype=torch.float64)
    enumerate_fit(larger, data.with_answers(torch.cat([data.answers, free], dim=1)), 20)
    assert ((larger.posterior[:, 2] > 0.5).numpy() == world.truth[:, 2]).mean() > 0.95


def started(answers: Any, targets: Any, likelihood: str = "gaussian") -> tuple[State, Data, Scaling]:
    h, y = torch.from_numpy(answers), torch.from_numpy(targets)
    x = torch.zeros(len(h), 0, dtype=torch.float64)
    scaling = Scaling.of(y, x, LIKELIHOODS[likelihood])
    data = scaling.data(h, x, y)
    return start_state(build_model(h.shape[1], y.shape[1], 0, likelihood=likelihood), data), data, scaling


def recovers(world: Any, steps: int = 20) -> None:
    """Each p_e within 0.03 of the share of wrong answers; weights as exact as if the features were known, up to a factor 2."""
    state, data, scaling = started(world.answers, world.targets)
    enumerate_fit(state, data, steps)
    off = np.abs(state.error_rates.numpy() - (world.answers != world.truth).mean(0))
    assert off.max() <= 0.03, off
    weights = (state.model.link.weights.detach() * scaling.target_spread).numpy()
    error = 0.5 / np.sqrt(len(world.truth) * 0.35 * 0.65)  # of least squares with noise 0.5 and prevalence 0.35
    assert np.sqrt(np.mean((weights - world.weights) ** 2)) <= 2 * error


@pytest.mark.parametrize("seed", range(8))
def test_error_rates_and_weights_are_found(seed: int, simulate: Any) -> None:
    recovers(simulate(seed, n_items=500, n_features=6))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_error_rates_and_weights_are_found_where_mean_field_fails(seed: int, simulate: Any) -> None:
    recovers(simulate(seed, n_items=2000, n_features=8), steps=40)


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "poisson"])
def test_free_feature_finds_a_hidden_split(likelihood: str) -> None:
    random = np.random.default_rng(3)
    hidden = random.random(300) < 0.4
    mean = 1.0 + 2.0 * hidden[:, None]
    targets = random.poisson(np.exp(mean)).astype(float) if likelihood == "poisson" else mean + 0.4 * random.normal(size=(300, 1))
    state, data, _ = started(np.full((300, 1), np.nan), targets, likelihood)
    enumerate_fit(state, data, 30)
    agreement = ((state.posterior[:, 0] > 0.5).numpy() == hidden).mean()
    assert max(agreement, 1 - agreement) > 0.97  # which side is called 1 is free


@pytest.mark.parametrize("likelihood", ["student_t", "poisson"])
def test_least_probable_pairs_can_be_left_out(likelihood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state, data = problem(14, likelihood, 6, n_items=100, n_targets=1, missing=0.0)
    other = state.copy()
    totals = by_steps(state, data, 10)
    monkeypatch.setattr(enumeration, "MOST_ENTRIES", 7 * 100 * 16)  # a quarter of the pairs
    assert by_steps(other, data, 10)[-1] == pytest.approx(totals[-1], abs=2.0)


@pytest.mark.slow
def test_network_is_trained(simulate: Any) -> None:
    world = simulate(0, n_items=100, n_features=3, n_targets=1)
    h, y = torch.from_numpy(world.answers), torch.from_numpy(world.targets)
    x = torch.zeros(100, 0, dtype=torch.float64)
    data = Scaling.of(y, x, LIKELIHOODS["gaussian"]).data(h, x, y)
    state = start_state(build_model(3, 1, 0, link="neural"), data)
    bounds = enumerate_fit(state, data, 5)
    linear, _, _ = started(world.answers, world.targets)
    straight = enumerate_fit(linear, data, 30)
    assert bounds[-1].total > straight[-1].total - 25  # a line fits these data best; dropout costs the network something


def test_too_many_features_are_refused() -> None:
    check_enumeration(10, 12)
    with pytest.raises(OptionError, match=r"at most 12 features, got 13; .*--inference coordinate.*--max-features 12") as caught:
        check_enumeration(10, 13)
    assert "\n" not in str(caught.value)
    state, data = problem(0, "gaussian", 13, n_items=2)
    with pytest.raises(OptionError, match="at most 12 features"):
        exact_posterior(state, data)
    with pytest.raises(OptionError, match="at most 12 features"):
        enumerate_fit(state, data, 1)
    with pytest.raises(OptionError, match="at most 12 features"):
        EnumeratedGenZ(state.model)


def test_too_little_memory_is_told_before_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "available_memory", lambda: 500_000_000)
    check_enumeration(5000, 12)
    with pytest.raises(OptionError, match=r"needs 0\.6 GB of memory, 0\.5 GB are available; choose inference coordinate or svi"):
        check_enumeration(6000, 12)
    monkeypatch.setattr(exact, "available_memory", lambda: None)
    check_enumeration(10**9, 12)


def test_available_memory_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    found = exact.available_memory()
    assert found is not None
    assert 10**7 < found < 10**14
    monkeypatch.setattr(exact, "Path", lambda _: Unreadable())
    total = exact.available_memory()
    assert total is not None
    assert total >= found


class Unreadable:
    def read_text(self, encoding: str) -> str:
        raise FileNotFoundError(encoding)
