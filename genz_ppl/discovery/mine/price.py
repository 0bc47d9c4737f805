"""What the features of a run must be worth, by its settings and by what their coefficients are free to do."""

from __future__ import annotations

from collections.abc import Sequence

from genz_ppl.discovery.run.progress import FeatureRecord, Progress, Snapshot
from genz_ppl.inference.worth.candidates import Candidate
from genz_ppl.inference.worth.chance import chance_gain, shrunk_chance_gain
from genz_ppl.settings import DiscoverSettings


def chance(
    progress: Progress, kept: int, own: Sequence[float] | None = None, found: Candidate | FeatureRecord | None = None
) -> float:
    """What the best of all wordings tried gains by chance, as the first feature or a later one. See `chance_gain`.

    kept: how many features there are with it. own: the freedoms of the feature's coefficients, if they are known and not all
    whole; found: the wording, which the model found among others. Of counts and classes one in twenty of the features kept may
    be there by chance (Benjamini and Hochberg 1995), so that each is held against so many fewer wordings. Of numbers one in one
    of twenty data sets, and beside others a cut of a number counts once: by either rule of classes houses were predicted worse.
    """
    model, first = progress.state.model, kept < 2
    counted = 1.0 if found is None else max(found.searched, found.searched_alone) if first else found.searched
    number = progress.n_tried * counted / (1 if progress.one_by_one else max(1, kept))
    if own is not None:
        return shrunk_chance_gain(number, own, first)
    return chance_gain(number, model.link.n_modifiers * model.likelihood.n_free, first)


def least_gain(settings: DiscoverSettings, progress: Progress, candidate: Candidate) -> float:
    """Nats by which a wording must raise the bound: as the settings say, or the level of chance."""
    least = settings.smallest_gain
    return chance(progress, len(progress.active) + 1, candidate.freedoms, candidate) if least is None else least


def price(
    settings: DiscoverSettings, progress: Progress, kept: int, own: Sequence[float] | None, found: Candidate | FeatureRecord
) -> float:
    """Nats that a feature must be worth in the end, alone or beside others: as the settings say, or the level of chance."""
    worth = settings.smallest_worth
    return chance(progress, kept, own, found) if worth is None else worth


def prices(settings: DiscoverSettings, progress: Progress, own: Sequence[Sequence[float]] | None) -> list[float]:
    """What each active feature must be worth beside the others, in nats. own: their freedoms."""
    records = progress.active
    each = zip(records, [None] * len(records) if own is None else own, strict=True)
    return [price(settings, progress, len(records), freedoms, record) for record, freedoms in each]


def cost(settings: DiscoverSettings, progress: Progress, model: Snapshot) -> float:
    """The price of a model's features together, in nats."""
    own: Sequence[Sequence[float] | None] = [None] * len(model.ids) if model.freedoms is None else model.freedoms
    records = {record.id: record for record in progress.features}
    each = enumerate(zip(model.ids, own, strict=True), start=1)
    return sum(price(settings, progress, number, freedoms, records[id]) for number, (id, freedoms) in each)


def limits_of_cuts(settings: DiscoverSettings, progress: Progress) -> list[float]:
    """Nats that a cut may cost, by active feature: any for most, none for one that was cut before.

    A cut explores what else there is; taken back, it has shown that nothing else is better. As published there is no such rule.
    """
    cut = set() if settings.paper else {record.text for record in progress.features if not record.active}
    return [float("-inf") if record.text in cut else float("inf") for record in progress.active]
