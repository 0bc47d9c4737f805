"""Error rates of answers yes and no apart: against densities written out, the Pyro program, enumeration, and known rates."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyro import poutine
from torch import Tensor

from genz_ppl.inference import FitResult, fit, isolated
from genz_ppl.inference.apart import Apart, sums_apart
from genz_ppl.inference.engines.calibration import move_error_rates
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.coordinate import coordinate, em_step, measured
from genz_ppl.inference.engines.exact import bit_table, exact_posterior, log_evidence, sum_over_assignments
from genz_ppl.inference.engines.potential import potential_by_hand, potential_of_program
from genz_ppl.inference.engines.rate_spread import RateSpread, rate_spread
from genz_ppl.inference.engines.rates import probable_rates
from genz_ppl.inference.engines.sums import closed_form_for
from genz_ppl.inference.guided.nuts import add_draws
from genz_ppl.inference.posterior import _averaged, _proposed, posterior_draws
from genz_ppl.inference.state import Data, State, feature_terms
from genz_ppl.inference.strategies import Coordinate
from genz_ppl.models import features as features_module
from genz_ppl.models.bayesian import flattened
from genz_ppl.types import AnswerErrors, FloatArray

Problem = Callable[..., tuple[State, Data]]
APART: dict[str, Any] = {"error_rates": "asymmetric"}


def world(
    seed: int, of_yes: float, of_no: float, n_items: int = 2000, n_features: int = 8, n_targets: int = 4, **options: Any
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Answers, truth and targets; the shares of answers yes and of answers no that are wrong are known."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(n_features, n_targets))
    weights = weights + 0.5 * np.sign(weights)
    answers = (random.random((n_items, n_features)) < options.get("share", 0.35)).astype(float)
    wrong = random.random(answers.shape) < np.where(answers == 1, of_yes, of_no)
    truth = np.where(wrong, 1 - answers, answers)
    noise = options.get("noise", 0.5) * random.normal(size=(n_items, n_targets))
    return answers, truth, truth @ weights + random.normal(size=n_targets) + noise


@pytest.fixture
def apart(random_problem: Problem) -> Callable[..., tuple[State, Data]]:
    """A state with rates apart that nothing was fitted to, some answers missing."""

    def make(seed: int, **options: Any) -> tuple[State, Data]:
        state, data = random_problem(seed, **options)
        state = state.told_apart()
        random = np.random.default_rng(seed)
        state.error_rates = torch.from_numpy(random.uniform(0.02, 0.4, size=(len(state.error_rates), 2)))
        return state, data

    return make


@pytest.mark.parametrize("calibration", [0.0, 5.0])
@pytest.mark.parametrize(("of_yes", "of_no"), [(0.15, 0.03), (0.03, 0.15)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_known_rates_are_found(seed: int, of_yes: float, of_no: float, calibration: float) -> None:
    answers, truth, targets = world(seed, of_yes, of_no)
    found, together = (fit(answers, targets, calibration=calibration, **options) for options in (APART, {}))
    assert np.abs(found.answer_errors.of_yes - of_yes).max() < 0.05
    assert np.abs(found.answer_errors.of_no - of_no).max() < 0.05
    left, left_together = (((one.posterior > 0.5) != truth).mean() for one in (found, together))
    assert left < left_together
    assert found.error_rates == pytest.approx((answers != truth).mean(axis=0), abs=0.04)


def test_they_are_found_where_answers_are_missing() -> None:
    answers, _, targets = world(4, 0.15, 0.03)
    answers[np.random.default_rng(0).random(answers.shape) < 0.2] = np.nan
    found = fit(answers, targets, inference="coordinate", **APART).answer_errors
    assert np.abs(found.of_yes - 0.15).max() < 0.05
    assert np.abs(found.of_no - 0.03).max() < 0.05


@pytest.mark.parametrize(
    "options",
    [
        {"inference": "enumeration"},
        {"shortcuts": False, "steps": 25},
        {"inference": "enumeration", "shortcuts": False, "steps": 25},
        pytest.param({"inference": "svi"}, marks=pytest.mark.slow),
        pytest.param({"inference": "structured"}, marks=pytest.mark.slow),
        pytest.param({"inference": "svi", "batch_size": 200}, marks=pytest.mark.slow),
    ],
)
def test_every_strategy_finds_them(options: dict[str, Any]) -> None:
    answers, truth, targets = world(0, 0.15, 0.03, n_items=600, n_features=3)
    found = fit(answers, targets, **options, **APART).answer_errors
    for rates, value in ((found.of_yes, 1.0), (found.of_no, 0.0)):
        asked = answers == value
        share = ((truth != answers) & asked).sum(axis=0) / asked.sum(axis=0)
        assert np.abs(rates - share).max() < 0.06


def test_by_hand_and_through_the_program_are_one_fit() -> None:
    answers, _, targets = world(1, 0.15, 0.03, n_items=200, n_features=3, n_targets=2)
    options: dict[str, Any] = {"inference": "coordinate", "calibration": 0.0, "shrinkage": False, "joint_moves": False}
    options |= {"steps": 3, **APART}
    hand, program = (fit(answers, targets, shortcuts=shortcuts, **options) for shortcuts in (True, False))
    np.testing.assert_allclose(program.posterior, hand.posterior, atol=2e-3)
    assert program.bound == pytest.approx(hand.bound, abs=0.05)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 10_000),
    link=st.sampled_from(("linear", "interaction")),
    likelihood=st.sampled_from(("gaussian", "student_t")),
    n_targets=st.sampled_from([1, 3]),
    missing=st.sampled_from([0.0, 0.2]),
    calibration=st.sampled_from([0.0, 5.0]),
    shrinkage=st.booleans(),
)
def test_the_bound_never_falls(
    seed: int, link: str, likelihood: str, n_targets: int, missing: float, calibration: float, shrinkage: bool, simulate: Any
) -> None:
    made = simulate(
        *(seed, 60, 3, n_targets), n_covariates=1, wrong=0.15, missing_answers=missing, missing_targets=missing, noise=1.0
    )
    options: dict[str, Any] = {"calibration": calibration, "shrinkage": shrinkage, **APART}
    bounds = fit(made.answers, made.targets, made.covariates, link, likelihood, steps=12, **options).bounds
    assert np.diff(bounds).min() > -1e-9 * np.abs(bounds).max()


def test_exact_steps_never_lower_the_evidence() -> None:
    answers, _, targets = world(2, 0.2, 0.05, n_items=80, n_features=3, n_targets=1, noise=1.0)
    answers[:20, 1] = np.nan
    bounds = fit(answers, targets, inference="enumeration", steps=30, **APART).bounds
    assert np.diff(bounds).min() > -1e-9 * np.abs(bounds).max()


def test_the_density_of_features_is_the_programs(apart: Callable[..., tuple[State, Data]]) -> None:
    state, data = apart(1)
    q, prior = state.posterior, state.prior(data.answers)
    expected = (q * prior.log() + (1 - q) * torch.log1p(-prior)).sum(0)
    torch.testing.assert_close(feature_terms(state, data), expected, rtol=1e-10, atol=1e-10)
    of_yes, of_no = state.error_rates[0].tolist()
    found = state.prior(torch.tensor([[1.0], [0.0], [float("nan")]]).double().expand(3, 4))[:, 0]
    assert found.tolist() == pytest.approx([1 - of_yes, of_no, 0.5 * (1 - of_yes + of_no)])


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_the_penalty_is_the_log_density_of_the_sites(apart: Callable[..., tuple[State, Data]], missing: float) -> None:
    values = []
    for seed in (1, 2):
        state, data = apart(seed, missing_answers=missing)
        layer = state.model.features
        layer.common = torch.tensor([0.1 * seed, 0.05]).double()
        with isolated(0):
            held = poutine.condition(state.model, data={"z": (state.posterior > 0.5).double(), "p_e": state.error_rates})
            trace = poutine.trace(held).get_trace(data.answers, data.covariates, data.targets)
        density = sum(trace.nodes[name]["fn"].log_prob(trace.nodes[name]["value"]).sum() for name in ("p_e", "p_e_common"))
        assert trace.nodes["p_e"]["value"].shape == (4, 2)
        penalty = float(state.model.penalty(state.error_rates))
        assert penalty <= 0
        values.append(float(density) - penalty)
    assert values[0] == pytest.approx(values[1])  # it is relative to a mode: the same for all rates


def test_common_rates_are_the_most_probable_ones() -> None:
    layer = features_module.FeatureLayer(5, (1.0, 9.0), asymmetric=True)
    rates = torch.tensor([[0.1, 0.01], [0.3, 0.02], [0.2, 0.001], [0.15, 0.03], [0.25, 0.01]]).double()
    layer.learn_common(rates)
    n = float(layer.strength)
    grid = torch.linspace(1e-6, 1 - 1e-6, 20001).double()
    assert layer.common is not None
    for column, found in enumerate(layer.common.tolist()):
        prior = dist.Beta(1 + n * grid[:, None], 1 + n * (1 - grid[:, None]))
        density = prior.log_prob(rates[:, column]).sum(1) + 8 * torch.log1p(-grid)
        assert found == pytest.approx(float(grid[density.argmax()]), abs=1e-4)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_rates_are_where_the_programs_density_has_its_maximum(apart: Callable[..., tuple[State, Data]], missing: float) -> None:
    state, data = apart(3, n_items=60, missing_answers=missing)
    q = state.posterior

    def density(rates: Tensor) -> Tensor:
        a, b = state.model.features.prior
        prior = features_module.prior_probability(data.answers, rates)
        of_z = q * prior.log() + (1 - q) * torch.log1p(-prior)
        total: Tensor = of_z.sum() + dist.Beta(a, b).log_prob(rates).sum()
        return total

    for _ in range(400):
        state.error_rates = probable_rates(state, data, *data.counts(state.error_rates, q))
    rates = state.error_rates.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(density(rates), rates)
    assert float((gradient * rates * (1 - rates)).detach().abs().max()) < 1e-5


def test_missing_answers_are_counted_as_what_they_are_likely_to_be() -> None:
    """One step of EM for the missing ones never lowers the density."""
    random = np.random.default_rng(0)
    signs = torch.from_numpy(random.choice([-1.0, 0.0, 1.0], size=(3, 50), p=[0.3, 0.5, 0.2]))
    counted = Apart.of(50, sums_apart(signs, torch.from_numpy(random.random((50, 3)))))
    rates = torch.full((3, 2), 0.2).double()
    values = [float(counted.log_density(rates).sum())]
    for _ in range(20):
        wrong, answers = counted.completed(rates)
        assert float(answers.sum() - 150) == pytest.approx(0)
        rates = wrong / answers
        values.append(float(counted.log_density(rates).sum()))
    assert np.diff(values).min() > -1e-12


@pytest.mark.parametrize(("link", "likelihood"), list(itertools.product(("linear", "interaction"), ("gaussian", "student_t"))))
def test_the_e_step_of_one_feature_is_the_sum_over_assignments(
    apart: Callable[..., tuple[State, Data]], link: str, likelihood: str
) -> None:
    answers, _, targets = world(5, 0.2, 0.02, n_items=40, n_features=1, n_targets=2)
    covariates = np.linspace(-1, 1, 40)[:, None]
    made = fit(answers, targets, covariates, link, likelihood, steps=3, calibration=0.0, shrinkage=False, **APART)
    state = made.state
    answers[:8] = np.nan
    data = made.scaling.data(*(torch.from_numpy(part) for part in (answers, covariates, targets)))
    engine = engine_for(state.model, data, joint_moves=False)
    expected = exact_posterior(state, data).marginals
    for _ in range(1 if likelihood == "gaussian" else 60):
        engine.sweep(state)
    if likelihood == "gaussian":
        torch.testing.assert_close(state.posterior, expected, rtol=1e-8, atol=1e-10)
    else:  # touched from below
        sure = (expected < 0.02) | (expected > 0.98)
        assert torch.equal(state.posterior[sure] > 0.5, expected[sure] > 0.5)


def test_sums_over_items_are_the_items(simulate: Any) -> None:
    """The engine by sums and the one by items make the same fit, calibrated, with answers missing."""
    made = simulate(3, 120, 4, 2, missing_answers=0.2, n_covariates=1)
    ways = []
    for kind in ("by sums", "by items"):
        found = fit(made.answers, made.targets, made.covariates, steps=1, **APART)
        state = found.state
        data = found.scaling.data(*(torch.from_numpy(part) for part in (made.answers, made.covariates, made.targets)))
        engine = closed_form_for(state.model, data)
        if kind == "by items":
            engine = type(engine).__mro__[1](data)
        for _ in range(4):
            em_step(state, engine)
        ways.append((state, measured(state, engine).total))
    (one, bound), (other, its) = ways
    torch.testing.assert_close(one.posterior, other.posterior, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(one.error_rates, other.error_rates, rtol=1e-6, atol=1e-8)
    assert bound == pytest.approx(its, rel=1e-10)


@pytest.mark.parametrize("link", ["linear", "interaction"])
def test_rates_move_and_what_answers_predict_stays(link: str, simulate: Any) -> None:
    made = simulate(5, n_items=200, n_features=3, n_targets=2, n_covariates=1, missing_answers=0.1)
    found = fit(made.answers, made.targets, made.covariates, link, steps=4, shrinkage=False, **APART)
    state = found.state
    data = found.scaling.data(*(torch.from_numpy(part) for part in (made.answers, made.covariates, made.targets)))
    engine = closed_form_for(state.model, data)
    with isolated(0):
        engine.sweep(state)
        engine.maximise(state)
    rates, expected = state.error_rates, state.model.link(state.prior(data.answers), data.covariates).detach()
    total = measured(state, engine).total
    move_error_rates(state, engine)
    assert float((state.error_rates - rates).abs().max()) > 1e-5
    moved = state.model.link(state.prior(data.answers), data.covariates).detach()
    torch.testing.assert_close(moved, expected, rtol=1e-9, atol=1e-9)
    assert measured(state, engine).total >= total


@pytest.mark.slow
def test_a_rare_feature_is_pooled_with_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty answers yes of 2 000, with much noise: without pooling their rate is chance."""
    share = np.full(8, 0.35)
    share[0] = 0.01
    errors: dict[str, list[float]] = {"pooled": [], "alone": []}
    for seed in range(4):
        answers, _, targets = world(seed, 0.15, 0.03, share=share, noise=0.9)
        for name, strength in (("pooled", features_module.POOLING), ("alone", 0.01)):
            monkeypatch.setattr(features_module, "POOLING", strength)
            prior = (1.0, 9.0) if name == "pooled" else (1.0, 1.01)
            errors[name].append(fit(answers, targets, error_rate_prior=prior, **APART).answer_errors.of_yes[0] - 0.15)
        monkeypatch.undo()
    size = {name: float(np.sqrt(np.mean(np.square(each)))) for name, each in errors.items()}
    assert size["pooled"] < 0.09
    assert size["pooled"] < 0.75 * size["alone"]


def test_auto_tells_them_apart_where_the_data_do() -> None:
    answers, _, targets = world(0, 0.15, 0.03, n_items=1000)
    chosen, asked = (fit(answers, targets, error_rates=name) for name in ("auto", "asymmetric"))
    assert chosen.state.model.features.asymmetric
    np.testing.assert_array_equal(chosen.posterior, asked.posterior)
    answers, _, targets = world(0, 0.1, 0.1, n_items=1000)
    chosen, asked = (fit(answers, targets, error_rates=name) for name in ("auto", "symmetric"))
    assert not chosen.state.model.features.asymmetric
    np.testing.assert_array_equal(chosen.posterior, asked.posterior)
    np.testing.assert_array_equal(chosen.bounds, asked.bounds)


def test_what_users_ask_for_follows_by_bayes_rule() -> None:
    random = np.random.default_rng(0)
    answers, truth, _ = world(7, 0.2, 0.05, n_items=200_000, n_features=2, n_targets=1)
    errors = AnswerErrors.of(np.tile([0.2, 0.05], (2, 1)), truth.mean(axis=0))
    assert errors.said_yes == pytest.approx(answers.mean(axis=0), abs=0.01)
    assert errors.overall == pytest.approx((answers != truth).mean(axis=0), abs=0.005)
    for k in range(2):
        assert errors.false_yes[k] == pytest.approx(answers[truth[:, k] == 0, k].mean(), abs=0.01)
        assert errors.false_no[k] == pytest.approx(1 - answers[truth[:, k] == 1, k].mean(), abs=0.01)
    together = random.uniform(0, 0.4, 5)
    assert AnswerErrors.of(together, np.full(5, 0.3)).overall is together


def spread_of(found: FitResult, answers: FloatArray, targets: FloatArray) -> RateSpread | None:
    fitted = found.fitted(answers, targets)
    return rate_spread(fitted.state, fitted.data)


def test_with_one_noisy_target_the_data_do_not_tell_them_apart() -> None:
    known = []
    for n_targets, noise in ((1, 3.0), (4, 1.0)):
        answers, _, targets = world(3, 0.15, 0.03, n_features=3, n_targets=n_targets, noise=noise)
        spread = spread_of(fit(answers, targets, **APART), answers, targets)
        assert spread is not None
        known.append(spread)
    assert not bool(known[0].identified.any())
    assert bool(known[1].identified.all())
    answers, _, targets = world(3, 0.15, 0.03, n_items=200)
    assert spread_of(fit(answers, targets), answers, targets) is None


@pytest.mark.slow
def test_spreads_of_rates_are_how_far_they_are_from_the_truth() -> None:
    off, sizes = [], []
    for seed in range(6):
        answers, _, targets = world(seed, 0.15, 0.05, n_items=1000, n_features=3, noise=1.0)
        found = fit(answers, targets, **APART)
        spread = spread_of(found, answers, targets)
        assert spread is not None
        off.append(found.answer_errors.of_yes - found.answer_errors.of_no - 0.1)
        sizes.append(spread.difference.numpy())
    assert 0.5 < np.sqrt(np.mean(np.square(off))) / np.sqrt(np.mean(np.square(sizes))) < 1.6


def test_columns_come_and_go(apart: Callable[..., tuple[State, Data]]) -> None:
    state, data = apart(6)
    changed = state.with_columns([2, 0], torch.full((12, 1), 0.5).double())
    torch.testing.assert_close(changed.error_rates[:2], state.error_rates[[2, 0]])
    assert changed.error_rates.shape == (3, 2)
    assert changed.model.features.asymmetric
    nothing = state.with_columns([])
    with isolated(0):
        bounds = coordinate(nothing, data.with_answers(data.answers[:, :0]), 2)
    assert nothing.error_rates.shape == (0, 2)
    assert np.isfinite(bounds[-1].total)


def test_draws_of_rates_and_the_likelihood_at_them(apart: Callable[..., tuple[State, Data]]) -> None:
    answers, _, targets = world(2, 0.2, 0.05, n_items=150, n_features=3)
    answers[:20, 0] = np.nan
    found = fit(answers, targets, calibration=0.0, **APART)
    draws = posterior_draws(found.fitted(answers, targets), n=60)
    assert draws.error_rates.shape == (60, 3, 2)
    expected = np.stack([found.answer_errors.of_yes, found.answer_errors.of_no], axis=1)
    np.testing.assert_allclose(draws.error_rates.mean(0), expected, atol=0.04)

    state, data = apart(8, n_items=20)
    rates = state.error_rates.unsqueeze(0).numpy()
    with isolated(0):
        exact = sum_over_assignments(state, data).log_evidence
        z, proposal = _proposed(
            exact_posterior(state, data).marginals, state.prior(data.answers), torch.Generator().manual_seed(0)
        )
        sampled = _averaged(state, data, rates, z, proposal, 0)[0].detach()
    assert float((exact - sampled).abs().mean()) < 0.1


def test_the_potential_by_hand_is_that_of_the_program(apart: Callable[..., tuple[State, Data]]) -> None:
    gaps = []
    for seed in (4, 5):
        state, data = apart(seed)
        with isolated(0):
            at = {"link_and_noise": flattened(state.model) + 0.1, "p_e": torch.logit(state.error_rates)}
            state.model.features.common = torch.tensor([0.1, 0.02]).double()
            hand, program = (make(state.model, data)(at) for make in (potential_by_hand, potential_of_program))
        gaps.append(float((hand - program).detach()))
        assert float(log_evidence(state.model, bit_table(4), state.error_rates, data).sum().detach()) < 0
    assert gaps[0] == pytest.approx(gaps[1])  # the log prior of the common rates, which are held


def test_a_sampler_moves_both_rates(apart: Callable[..., tuple[State, Data]]) -> None:
    state, data = apart(5, n_features=2, n_targets=1)
    add_draws(state, data, seed=1, warm_up=5, samples=5)
    assert state.uncertainty is not None
    assert state.uncertainty.draws is not None
    size = len(flattened(state.model))
    assert state.uncertainty.draws.shape == (4, 5, size + 4)
    assert state.error_rates.shape == (2, 2)
    mean = state.uncertainty.draws.flatten(0, 1).mean(0)[size:]
    np.testing.assert_allclose(mean.view(2, 2), state.error_rates)


def test_one_guide_step_and_its_posterior(apart: Callable[..., tuple[State, Data]]) -> None:
    answers, _, targets = world(1, 0.15, 0.03, n_items=60, n_features=2)
    for inference in ("svi", "structured"):
        found = fit(answers, targets, inference=inference, steps=2, **APART)
        assert found.state.error_rates.shape == (2, 2)
        assert np.isfinite(found.bounds).all()
    state, data = apart(2)
    guide = Coordinate().guide(state, data)
    torch.testing.assert_close(guide.error_rates.detach(), state.error_rates, rtol=1e-6, atol=1e-9)
