"""Join: a feature in use becomes one of two rules, either of which makes it true. It costs no answers."""

from __future__ import annotations

import numpy as np

from genz_ppl.discovery.mine.combine import combinations, searched
from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.run.progress import Event, Progress, pack, unpack, unpacked
from genz_ppl.inference.worth.candidates import is_balanced, quick_gains
from genz_ppl.inference.worth.chance import chance_gain
from genz_ppl.inference.worth.judge import judge_of
from genz_ppl.inference.worth.selection import base_of, filled
from genz_ppl.llm.combined import Combination, rules_of
from genz_ppl.types import FloatArray

# Questions of their own that a feature is joined with, those that tell most.
SIMPLE = 8


def join(cycle: Cycle, progress: Progress) -> list[Event]:
    """Where no addition raises the bound enough: put another rule into a feature in use; a cut and an addition, or nothing.

    Of "this and that, or these two" the first rule takes the whole effect: the items of the others count as its wrong answers,
    and beside it another feature explains little more. As one feature, true where any rule holds, they are told apart from
    errors. Rules are what is not in use of the pool and the combinations of it. By least squares the best rule for the best
    feature is chosen; the bound then must rise by more than the best of all such rules would raise it by chance.
    """
    settings = cycle.settings
    if settings.combine < 2 or not progress.active:
        return []
    data = cycle.training_data(progress)
    judge, judged = judge_of(progress.state, data, settings.refit_steps)
    known = combinations(settings, progress, judge, judged, cycle.counts(progress))
    simple = cycle.usable(progress, progress.pool)
    if simple:
        gains = quick_gains(judge, judged, unpacked([progress.pool[text] for text in simple]))
        best = [simple[place] for place in np.argsort(-gains, kind="stable")[:SIMPLE]]
        known |= {text: unpack(progress.pool[text]) for text in best}
    working = data.with_targets(progress.state.model.likelihood.working(data.targets))
    base, targets = base_of(progress.state, working)
    found = [one for number in range(len(progress.active)) for one in _joined(cycle, progress, number, known, base, targets)]
    if not found:
        return []
    gain, number, text, answers, tried = max(found, key=lambda one: one[0])
    if gain <= 0:
        return []
    return _replaced(cycle, progress, number, text, answers, tried)


def _joined(
    cycle: Cycle, progress: Progress, number: int, known: dict[str, FloatArray], base: FloatArray, targets: FloatArray
) -> list[tuple[float, int, str, FloatArray, float]]:
    """What a feature would be with each of the rules: least-squares gain less chance's, feature, text, answers, rules tried."""
    settings, record = cycle.settings, progress.active[number]
    present, own = unpack(progress.pool[record.text]), rules_of(record.text)
    if len(own) >= settings.combine or record.text in cycle.locked:
        return []
    others = [k for k in range(len(progress.active)) if k != number]
    directions = np.linalg.qr(np.concatenate([base, filled(progress.train_answers[:, others])], axis=1))[0]
    left = targets - directions @ (directions.T @ targets)
    whole = _left_over(directions, left, present)
    counts = searched(cycle.oracle, cycle.items, list(known), progress.n_tried, progress.one_by_one)
    found = []
    for (text, answers), count in zip(known.items(), counts.tolist(), strict=True):
        combination = Combination((*own, *rules_of(text)))
        joined = np.maximum(present, answers)
        right = is_balanced(joined, settings.smallest_share) and len(combination.rules) <= settings.combine
        if not right or not combination.is_readable or combination.text in progress.pool or np.array_equal(joined, present):
            continue
        gain = 0.5 * len(left) * float(np.log(whole / _left_over(directions, left, joined)).sum())
        tried = len(progress.active) * progress.n_tried * count
        found.append((gain - chance_gain(tried, targets.shape[1]), number, combination.text, joined, tried))
    return found


def _left_over(directions: FloatArray, left: FloatArray, answers: FloatArray) -> FloatArray:
    """Squares that a column leaves of what the directions leave, (L,)."""
    column = filled(answers[:, None])[:, 0]
    column = column - directions @ (directions.T @ column)
    squares: FloatArray = (left**2).sum(0) - (column @ left) ** 2 / max(float(column @ column), 1e-9)
    return np.maximum(squares, 1e-9)


def _replaced(cycle: Cycle, progress: Progress, number: int, text: str, answers: FloatArray, tried: float) -> list[Event]:
    """The joined feature in the place of the one in use, if the bound rises by more than chance would raise it."""
    record, others = progress.active[number], [k for k in range(len(progress.active)) if k != number]
    data = cycle.training_data(progress)
    without = progress.state.with_columns(others)
    judge, judged = judge_of(without, data.with_answers(data.answers[:, others]), cycle.settings.refit_steps)
    present = cycle.ranked(progress, judge, judged, {record.text: progress.pool[record.text]})
    joined = cycle.ranked(progress, judge, judged, {text: pack(answers)})
    least = cycle.settings.smallest_gain
    least = chance_gain(tried, judge.model.likelihood.n_free) if least is None else least
    if not present or not joined or joined[0].gain - present[0].gain <= least:
        return []
    record.removed_at, progress.state = progress.step, without
    cycle.keep(progress, joined[0], "joined")
    return [("prune", record.text), ("add", text)]
