"""How many ratings a prediction is worth: Fig. 5's simulation, with the prediction and the warm start beside the ratings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genz_ppl.discovery.ratings.rated_run import OnItem, RatedRun
from genz_ppl.errors import OptionError
from genz_ppl.types import FloatArray

DEFAULT_ITEMS = 100
DEFAULT_RATINGS = 1000
BAND = 0.9
CURVES = ("prior", "ratings", "both")


@dataclass(frozen=True, eq=False)
class ColdStart:
    """Cosine similarity to the embedding that an item has with all its ratings, after 1, 2, ... N of them in random order.

    cosines: by curve, (items, N), NaN where an item has fewer ratings: "prior" is the prediction from the questions, "ratings"
    the exact fold-in alone, "both" the warm start. items: the ids.
    """

    items: tuple[str, ...]
    cosines: dict[str, FloatArray]

    @property
    def table(self) -> pd.DataFrame:
        """One row for each number of ratings: n_ratings, n_items (those with so many), then of every curve mean, lower and upper
        (the middle 90 % of the items), margin (by how much "both" is above the better of the two others on the same items, in
        the mean) and margin_se (its standard error, items paired)."""
        there = ~np.isnan(self.cosines["ratings"])
        n_items = there.sum(axis=0)
        columns: dict[str, NDArray[Any]] = {"n_ratings": np.arange(1, len(n_items) + 1), "n_items": n_items}
        tail = (1.0 - BAND) / 2.0
        for name in CURVES:
            values = np.where(there, self.cosines[name], np.nan)
            lower, upper = np.nanquantile(values, [tail, 1.0 - tail], axis=0)
            columns |= {f"{name}_mean": np.nanmean(values, axis=0), f"{name}_lower": lower, f"{name}_upper": upper}
        better = np.where(columns["ratings_mean"] > columns["prior_mean"], self.cosines["ratings"], self.cosines["prior"])
        margins = np.where(there, self.cosines["both"] - better, np.nan)
        columns["margin"] = np.nanmean(margins, axis=0)
        squares = np.nansum((margins - columns["margin"]) ** 2, axis=0)
        columns["margin_se"] = np.where(n_items > 1, np.sqrt(squares / np.maximum(n_items - 1, 1) / n_items), np.nan)
        return pd.DataFrame(columns)

    @property
    def worth(self) -> int | None:
        """The first number of ratings whose mean cosine reaches the prediction's on the same items; None: none tried does."""
        table = self.table
        reached = np.flatnonzero(table["ratings_mean"].to_numpy() >= table["prior_mean"].to_numpy())
        return int(table["n_ratings"].iloc[int(reached[0])]) if len(reached) else None


def simulate(
    rated: RatedRun,
    n_items: int = DEFAULT_ITEMS,
    n_ratings: int = DEFAULT_RATINGS,
    seed: int = 0,
    on_item: OnItem | None = None,
) -> ColdStart:
    """Take test items out of the ratings one at a time and give them their ratings back in random order.

    n_items: how many, drawn without replacement; all, if there are fewer. n_ratings: N; no more than the most rated of them has.
    on_item: called with (done, all). The users' factors are those of the matrix without the item (`Factors.without`), and they
    stay as they are while its ratings come back, so all of an item's path is one cumulative sum. Test items only: of the others
    the model has seen the embedding.

    Raises OptionError for numbers below 1.
    """
    for name, value in (("items", n_items), ("ratings", n_ratings)):
        if value < 1:
            raise OptionError(f"{name}: expected a whole number of at least 1, got {value}")
    names = rated.run.record.split.test
    random = np.random.default_rng(seed)
    chosen = [names[position] for position in random.permutation(len(names))[:n_items]]
    place = {name: position for position, name in enumerate(rated.items.ids)}
    priors = rated.priors(rated.items.take([place[name] for name in chosen]))
    rows: dict[str, list[FloatArray]] = {name: [] for name in CURVES}
    for done, (name, prior) in enumerate(zip(chosen, priors, strict=True)):
        held = rated.held(name)
        parts = held.parts()[random.permutation(len(held.values))[:n_ratings]]
        sums = np.cumsum(parts, axis=0)
        rows["prior"].append(np.full(len(sums), cosine(prior.mean[None], held.embedding)[0]))
        rows["ratings"].append(cosine(sums, held.embedding))
        rows["both"].append(cosine(rated.warm.path(prior, rated.stretch * sums), held.embedding))
        if on_item is not None:
            on_item(done + 1, len(chosen))
    longest = max(len(row) for row in rows["ratings"])
    padded = {name: np.array([_padded(row, longest) for row in found]) for name, found in rows.items()}
    return ColdStart(tuple(chosen), padded)


def _padded(row: FloatArray, length: int) -> FloatArray:
    return np.pad(row, (0, length - len(row)), constant_values=np.nan)


def cosine(vectors: FloatArray, other: FloatArray) -> FloatArray:
    """Of each vector, (n, D), with another, (D,); 0 where one has no length."""
    size = np.linalg.norm(vectors, axis=1) * np.linalg.norm(other)
    similarity: FloatArray = np.where(size > 0, vectors @ other / np.where(size > 0, size, 1.0), 0.0)
    return similarity
