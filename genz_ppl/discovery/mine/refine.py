"""Refine: a feature in use is worded anew from items where its answers and its posterior agree and where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genz_ppl.discovery.mine.contrast import build_contrast, disputed_exemplars
from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.mine.price import least_gain
from genz_ppl.discovery.mine.wordings import proposed
from genz_ppl.discovery.run.progress import Event, Progress, unpack
from genz_ppl.inference.worth.judge import judge_of


def refine(cycle: Cycle, progress: Progress) -> list[Event]:
    """Look for a better wording of one feature in use; returns the events, with a cut and an addition if one takes its place.

    Its posterior says which items its wording should hold for, given the targets and the other features. What is proposed for
    that split competes with the wording in use, each beside the other features: it must raise the bound by as much more as
    an addition must. The feature is the one in most dispute, at the second refinement of a cycle the next one, and so on.
    """
    ranked = disputes(progress)
    if not ranked:
        return []
    number = ranked[(progress.refinements_done - 1) % len(ranked)]
    record, others = progress.active[number], [k for k in range(len(progress.active)) if k != number]
    posterior = progress.state.posterior[:, number].cpu().numpy()
    random = np.random.default_rng([cycle.settings.seed, progress.step])
    positive, negative = disputed_exemplars(posterior, unpack(progress.pool[record.text]), cycle.settings.exemplars, random)
    texts = [one.text for one in progress.active]
    answers = progress.train_answers
    contrast = build_contrast(cycle.items, positive, negative, answers[:, others], [texts[k] for k in others], (record.text,))
    # The items that the posterior moves, either way: their answers put them in the other group.
    present = unpack(progress.pool[record.text])
    moved = [cycle.items[t].id for side, value in ((positive, 0.0), (negative, 1.0)) for t in side if present[t] == value]
    contrast = replace(contrast, improved=record.text, moved=tuple(moved))
    wordings = proposed(cycle.oracle, cycle.settings, contrast, cycle.vetoed)
    race = cycle.race(progress, posterior, np.arange(len(posterior)), record.text)
    events = cycle.discarded(progress, cycle.answered(progress, race, wordings, []))
    rivals = cycle.usable(progress, wordings)
    if not rivals:
        return events
    data = cycle.training_data(progress)
    without = progress.state.with_columns(others)
    judge, judged = judge_of(without, data.with_answers(data.answers[:, others]), cycle.settings.refit_steps)
    current, found = (
        cycle.ranked(progress, judge, judged, {text: progress.pool[text] for text in some}) for some in ([record.text], rivals)
    )
    worth = current[0].gain if current else 0.0
    if not found or found[0].gain - worth <= least_gain(cycle.settings, progress, found[0]):
        return events
    record.removed_at, progress.state = progress.step, without
    cycle.keep(progress, found[0], "refined")
    return [*events, ("prune", record.text), ("add", found[0].text)]


def disputes(progress: Progress) -> list[int]:
    """Columns of the features whose posterior contradicts some of their answers, those with most such items first."""
    answers, modes = progress.train_answers, progress.state.posterior.cpu().numpy() > 0.5
    counts = ((answers != modes) & ~np.isnan(answers)).sum(axis=0)
    return [int(k) for k in np.argsort(-counts, kind="stable") if counts[k] > 0]
