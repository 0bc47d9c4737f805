"""What profiles say of items, as numbers: vectors, answers and posteriors, in columns that know their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from genz_ppl.errors import OptionError
from genz_ppl.profiles import Profiles
from genz_ppl.types import FloatArray

FEATURES = ("vector", "answers", "q")


@dataclass(frozen=True, eq=False)
class ItemFeatures:
    """ids: of N items. matrix: (N, D), the mean of the others where nothing is known. names: (D,), "" for a number of a vector.

    means: (D,). said: (N, D) whether a cell is known. missing: ids of the items without a profile.
    """

    ids: tuple[str, ...]
    matrix: FloatArray
    names: tuple[str, ...]
    means: FloatArray
    said: np.ndarray
    missing: tuple[str, ...]

    @property
    def questions(self) -> tuple[str, ...]:
        """The texts among the names."""
        return tuple(name for name in self.names if name)

    def shuffled(self, seed: int) -> ItemFeatures:
        """The same rows, dealt to other items at random."""
        dealt = np.random.RandomState(seed).permutation(len(self.ids))
        return replace(self, matrix=self.matrix[dealt], said=self.said[dealt])


def item_features(profiles: Profiles, kinds: Sequence[str], ids: Sequence[str]) -> ItemFeatures:
    """The features of these items. kinds: of "vector" (length 1), "answers" (0 or 1) and "q" (a probability), side by side.

    Raises OptionError for a kind that is none, is there twice, or of which the profiles know nothing.
    """
    unknown = [kind for kind in kinds if kind not in FEATURES]
    if unknown or not kinds or len(set(kinds)) < len(kinds):
        raise OptionError(f"features: expected one or more of {', '.join(FEATURES)}, each once, got {','.join(kinds) or 'none'}")
    place = {name: at for at, name in enumerate(profiles.ids)}
    at = np.array([place.get(name, -1) for name in ids])
    if (at < 0).all():
        raise OptionError(f"{profiles.source}: has a profile of none of the {len(ids)} items; give the profiles of these items")
    blocks, names = [], []
    for kind in kinds:
        block = profiles.vectors.astype(np.float64) if kind == "vector" else getattr(profiles, kind)
        if not block.shape[1] or not np.isfinite(block).any():
            missing = "no vectors" if kind == "vector" else f"no {kind}; make them with genz profile --questions"
            raise OptionError(f"features: {profiles.source} has {missing}, or name other ones")
        blocks.append(block)
        names += [""] * block.shape[1] if kind == "vector" else list(profiles.questions)
    known = np.concatenate(blocks, axis=1)
    rows = np.where((at >= 0)[:, None], known[at], np.nan)
    said = np.isfinite(rows)
    counts = said.sum(axis=0)
    means = np.where(said, rows, 0.0).sum(axis=0) / np.maximum(counts, 1)
    nothing = tuple(name for name, row in zip(ids, said, strict=True) if not row.any())
    return ItemFeatures(tuple(ids), np.where(said, rows, means), tuple(names), means, said, nothing)


def default_features(profiles: Profiles) -> tuple[str, ...]:
    """Answers where there are questions, else vectors."""
    return ("answers",) if profiles.questions else ("vector",)
