"""Whether profiles help: the same model with them, without them, and with profiles dealt to other items, on the same splits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from genz_ppl.recommend.features import ItemFeatures
from genz_ppl.recommend.interactions import Interactions
from genz_ppl.recommend.models import Model, placed, trained
from genz_ppl.recommend.ranking import ranked
from genz_ppl.recommend.settings import RecommendSettings
from genz_ppl.recommend.significance import Paired, in_words, paired_t
from genz_ppl.recommend.splits import Split, hidden_again, split_of
from genz_ppl.types import FloatArray

FUSED, PLAIN, SHUFFLED = "fused", "none", "shuffled"
AGAINST = {PLAIN: "no profiles", SHUFFLED: "shuffled profiles"}
LENGTHS = (10, 20)
TESTED = ("ndcg@10", "ndcg@20", "recall@20")
PRIMARY = "ndcg@10"
Metrics = dict[str, dict[str, list[float]]]
OnModel = Callable[[int, str], None]


@dataclass(frozen=True)
class Comparison:
    """One paired test: the fused model against another one, in a stratum, by seeds or (where the split is given) by users."""

    against: str
    stratum: str
    metric: str
    by: str
    test: Paired

    def to_dict(self) -> dict[str, Any]:
        """Of plain numbers."""
        return {"against": self.against, "stratum": self.stratum, "metric": self.metric, "by": self.by, **self.test.to_dict()}

    def in_words(self) -> str:
        """The verdict of this test."""
        shown = {"cold": "new items", "all": "all items"}.get(self.stratum, f"{self.stratum} items")
        return f"{shown}: {in_words(self.test, self.metric, AGAINST[self.against])}"


@dataclass(frozen=True)
class Proof:
    """values: {model: {stratum: {metric: [one value a seed]}}} of the models fused, none and shuffled; seconds: of a processor
    that training took, {model: [one a seed]}. left_out: test pairs of users without a training pair, a seed."""

    split: str
    values: dict[str, Metrics]
    comparisons: tuple[Comparison, ...]
    seconds: dict[str, list[float]]
    left_out: tuple[int, ...]

    @property
    def metrics(self) -> Metrics:
        """Of the model that is recommended with."""
        return self.values[FUSED if FUSED in self.values else PLAIN]

    def verdict(self) -> list[str]:
        """A sentence for each model compared with, of new items where there are any, and of all."""
        strata = [name for name in ("cold", "all") if self.metrics.get(name)]
        return [one.in_words() for name in strata for one in self.comparisons if (one.stratum, one.metric) == (name, PRIMARY)]


def prove(
    known: Interactions,
    settings: RecommendSettings,
    items: ItemFeatures | None,
    users: FloatArray | None = None,
    on_model: OnModel | None = None,
) -> Proof:
    """Train and judge every model on every seed's split. items: of known.items; None: no profiles."""
    names = [PLAIN] if items is None else [FUSED, PLAIN, *([SHUFFLED] if settings.control else [])]
    values: dict[str, Metrics] = {name: {} for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    by_user: dict[str, dict[str, dict[str, FloatArray]]] = {}
    left_out = []
    for seed in range(settings.seed, settings.seed + settings.seeds):
        split = split_of(known, settings.split, seed)
        left_out.append(split.left_out)
        inner = hidden_again(known, split.train, seed) if split.cold.any() and items is not None else None
        for name in names:
            if on_model is not None:
                on_model(seed, name)
            held = None if items is None or name == PLAIN else items if name == FUSED else items.shuffled(seed)
            began = time.process_time()
            model = trained(split.train, settings, seed, None if held is None else held.matrix, None if held is None else users)
            seconds[name].append(time.process_time() - began)
            if inner is not None and held is not None:
                model = placed(model, inner, settings, seed, held.matrix, users)
            judged = judge(model, split)
            by_user.setdefault(name, judged)
            for stratum, metrics in judged.items():
                for metric, found in metrics.items():
                    values[name].setdefault(stratum, {}).setdefault(metric, []).append(float(found.mean()))
    return Proof(settings.split, values, tuple(_comparisons(values, by_user, settings)), seconds, tuple(left_out))


def judge(model: Model, split: Split) -> dict[str, dict[str, FloatArray]]:
    """{stratum: {metric: (V,)}} by users. "all", "head" and "tail": what counts in lists of all items; "all" of a split with new
    items has warm_ndcg@K, …, too. "cold": in lists of new items alone; mixed_ndcg@K, …: what new items count in lists of all.
    """
    strata = split.strata()
    cold = strata.pop("cold")
    if cold.any():
        strata |= {"warm": ~cold, "mixed": cold}
    found = ranked(model, split.train, split.test, at=LENGTHS, relevant=strata)
    if cold.any():
        warm, mixed = found.pop("warm"), found.pop("mixed")
        apart = ranked(model.factors, split.train, split.test, at=LENGTHS, candidates=cold, relevant={"cold": cold})["cold"]
        found["all"] |= _named("warm", warm)
        found["cold"] = apart | _named("mixed", mixed)
    return {stratum: metrics for stratum, metrics in found.items() if metrics["users"][0] > 0}


def _named(prefix: str, metrics: dict[str, FloatArray]) -> dict[str, FloatArray]:
    return {f"{prefix}_{name}": values for name, values in metrics.items() if name.startswith(("ndcg", "recall", "mrr"))}


def _comparisons(
    values: dict[str, Metrics], by_user: dict[str, dict[str, dict[str, FloatArray]]], settings: RecommendSettings
) -> list[Comparison]:
    found = []
    for against in (PLAIN, SHUFFLED):
        if against not in values or FUSED not in values or settings.seeds < 2:
            continue
        for stratum, metrics in values[FUSED].items():
            for metric in TESTED:
                a, b = metrics[metric], values[against].get(stratum, {}).get(metric, [])
                by = "seed"
                if settings.fixed:  # the seeds share their test pairs: users are what varies
                    by, a, b = "user", list(by_user[FUSED][stratum][metric]), list(by_user[against][stratum][metric])
                if len(a) == len(b) and len(a) > 1 and np.isfinite([*a, *b]).all():
                    found.append(Comparison(against, stratum, metric, by, paired_t(a, b)))
    return found
