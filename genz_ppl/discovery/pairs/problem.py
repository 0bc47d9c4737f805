"""Two sides and the pairs between them, split once; positions among all items and among those for fitting."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from genz_ppl.data import Items
from genz_ppl.data.pair_split import PairSplit, split_pairs
from genz_ppl.discovery.pairs.folder import SIDE_NAMES
from genz_ppl.discovery.run.record import PairRecord, Sides
from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.pairs.training import PairTensors
from genz_ppl.models import LIKELIHOODS
from genz_ppl.types import FloatArray, IntArray, Pairs

# The column of labels that hands a side's split to its search.
SPLIT_COLUMN = "split of the pairs"


@dataclass(frozen=True, eq=False)
class PairSide:
    """One set of items. ids: all N; items: their descriptions, None where the side is undescribed; train, test: positions."""

    name: str
    ids: tuple[str, ...]
    items: Items | None
    train: IntArray
    test: IntArray

    @property
    def covariates(self) -> FloatArray:
        """(N, P); (N, 0) where undescribed."""
        return np.zeros((len(self.ids), 0)) if self.items is None else self.items.covariates

    def with_targets(self, targets: FloatArray, names: Sequence[str]) -> Items:
        """The side as items to explain: targets (N, E), test items marked as such."""
        if self.items is None:
            raise ValueError(f"{self.name} are undescribed")
        labels = np.full(len(self.ids), "train", dtype=object)
        labels[self.test] = "test"
        schema = replace(self.items.schema, target=tuple(names), split=SPLIT_COLUMN, group=None)
        return replace(
            self.items, schema=schema, targets=targets, split_labels=tuple(labels), group_labels=None, name=self.items.name
        )


@dataclass(frozen=True, eq=False)
class PairProblem:
    """What a run is about. pairs: positions among all items; split: of both sides and of the pairs."""

    rows: PairSide
    columns: PairSide
    pairs: Pairs
    split: PairSplit

    @classmethod
    def of(
        cls,
        rows: Items | Sequence[str],
        columns: Items | Sequence[str],
        pairs: Pairs,
        seed: int,
        test_fraction: float,
        pair_fraction: float,
    ) -> PairProblem:
        """rows, columns: items, or the ids of an undescribed side, whose items are all for fitting.

        Raises OptionError where neither side is described, InputError where pairs and sides do not fit.
        """
        described = [isinstance(side, Items) for side in (rows, columns)]
        if not any(described):
            raise OptionError("neither side is described; give a table of items for the rows, the columns or both")
        for name, side in zip(SIDE_NAMES, (rows, columns), strict=True):
            if isinstance(side, Items) and side.varying_labels is not None:
                raise OptionError(f"{name}: effects that vary by a column are not for two kinds of items; leave varying out")
        sides = [(side.ids, side) if isinstance(side, Items) else (tuple(side), None) for side in (rows, columns)]
        for name, (ids, _), size in zip(SIDE_NAMES, sides, (pairs.n_rows, pairs.n_columns), strict=True):
            if len(ids) != size:
                raise InputError(f"pairs: expected positions among {len(ids)} {name}, got those among {size}")
        fractions = [test_fraction if known and len(ids) > 2 else 0.0 for known, (ids, _) in zip(described, sides, strict=True)]
        split = split_pairs(pairs, seed, (fractions[0], fractions[1]), pair_fraction)
        parts = ((split.train_rows, split.test_rows), (split.train_columns, split.test_columns))
        first, second = (
            PairSide(name, ids, items, np.sort(train), np.sort(test))
            for name, (ids, items), (train, test) in zip(SIDE_NAMES, sides, parts, strict=True)
        )
        return cls(first, second, pairs, split)

    @classmethod
    def recorded(
        cls, rows: Items | Sequence[str], columns: Items | Sequence[str], pairs: Pairs, record: PairRecord, run: object
    ) -> PairProblem:
        """The same data as those of a run, split as they were. Raises InputError if they are not the same."""
        problem = cls.of(rows, columns, pairs, record.settings.seed, record.test_fraction, record.pair_fraction)
        if problem.fingerprint() != record.fingerprint:
            raise InputError(f"the rows, columns or pairs are not those of the run in {run}; give those it was started on")
        return problem

    @property
    def ids(self) -> dict[str, Sides]:
        """Those of both sides of the split, by side."""
        return {
            side.name: Sides(train=[side.ids[t] for t in side.train], test=[side.ids[t] for t in side.test])
            for side in self.sides
        }

    @property
    def sides(self) -> tuple[PairSide, PairSide]:
        """Rows and columns."""
        return self.rows, self.columns

    @cached_property
    def training(self) -> PairTensors:
        """The pairs to fit with, at positions among the training items."""
        chosen = self.pairs.select(self.split.train)
        places = []
        for side, positions in zip(self.sides, (chosen.rows, chosen.columns), strict=True):
            place = np.full(len(side.ids), -1, dtype=np.int64)
            place[side.train] = np.arange(len(side.train))
            places.append(torch.from_numpy(place[positions]))
        values = torch.from_numpy(chosen.values.copy())[:, None]
        return PairTensors(places[0], places[1], values, len(self.rows.train), len(self.columns.train))

    def part(self, name: str) -> tuple[Tensor, Tensor, Tensor]:
        """Rows, columns (positions among all items) and values, (R, 1), of a part of the split."""
        chosen = self.pairs.select(self.split.parts()[name])
        return torch.from_numpy(chosen.rows), torch.from_numpy(chosen.columns), torch.from_numpy(chosen.values.copy())[:, None]

    def check(self, likelihood: str) -> None:
        """Raise InputError, naming the pair, for a value that the likelihood is not defined for."""
        kind = LIKELIHOODS[likelihood](1)
        values = torch.from_numpy(self.pairs.values.copy())[:, None]
        wrong = torch.nonzero(kind.refused(values)[:, 0])
        expected, remedy = kind.requirement
        if len(wrong):
            position = int(wrong[0])
            pair = f"{self.rows.ids[self.pairs.rows[position]]!r}, {self.columns.ids[self.pairs.columns[position]]!r}"
            raise InputError(f"pairs: expected {expected}, got {float(values[position]):g} for the pair {pair}; {remedy}")

    def fingerprint(self) -> str:
        """The sha256 of both sides and the pairs."""
        digest = hashlib.sha256()
        for side in self.sides:
            digest.update((json.dumps(side.ids) if side.items is None else side.items.fingerprint()).encode())
        for array in (self.pairs.rows, self.pairs.columns):
            digest.update(array.astype("<i8").tobytes())
        digest.update(self.pairs.values.astype("<f8").tobytes())
        return digest.hexdigest()
