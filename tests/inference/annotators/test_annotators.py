"""Several annotators: one is the paper's model, rates and truth are found, gold labels are the truth, and the program says so."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from pyro import poutine

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference import fit, isolated
from genz_ppl.inference.annotators.answers import voted
from genz_ppl.inference.annotators.fit import agreement, fit_annotators, stacked
from genz_ppl.inference.annotators.telling import cascade, missing_information, most_telling
from genz_ppl.inference.engines.closed_form import ClosedForm
from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.engines.exact import sum_over_assignments
from genz_ppl.inference.engines.sums import LinearGaussian, is_linear_gaussian
from genz_ppl.models.annotators import AnnotatedGenZ
from genz_ppl.types import AnswerErrors


def turned(values: Any, share: float, seed: int) -> Any:
    return np.where(np.random.default_rng(seed).random(values.shape) < share, 1 - values, values)


def world(seed: int = 0, n_items: int = 500, n_features: int = 5, n_targets: int = 3) -> tuple[Any, Any, Any]:
    random = np.random.default_rng(seed)
    weights = random.normal(size=(n_features, n_targets))
    weights = weights + 0.5 * np.sign(weights)
    truth = (random.random((n_items, n_features)) < 0.4).astype(float)
    return truth, truth @ weights + 0.6 * random.normal(size=(n_items, n_targets)), weights


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_one_annotator_is_the_model_of_the_paper(likelihood: str, missing: float) -> None:
    truth, targets, _ = world(n_items=200)
    answers = turned(truth, 0.1, 1)
    answers[np.random.default_rng(2).random(answers.shape) < missing] = np.nan
    found = fit_annotators({"one": answers}, targets, likelihood=likelihood)
    plain = fit(answers, targets, likelihood=likelihood, calibration=0.0, shrinkage=False)
    np.testing.assert_allclose(found.posterior, plain.posterior, atol=1e-9)
    np.testing.assert_allclose(found.error_rates[:, 0], plain.error_rates, atol=1e-9)
    # The bound is that of y and the answers, each of which is yes or no with one half.
    assert found.bounds[-1] == pytest.approx(plain.bound - math.log(2) * (~np.isnan(answers)).sum(), rel=1e-9)
    np.testing.assert_allclose(found.predict({"one": answers}), plain.predict(answers), atol=1e-9)


def test_each_annotators_rates_are_found_and_the_bound_never_falls() -> None:
    truth, targets, _ = world(n_items=1500)
    shares = {"good": 0.05, "bad": 0.25, "seldom": 0.1}
    answers = {name: turned(truth, share, seed) for seed, (name, share) in enumerate(shares.items())}
    answers["seldom"][np.random.default_rng(5).random(truth.shape) < 0.7] = np.nan
    found = fit_annotators(answers, targets)
    wrong = [np.where(np.isnan(values), np.nan, values != truth) for values in answers.values()]
    made = np.stack([np.nanmean(one, axis=0) for one in wrong], axis=1)
    assert np.abs(found.error_rates - made).max() < 0.03
    assert ((found.posterior > 0.5) != truth).mean() < 0.4 * (answers["good"] != truth).mean()
    assert np.diff(found.bounds[:30]).min() > -1e-6 * abs(found.bounds[-1])
    assert np.diff(found.bounds[30:]).min() > -1e-6 * abs(found.bounds[-1])


@pytest.mark.parametrize("calibration", [0.0, 5.0])
def test_what_features_leave_out_is_no_error_of_annotators_that_agree(calibration: float) -> None:
    truth, targets, _ = world(n_items=600, n_features=8)
    answers = {name: turned(truth[:, :4], share, seed) for seed, (name, share) in enumerate((("a", 0.05), ("b", 0.2)))}
    found = fit_annotators(answers, targets, calibration=calibration, shrinkage=True)
    off = np.abs(found.error_rates.mean(0) - [0.05, 0.2])
    assert off.max() < (0.03 if calibration else 0.1), found.error_rates


def test_gold_labels_are_the_truth_and_tell_the_rates() -> None:
    truth, targets, _ = world(n_items=800, n_targets=1)
    answers, gold = turned(truth, 0.2, 1), np.full(truth.shape, np.nan)
    gold[:300] = truth[:300]
    found = fit_annotators({"model": answers}, targets, gold=gold)
    assert (found.posterior[:300] > 0.5).astype(float).tolist() == truth[:300].tolist()
    assert np.abs(found.posterior[:300] - truth[:300]).max() < 1e-3
    assert np.abs(found.error_rates[:, 0] - (answers != truth).mean(0)).max() < 0.05
    assert found.error_rates.shape == (5, 1)


@pytest.mark.parametrize("likelihood", ["poisson", "bernoulli"])
def test_counts_and_classes_are_taken(likelihood: str) -> None:
    truth, targets, _ = world(n_items=300, n_targets=1)
    random = np.random.default_rng(0)
    values = random.poisson(np.exp(0.5 * targets)) if likelihood == "poisson" else targets > np.median(targets)
    answers = {"a": turned(truth, 0.1, 1), "b": turned(truth, 0.2, 2)}
    found = fit_annotators(answers, np.asarray(values, dtype=float), likelihood=likelihood, steps=5)
    assert np.isfinite(found.bounds).all()
    assert found.error_rates[:, 0].mean() < found.error_rates[:, 1].mean()
    assert np.isfinite(found.predict({"a": answers["a"]})).all()


def test_terms_of_the_bound_are_the_programs() -> None:
    truth, targets, _ = world(n_items=30)
    answers = {"a": turned(truth, 0.1, 1), "b": turned(truth, 0.3, 2)}
    answers["b"][:7] = np.nan
    found = fit_annotators(answers, targets, steps=3)
    state, data = found.state, found.data
    z = (torch.from_numpy(found.posterior) > 0.5).double()
    with isolated(0), torch.no_grad():
        program = poutine.condition(AnnotatedGenZ(state.model), data={"z": z, "p_e": state.error_rates})
        trace = poutine.trace(program).get_trace(data.answers, data.covariates, data.targets)
        trace.compute_log_prob()
        expected = sum(trace.nodes[name]["log_prob"].sum() for name in ("z", "h"))
    assert float(data.feature_terms(state.error_rates, z).sum()) == pytest.approx(float(expected), rel=1e-9)
    prior = torch.sigmoid(-((data.answers - 0.5).sign().nan_to_num(0) * torch.logit(state.error_rates)).sum(2))
    np.testing.assert_allclose(found.prior(answers), prior.numpy(), atol=1e-12)


def test_labels_that_tell_most_narrow_effects_more_than_random_ones() -> None:
    errors = []
    for seed in range(4):
        truth, targets, weights = world(seed, n_targets=1)
        targets = targets + np.random.default_rng(seed).normal(size=targets.shape)
        answers = {"model": turned(truth, 0.15, seed + 10)}
        first = fit_annotators(answers, targets)
        chosen = most_telling(first, 150)
        assert len({tuple(cell) for cell in chosen.tolist()}) == 150
        drawn = np.stack(np.unravel_index(np.random.default_rng(seed).permutation(truth.size)[:150], truth.shape), axis=1)
        row = []
        for cells in (chosen, drawn):
            gold = np.full(truth.shape, np.nan)
            gold[cells[:, 0], cells[:, 1]] = truth[cells[:, 0], cells[:, 1]]
            found = fit_annotators(answers, targets, gold=gold)
            row.append(np.sqrt(((found.parameters["weights"] - weights) ** 2).mean()))
        errors.append(row)
    assert np.mean(errors, axis=0)[0] < 0.85 * np.mean(errors, axis=0)[1], errors


def test_a_cascade_asks_for_its_share_and_no_answer_twice() -> None:
    truth, targets, _ = world(n_items=200, n_targets=1)
    cheap, dear, seen = turned(truth, 0.2, 1), turned(truth, 0.05, 2), list[tuple[int, ...]]()

    def ask(cells: Any) -> Any:
        seen.extend(map(tuple, cells.tolist()))
        return dear[cells[:, 0], cells[:, 1]]

    found, answers = cascade(cheap, ask, targets, 0.12)
    assert len(seen) == len(set(seen)) == 120
    assert np.count_nonzero(~np.isnan(answers)) == 120
    assert found.names == ("cheap", "dear")
    assert missing_information(found).shape == truth.shape


def test_wrong_answers_are_refused_with_the_annotators_name() -> None:
    truth, targets, _ = world(n_items=20)
    with pytest.raises(OptionError, match="expected answers of at least one"):
        fit_annotators({}, targets)
    with pytest.raises(InputError, match="annotator b: answers: expected 1, 0 or NaN, got 2"):
        fit_annotators({"a": truth, "b": truth + 1}, targets)
    with pytest.raises(InputError, match="annotator b: expected answers about 20 items and 5 questions, got 19 and 5"):
        stacked({"a": truth, "b": truth[1:]})
    found = fit_annotators({"a": truth}, targets, steps=2)
    with pytest.raises(InputError, match=r"no annotator 'c'; it has a"):
        found.predict({"c": truth})
    with pytest.raises(OptionError, match=r"from 1 to 100, .* got 101"):
        most_telling(found, 101)
    with pytest.raises(OptionError, match="cascade: expected a share"):
        cascade(truth, lambda cells: truth[cells[:, 0], cells[:, 1]], targets, 0.0)


def test_agreement_counts_what_both_have_answered() -> None:
    one, other = np.array([[1.0, 0.0], [1.0, np.nan]]), np.array([[1.0, 1.0], [np.nan, 1.0]])
    np.testing.assert_array_equal(agreement([one, other, np.full((2, 2), np.nan)])[:2, :2], [[1.0, 0.5], [0.5, 1.0]])
    assert np.isnan(agreement([one, np.full((2, 2), np.nan)])[0, 1])


def test_given_the_answers_what_explains_them_is_out_of_the_bound() -> None:
    """Each answer of one annotator is yes or no with one half."""
    truth, targets, _ = world(n_items=200)
    answers = turned(truth, 0.1, 1)
    found = fit_annotators({"one": answers}, targets)
    given, joint = (refit(found.state.copy(), replace(found.data, given=given), 1).total for given in (True, False))
    assert given - joint == pytest.approx(math.log(2) * answers.size)


def test_given_the_answers_the_bound_is_below_the_exact_density_and_near() -> None:
    truth, targets, _ = world(n_items=300, n_features=3)
    answers = {name: turned(truth, share, seed) for seed, (name, share) in enumerate({"a": 0.05, "b": 0.2, "c": 0.3}.items())}
    found = fit_annotators(answers, targets)
    state, data = found.state.copy(), replace(found.data, given=True)
    bound = refit(state, data, 1)
    exact = sum_over_assignments(state, data).log_evidence.sum()
    total = bound.total - bound.penalty
    assert total <= float(exact) + 1e-6
    assert total > float(exact) - 0.05 * len(targets)


def test_votes_weigh_annotators_and_the_first_decides_where_they_are_even() -> None:
    answers = torch.tensor([[[1.0, 0.0, 0.0]], [[float("nan")] * 3], [[float("nan"), 0.0, 1.0]]], dtype=torch.float64)
    even, best = torch.full((3,), 0.1, dtype=torch.float64), torch.tensor([0.01, 0.3, 0.3], dtype=torch.float64)
    np.testing.assert_array_equal(voted(answers, even)[:, 0], [0.0, np.nan, 0.0])
    np.testing.assert_array_equal(voted(answers, best)[:, 0], [1.0, np.nan, 0.0])


def test_together_annotators_err_as_often_as_the_likelier_truth_is_wrong() -> None:
    rates = np.array([[0.1, 0.2, 0.3], [0.02, 0.4, 0.4]])
    random = np.random.default_rng(0)
    wrong = random.random((200_000, 2, 3)) < rates  # of a truth that is always yes
    odds = np.log((1 - rates) / rates)
    mistaken = ((np.where(wrong, -odds, odds)).sum(axis=2) < 0).mean(axis=0)
    np.testing.assert_allclose(AnswerErrors.together(rates, np.zeros(2)).overall, mistaken, atol=0.003)


@pytest.mark.parametrize("calibration", [0.0, 5.0])
def test_steps_by_sums_over_items_are_those_item_by_item(calibration: float) -> None:
    truth, targets, _ = world(n_items=300)
    answers = {"a": turned(truth, 0.05, 1), "b": turned(truth, 0.2, 2)}
    found = fit_annotators(answers, targets, calibration=calibration, shrinkage=True, steps=5)
    quick, slow = found.state.copy(), found.state.copy()
    for state, engine in ((quick, LinearGaussian(found.data)), (slow, ClosedForm(found.data))):
        for _ in range(4):
            engine.sweep(state)
            engine.maximise(state)
            engine.error_rates(state)
    assert is_linear_gaussian(found.state.model, found.data)
    np.testing.assert_allclose(quick.posterior, slow.posterior, atol=1e-7)
    np.testing.assert_allclose(quick.error_rates, slow.error_rates, atol=1e-8)
    of_quick, of_slow = (one.model.likelihood.scale.detach() for one in (quick, slow))
    np.testing.assert_allclose(of_quick, of_slow, atol=1e-8)
