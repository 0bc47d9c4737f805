"""A foundation model that is a table: it knows the answers to a fixed list of questions."""

from __future__ import annotations

import difflib
from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genz_ppl.errors import OptionError
from genz_ppl.llm.attributes import folded, read_attributes
from genz_ppl.llm.rules.ranking import Statement, choose, log_bayes_factor, rate_difference
from genz_ppl.rows import ids_of, places_of, rows_of
from genz_ppl.types import Contrast, FloatArray, IntArray, Item

_OPPOSITE = "not ({})"
# Items that are looked up before all are.
_AT_FIRST = 1000


class TableModel:
    """Answers and proposes the attributes of a file, and their opposites as `not (attribute)`.

    path: a .csv, .tsv or .jsonl file; `genz_ppl.llm.attributes.read_attributes` says what it may look like and what it raises.
    id_column: the column that holds the items' ids, if it is neither "id" nor the first one.
    """

    def __init__(self, path: str | Path, id_column: str | None = None) -> None:
        known = read_attributes(path, id_column)
        self.fingerprint = known.digest
        self._file = Path(path)
        self._texts = known.texts
        self._values = known.values
        self._ids = known.ids
        self._columns = {folded(text): column for column, text in enumerate(known.texts)}

    @property
    def texts(self) -> tuple[str, ...]:
        """The known attributes, in the file's order."""
        return self._texts

    def check_items(self, items: Sequence[Item]) -> None:
        """Raise OptionError unless the file knows one of the items at least: by other ids it has no answer at all."""
        if len(items) and all((self._rows_of(part) < 0).all() for part in (items[:_AT_FIRST], items)):
            theirs, own = items[0].id, next(iter(self._ids), "none")
            raise OptionError(
                f"{self._file}: knows none of the items by id: theirs are such as {theirs!r}, its own such as {own!r}; name the "
                "items' column with --id (id=), or check the file"
            )

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        """Look the answers up: (len(items), len(features)) float64 of 1., 0. and NaN.

        NaN for an item that the file does not know and where the file has no answer. Raises OptionError for a text that is
        no attribute of the file, letter case and outer spaces aside.
        """
        places = [self._place(feature) for feature in features]
        rows = self._rows_of(items)
        answers = np.empty((len(items), len(features)))
        for index, (column, opposite) in enumerate(places):
            known = self._column(rows, column)
            answers[:, index] = 1.0 - known if opposite else known
        return answers

    def knows(self, text: str) -> bool:
        """Whether a text is an attribute of the file or the opposite of one."""
        return self._find(text) is not None

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """Up to n attributes, or opposites of attributes, that hold for the positive items rather than the negative ones.

        The best first, ranked as the rules model ranks. An attribute in `contrast.existing`, in either form, is not proposed.
        """
        difference, score, values = self._told_apart(contrast)
        candidates = [
            self._candidate(int(column), bool(difference[column] < 0), float(score[column]), values[:, column])
            for column in np.flatnonzero(difference)
        ]
        return choose(candidates, self._taken(contrast.existing), n)

    def propose_both(self, contrast: Contrast, n: int) -> tuple[list[str], list[str]]:
        """Up to n attributes that hold for the positive items rather than the negative ones, and up to n for the reverse.

        No opposites: what one group lacks, the other one has.
        """
        difference, score, values = self._told_apart(contrast)
        taken = self._taken(contrast.existing)

        def best(columns: IntArray) -> list[str]:
            found = [self._candidate(int(column), False, float(score[column]), values[:, column]) for column in columns]
            return choose(found, taken, n)

        return best(np.flatnonzero(difference > 0)), best(np.flatnonzero(difference < 0))

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """The n attributes that split the items most evenly; `task` is not read."""
        values = self._answers(items)
        balance = np.minimum((values == 1.0).sum(axis=0), (values == 0.0).sum(axis=0))
        candidates = [
            self._candidate(int(column), False, float(balance[column]), values[:, column]) for column in np.flatnonzero(balance)
        ]
        return choose(candidates, frozenset(), n)

    def _told_apart(self, contrast: Contrast) -> tuple[IntArray, FloatArray, FloatArray]:
        """Of every attribute, (C,), the sign with which it tells the groups apart and how well, and its answers, (shown, C)."""
        positives = len(contrast.positive)
        values = self._answers([*contrast.positive, *contrast.negative])
        first, second = values[:positives], values[positives:]
        counts = [count for part in (first, second) for count in ((part == 1.0).sum(axis=0), (~np.isnan(part)).sum(axis=0))]
        return rate_difference(*counts), log_bayes_factor(*counts), values

    def _answers(self, items: Sequence[Item]) -> FloatArray:
        """(len(items), C), a row of NaN for an unknown item."""
        rows = self._rows_of(items)
        return np.stack([self._column(rows, column) for column in range(len(self._texts))], axis=1)

    def _rows_of(self, items: Sequence[Item]) -> IntArray:
        """The row of each item in the file, -1 for an item that is not there."""
        rows = rows_of(items)
        if rows is None:
            return places_of(ids_of(items), self._ids)
        return rows.kept_here((TableModel, self._ids), lambda: places_of(rows.id_cells, self._ids))

    def _column(self, rows: IntArray, column: int) -> FloatArray:
        answers = np.append(self._values[column], np.int8(-1))[rows]  # the last one, -1, is that of unknown items
        return np.where(answers < 0, np.nan, answers)

    def _candidate(self, column: int, opposite: bool, score: float, values: FloatArray) -> Statement:
        text = self._texts[column]
        wording = _OPPOSITE.format(text) if opposite else text
        truth = np.where(np.isnan(values), -1.0, np.abs(values - float(opposite))).astype(np.int8)
        return Statement(wording, column, score, (int(opposite), 0, len(wording)), truth)

    def _taken(self, texts: Sequence[str]) -> set[Hashable]:
        places = (self._find(text) for text in texts)  # texts of another model are not here and cannot come up
        return {place[0] for place in places if place is not None}

    def _find(self, text: str) -> tuple[int, bool] | None:
        """The attribute's column, and whether its opposite is meant."""
        name = folded(text)
        if name in self._columns:
            return self._columns[name], False
        if name.startswith("not (") and name.endswith(")"):
            column = self._columns.get(name[5:-1].strip())
            return None if column is None else (column, True)
        return None

    def _place(self, text: str) -> tuple[int, bool]:
        place = self._find(text)
        if place is None:
            near = difflib.get_close_matches(folded(text), list(self._columns), n=1, cutoff=0.0)
            closest = self._texts[self._columns[near[0]]]
            shown = " ".join(text.split())
            raise OptionError(f"{self._file} has no attribute {shown[:80]!r}; the closest it knows is {closest[:80]!r}")
        return place
