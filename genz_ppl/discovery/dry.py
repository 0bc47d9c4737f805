"""The first contrasts of a run and the prompts for them, as they would be sent: nothing is asked, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from genz_ppl.data import Items
from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.mine.splits import packed_split
from genz_ppl.discovery.run.mining import MiningRun
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.discovery.run.progress import Counters
from genz_ppl.discovery.run.sampling import sampled
from genz_ppl.discovery.run.target_checks import check_training_targets
from genz_ppl.errors import InputError, ModelError
from genz_ppl.inference.isolation import isolated
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.templates import Prompts, Rendered, cut_text
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import Contrast, FloatArray, Item


@dataclass(frozen=True)
class DryContrast:
    """One contrast. sharpness: of its split, the mean of (2 q - 1)^2 over training items; prompts: one for either polarity, or
    one for each."""

    contrast: Contrast
    sharpness: float
    prompts: tuple[Rendered, ...]


class _Silent:
    """A model that must not be asked."""

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        raise ModelError("a dry run asks nothing")

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        raise ModelError("a dry run asks nothing")

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        raise ModelError("a dry run asks nothing")


def dry_contrasts(
    items: Items, settings: DiscoverSettings, count: int, model_settings: ModelSettings | None = None
) -> list[DryContrast]:
    """The first contrast of a run, then those it would turn to if nothing were found: at most one for each of `splits`.

    Of a run that starts from suggestions those are meant which it would send if none of them were of use.
    model_settings: of a served model, whose prompts are rendered; the built-in prompts if None. Images are not described.
    Raises InputError and OptionError as `discover` does.
    """
    if items.targets is None:
        raise InputError(f"{items.name}: has no target column; pass target= (--target on the command line)")
    parts = sampled(items.split_indices(settings.seed, settings.test_fraction, settings.honest), settings, items.schema)
    check_training_targets(items, parts)
    run = MiningRun(Problem(items, parts, settings))
    progress, problem = run.start(), run.problem
    served = model_settings or ModelSettings()
    oracle = Oracle(_Silent(), Counters())
    cycle = Cycle(settings, problem.train.items, problem.test.items, problem.data, oracle, problem.strategy)
    progress.to(problem.device)
    progress.step = 1
    found: list[DryContrast] = []
    with problem.threads():
        for _ in range(min(count, settings.splits)):
            with isolated(run.seed_of(0)):
                data = cycle.training_data(progress)
                split = cycle.split(progress, data)
                contrast = cycle.contrast(progress, *cycle.shown(progress, split, cycle.compared(progress, data, split)))
            if split.before:
                break  # there are no more splits than those
            progress.splits.append(packed_split(split.posterior))
            sharpness = float(np.mean((2 * split.posterior - 1) ** 2))
            found.append(DryContrast(contrast, sharpness, rendered(contrast, settings, served)))
    return found


def rendered(contrast: Contrast, settings: DiscoverSettings, served: ModelSettings) -> tuple[Rendered, ...]:
    """The prompts that ask for wordings of a contrast, one way round or both."""
    prompts = Prompts.load(served.prompts)
    if not contrast.positive or not contrast.negative:
        return ()
    both = settings.polarity == "both" and prompts.asks_both
    sides = {"both": [contrast, contrast.reversed()], "positive": [contrast], "negative": [contrast.reversed()]}
    asked = [contrast] if both else sides[settings.polarity]

    def texts(items: Sequence[Item]) -> list[str]:
        return [cut_text(item.text, served.text_limit) for item in items]

    return tuple(
        prompts.mine(texts(one.positive), texts(one.negative), one.context, one.existing, settings.proposals, both=both)
        for one in asked
    )
