"""A recommender's model: a backbone, the profiles fused into it, and where new items stand among the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from genz_ppl.errors import OptionError
from genz_ppl.recommend.calibrate import Placing, placing_of
from genz_ppl.recommend.factors import Factors, Matrix, least_squares_factors
from genz_ppl.recommend.fill import Fill
from genz_ppl.recommend.graph import Training, graph_factors
from genz_ppl.recommend.linear import ease_factors, popularity_factors
from genz_ppl.recommend.settings import GRAPH_FUSIONS, RecommendSettings
from genz_ppl.recommend.splits import Split
from genz_ppl.types import FloatArray, IntArray

# EASE and l3 hold a number for each pair of items.
MOST_EASE_ITEMS = 20_000


@dataclass(frozen=True, eq=False)
class Model:
    """factors: of all items. warm: (N,) items that somebody has chosen. fill, placing: None without.

    Called with positions of users it gives their scores of all items, (n, N), of new items as they are placed among the others.
    """

    factors: Factors
    warm: NDArray[np.bool_]
    fill: Fill | None = None
    placing: Placing | None = None

    def __call__(self, rows: IntArray) -> Matrix:
        found = self.factors(rows)
        placed = ~self.warm & self.factors.scored
        if self.placing is not None and placed.any():
            found[:, placed] = self.placing(found[:, placed])
        return found


def trained(
    train: sparse.csr_array,
    settings: RecommendSettings,
    seed: int,
    items: FloatArray | None = None,
    users: FloatArray | None = None,
) -> Model:
    """The model without its placing. items: (N, D) features, users: (U, E); None: nothing is fused."""
    warm = np.asarray(train.sum(axis=0)).ravel() > 0
    if items is None:
        return Model(_backbone(train, replace(settings, fuse="none"), seed), warm)
    factors = _backbone(train, settings, seed, items, users)
    if settings.fuse != "fill":
        return Model(factors, warm)
    fill = Fill.of(factors, items, settings.fill_ridge)
    return Model(fill.filled(factors, items), warm, fill)


def placed(
    model: Model,
    inner: Split,
    settings: RecommendSettings,
    seed: int,
    items: FloatArray,
    users: FloatArray | None = None,
) -> Model:
    """The model with the placing that a second one gives, trained on `inner`, a split of the training side that hides items."""
    if model.warm.all() or not (model.factors.scored & ~model.warm).any():
        return model
    second = trained(inner.train, settings, seed, items, users)
    return replace(model, placing=placing_of(inner, second.factors, settings.favour))


def _backbone(
    train: sparse.csr_array,
    settings: RecommendSettings,
    seed: int,
    items: FloatArray | None = None,
    users: FloatArray | None = None,
) -> Factors:
    if settings.backbone == "popularity":
        return popularity_factors(train)
    if settings.backbone == "als":
        return least_squares_factors(train, settings.dimensions, seed)
    if settings.backbone == "ease":
        if train.shape[1] > MOST_EASE_ITEMS:
            raise OptionError(
                f"backbone: ease weighs each pair of items, and {train.shape[1]} items are more than {MOST_EASE_ITEMS}; take als"
            )
        semantic = items if settings.fuse == "l3" else None
        return ease_factors(train, settings.ridge, settings.balance, semantic, settings.pull, settings.feature_ridge)
    graph = settings.backbone == "lightgcn"
    how = Training(
        fuse=settings.fuse if settings.fuse in GRAPH_FUSIONS else "none",
        loss=settings.loss if graph else "bpr",
        layers=settings.layers if graph else 0,
        dimensions=settings.dimensions,
        steps=settings.steps,
        align=settings.align,
    )
    return graph_factors(train, how, seed, items, users)
