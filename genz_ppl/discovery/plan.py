"""What a run would ask and cost at the most, reckoned without a call: nothing leaves this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genz_ppl.data import Items
from genz_ppl.discovery.asking import Batches, most_asked, polarities
from genz_ppl.discovery.planned import Part, Plan, Use
from genz_ppl.discovery.reckoning import ANSWERS, DESCRIPTIONS, Reckoning
from genz_ppl.discovery.run.progress import EARLY
from genz_ppl.discovery.run.raters import check_names
from genz_ppl.discovery.run.record import Brief
from genz_ppl.discovery.run.sampling import sampled
from genz_ppl.llm.served.settings import ModelSettings, is_served, served_name
from genz_ppl.settings import AUTO, DiscoverSettings

__all__ = ["Part", "Plan", "Use", "most_additions", "most_features", "plan"]


def plan(
    items: Items,
    settings: DiscoverSettings,
    model_settings: ModelSettings | None = None,
    brief: Brief | None = None,
    annotators: Sequence[str] = (),
) -> Plan:
    """Count what discovery on `items` would ask at the most, and what a typical run asks.

    model_settings: of a served model; None for one that answers on this machine, which makes no calls. brief: of a 0-shot
    baseline, which is planned in place of a discovery. annotators: who answers, where that is not the model alone; all of them
    answer everything.
    Raises OptionError for a split that leaves too few items and for prompts that are not usable.
    """
    split = items.split_indices(settings.seed, settings.test_fraction, settings.honest)
    split = sampled(split, settings, items.schema, annotators) if brief is None else split
    n_train, n_test, n_held, n_rest = len(split.train), len(split.test), len(split.held), len(split.rest)
    early, cycles = _additions_by_choices(items, settings)
    additions = most_additions(settings) + early + cycles * _additions_of_cycle(settings)
    features = most_features(replace(settings, cycles=settings.cycles + cycles))
    wordings = settings.proposals * polarities(settings)
    answers = most_asked(settings, additions, wordings, n_train, Batches((1,)), lambda count: 0.0).answers
    wordings = wordings * additions + (settings.suggestions or 0)
    parts = min(settings.combine, wordings)
    answers += (features if settings.test_at_end else additions) * parts * n_test + features * parts * (n_held + n_rest)
    if brief is not None:
        additions, features, wordings = 0, brief.n_questions, brief.n_questions
        answers = wordings * (n_train + n_test)
    check_names(annotators)
    everything = round(answers) * max(1, len(annotators))
    outline = Plan(len(items), n_train, n_test, additions, features, wordings, everything, held_items=n_held, rest_items=n_rest)
    if model_settings is None:
        return outline
    times = (additions, min(additions, usual_additions(settings)), features)

    def parts_of(served: ModelSettings) -> list[Part]:
        reckoning = Reckoning(items, split, settings, served, *times)
        return list(reckoning.parts() if brief is None else reckoning.baseline_parts(brief))

    def parts_by(model: str) -> list[Part]:
        return parts_of(replace(model_settings, model=served_name(model))) if is_served(model) else []

    own = parts_by(settings.model) if annotators else parts_of(model_settings)
    answering = [part for model in annotators for part in parts_by(model)] if annotators else own
    # The model words and describes, and every annotator answers; of images each has its own descriptions, by its miner.
    listed = [part for part in own if not part.name.startswith(ANSWERS)]
    listed += [part for part in answering if part.name.startswith(ANSWERS)]
    listed += [part for part in answering if part.name == DESCRIPTIONS and part not in listed]
    return replace(outline, parts=tuple(part for part in listed if part.calls))


def _additions_by_choices(items: Items, settings: DiscoverSettings) -> tuple[int, int]:
    """Additions that a run may throw away to begin again with other noise, and cycles that it may go on for with another link.

    At the most: whether numbers are counts is not looked at.
    """
    if items.targets is None or items.class_names or settings.direction:
        return 0, 0
    if items.schema.embedding:
        from genz_ppl.discovery.run.target_checks import explains_direction  # imports torch

        if explains_direction(items, settings):
            return 0, 0
    early = EARLY if settings.likelihood == AUTO and items.targets.shape[1] == 1 else 0
    return early, int(settings.link == AUTO)


# Cycles that are gone through one by one.
_CYCLES = 1000


def most_additions(settings: DiscoverSettings) -> int:
    """The most times a feature is looked for. A cycle that adds none is the last one."""
    cycles, most = settings.cycles, settings.max_features
    if most is not None and settings.updates == settings.refinements == 0 and (settings.cut == 0 or most == 1):
        cycles = min(cycles, most)  # nothing is ever taken out, so each cycle but the last fills a place for good
    return cycles * _additions_of_cycle(settings)


def _additions_of_cycle(settings: DiscoverSettings) -> int:
    return settings.add + settings.updates + settings.refinements


def usual_additions(settings: DiscoverSettings) -> int:
    """The same where each time one is found: with a limit to the features there is no room for more at times."""
    most, active, found = settings.max_features, 0, [0]
    if most is None:
        return most_additions(settings)
    while len(found) <= min(settings.cycles, most + 1, _CYCLES):  # then it goes on as it went last
        fresh = min(settings.add, most - active)
        found.append(fresh)
        active = active + fresh - min(settings.cut, active + fresh - 1)
    left = settings.cycles - len(found) + 1
    return sum(found) + left * found[-1] + settings.cycles * (settings.updates + settings.refinements)


def most_features(settings: DiscoverSettings) -> int:
    """The most features at a time, all additions being kept. Cuts leave one feature."""
    cycles, add, cut = settings.cycles, settings.add, settings.cut
    highest = cycles * add - (cycles - 1) * cut if add > cut else add + (cycles > 1)
    return highest if settings.max_features is None else min(highest, settings.max_features)
