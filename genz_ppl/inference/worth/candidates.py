"""What wordings would be worth: which are too rare or too common, and how much each would raise the bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.annotators.answers import voted
from genz_ppl.inference.engines.coordinate import refit, refit_all
from genz_ppl.inference.start import linear_residual, ridge_of
from genz_ppl.inference.state import Bound, Data, State
from genz_ppl.inference.worth.freedom import freedoms
from genz_ppl.inference.worth.judge import missed
from genz_ppl.models.features import prior_probability
from genz_ppl.types import FloatArray

# Wordings that get a full refit; the others are ranked by least squares first.
FINALISTS = 6
# Wordings whose answers differ on a smaller share of the items are one feature.
SAME = 0.01
# Answers, 8 bytes each, that are looked at together.
AT_ONCE = 2**23
STARTING_RATE, HIGHEST_RATE = 0.01, 0.4
#: The error rates of some wordings, (N,), NaN where nothing is known.
Rates = Callable[[Sequence[str]], FloatArray]
#: What the bound is without any of the wordings, for rankings that share it; None for each of its own.
OwnBound = Callable[[], float] | None


@dataclass(frozen=True)
class Candidate:
    """A wording with its answers on the training items, (T,), and the nats it adds to the bound.

    freedoms: of its coefficients, see `freedoms`; None where all are whole. searched: how many wordings it was chosen from,
    beside others and as the only one.
    """

    text: str
    answers: FloatArray
    gain: float
    state: State
    freedoms: tuple[float, ...] | None = None
    searched: float = 1.0
    searched_alone: float = 1.0


def is_balanced(answers: FloatArray, smallest_share: float) -> bool:
    """Whether yes-answers make up at least `smallest_share` of the valid ones, and no-answers too (the 2 % / 98 % rule)."""
    valid = answers[~np.isnan(answers)]
    if len(valid) == 0:
        return False
    return bool(smallest_share <= valid.mean() <= 1 - smallest_share)


def quick_gains(state: State, data: Data, answers: FloatArray) -> FloatArray:
    """Least-squares estimate of what each candidate column would add to the log likelihood, (N,) nats.

    answers: (T, N). The part of each column that the model's features and covariates do not explain is held against what
    the model misses, as its likelihood sees it: an outlier counts no more than it would in the fit. Where features act
    through products with covariates, the best of the products counts.
    """
    with torch.no_grad():
        residual = torch.nan_to_num(missed(state, data))
        error = data.targets - state.model.link(state.posterior, data.covariates)
        ridge = ridge_of(state.model.link, float(error.square().nanmean()))
    size = max(1, AT_ONCE // max(1, len(answers)))
    parts = (answers[:, start : start + size] for start in range(0, max(1, answers.shape[1]), size))
    return np.concatenate([_quick_gains(state, data, part, residual, ridge) for part in parts])


def _quick_gains(state: State, data: Data, answers: FloatArray, residual: Tensor, ridge: Tensor | None) -> FloatArray:
    """Of some columns. residual: what the model misses; ridge: see `ridge_of`."""
    filled = torch.from_numpy(np.where(np.isnan(answers), np.nanmean(answers, axis=0), answers)).to(data.targets.device)
    with torch.no_grad():
        modifiers, gains = state.model.link.modifiers(data.covariates), []
    for modifier in modifiers.T:
        columns = linear_residual(state.posterior, data, filled * modifier.unsqueeze(1), ridge)
        size = (columns**2).sum(0)[:, None] * (residual**2).sum(0)
        share = torch.where(size > 1e-9 * len(columns), (columns.T @ residual) ** 2 / size.clamp(min=1e-300), 0.0)
        gains.append((-0.5 * len(columns) * torch.log1p(-share.clamp(max=1 - 1e-12))).sum(1))
    gain: FloatArray = torch.stack(gains).amax(0).cpu().numpy()
    return gain


def rank_candidates(
    judge: State,
    data: Data,
    texts: list[str],
    answers: FloatArray,
    steps: int,
    rates: Rates | None = None,
    given: Tensor | None = None,
    base: OwnBound = None,
) -> list[Candidate]:
    """The finalists among the wordings, by gain of the judge's bound after a refit, best first. judge: see `judge_of`.

    Without shortcuts all that differ are finalists.

    rates: the error rates at which wordings start, if anything is known of them; it is asked about finalists only. given: what
    each of several annotators has answered, (T, N, A), of which `answers` is the vote. base: the judge's own bound, by
    `better_start`.
    """
    quick = judge.model.shortcuts
    gains = quick_gains(judge, data, answers) if quick else np.zeros(len(texts))
    present = data.answers if given is None else voted(data.answers, judge.error_rates)
    order = finalists(gains, answers, present.cpu().numpy(), FINALISTS if quick else len(texts))
    own_bound = better_start(judge, data, steps)[1] if base is None else base()
    candidates = []
    starts = np.full(len(order), np.nan) if rates is None else rates([texts[index] for index in order])
    known = torch.from_numpy(answers) if given is None else given
    columns = [known[:, index : index + 1].to(data.targets.device) for index in order]
    enlarged = [data.with_answers(torch.cat([data.answers, column], dim=1)) for column in columns]
    trials = [extended(judge, column, rate) for column, rate in zip(columns, starts.tolist(), strict=True)]
    fitted = better_starts(trials, enlarged, steps)
    for index, (trial, bound), its in zip(order, fitted, enlarged, strict=True):
        shares = freedoms(trial, its)
        own = None if shares is None else tuple(shares[-1])
        candidates.append(Candidate(texts[index], answers[:, index].copy(), bound - own_bound, trial, own))
    return sorted(candidates, key=lambda candidate: -candidate.gain)


def better_start(
    state: State, data: Data, steps: int, fitted: Callable[[State, Data, int], Bound] = refit
) -> tuple[State, float]:
    """The better of two refits, and its bound: from the posteriors as they stand, and from the answers. fitted: makes them.

    Posteriors fitted without a feature have already bent to explain what it would; from there its gain can look too small.
    """
    each = fitted

    def one_by_one(states: Sequence[State], data: Sequence[Data], steps: int) -> list[Bound]:
        return [each(state, its, steps) for state, its in zip(states, data, strict=True)]

    return better_starts([state], [data], steps, refit_all if fitted is refit else one_by_one)[0]


def better_starts(
    states: Sequence[State], data: Sequence[Data], steps: int, fitted: Callable[..., list[Bound]] = refit_all
) -> list[tuple[State, float]]:
    """`better_start` of several states, each with its own data."""
    both = [state.copy() for state in states for _ in range(2)]
    for fresh, its in zip(both[1::2], data, strict=True):
        fresh.posterior = fresh.prior(its.answers)
    bounds = [bound.total for bound in fitted(both, [its for its in data for _ in range(2)], steps)]
    pairs = list(zip(both, bounds, strict=True))
    return [warm if warm[1] >= fresh[1] else fresh for warm, fresh in zip(pairs[::2], pairs[1::2], strict=True)]


def finalists(gains: FloatArray, answers: FloatArray, used: FloatArray, most: int = FINALISTS) -> list[int]:
    """At most so many candidates, the largest quick gains first, but none that answers like a feature in use or a better one.

    gains: (N,); answers: (T, N); used: (T, K). The opposite of a wording counts as the same.
    """
    kept = [_signs(used)]

    def is_new(index: int) -> bool:
        signs = _signs(answers[:, index : index + 1])
        if not _differs(signs[:, 0], np.concatenate(kept, axis=1)):
            return False
        kept.append(signs)
        return True

    return distinct(gains, is_new, most)


def distinct(gains: FloatArray, is_new: Callable[[int], bool], most: int) -> list[int]:
    """At most so many that are new, the largest gains first. is_new: whether one differs from all that were new before."""
    chosen: list[int] = []
    # Rounded, so that of a wording and its opposite the one proposed first wins, not the one that rounding favours.
    for index in np.argsort(-np.round(gains, 6), kind="stable").tolist():
        if len(chosen) == most:
            break
        if is_new(index):
            chosen.append(index)
    return chosen


def _signs(answers: FloatArray) -> FloatArray:
    """1 for yes, -1 for no, 0 for no answer."""
    return np.nan_to_num(np.sign(answers - 0.5))


def _differs(signs: FloatArray, others: FloatArray) -> bool:
    """Whether answers, (T,), are those of none of the others, (T, N), nor their opposites; all as `_signs`."""
    both, agreement = np.abs(signs) @ np.abs(others), signs @ others
    share = np.where(both > 0, 0.5 * (both - agreement) / np.maximum(both, 1), 0.5)
    return bool((np.minimum(share, 1 - share) > SAME).all())


def extended(state: State, column: Tensor, known_rate: float = float("nan")) -> State:
    """The state with one more feature whose posterior starts at its answers, (T, 1), or of annotators (T, 1, A).

    known_rate: its error rate as repeated answers tell it, NaN if they do not. Without one it starts low: EM lowers a rate
    that starts at the prior's mean so slowly that a wording that is simply right would look worthless after the few steps of
    a trial.
    """
    kept = list(range(state.posterior.shape[1]))
    if column.dim() == 3:  # at the rates that annotators have in common
        return state.with_columns(kept, prior_probability(column, state.model.features.rates(1)))
    start = min(max(known_rate, STARTING_RATE), HIGHEST_RATE) if known_rate == known_rate else STARTING_RATE
    rate = torch.tensor([start], dtype=torch.float64, device=column.device)
    larger = state.with_columns(kept, prior_probability(column, rate))
    larger.error_rates[-1] = start
    return larger
