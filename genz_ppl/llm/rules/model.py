"""The embedded foundation model: readable statements over fields, numbers and words, found and answered without a network."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from genz_ppl.errors import OptionError
from genz_ppl.llm.rules import search, whole
from genz_ppl.llm.rules.choices import kind_of
from genz_ppl.llm.rules.predicates import Predicate, parse
from genz_ppl.types import Contrast, Item


class RulesModel:
    """Answers and proposes statements of the little language in `genz_ppl.llm.rules.predicates`.

    It reads the `fields` of the items it is shown (their `text`, as the field `text`, where they have no fields) and keeps
    nothing between calls: the same call always gives the same result.
    """

    fingerprint = "rules/1"

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        """Apply each statement to each item: (len(items), len(features)) float64 of 1., 0. and NaN.

        NaN where the field is missing or of a type that the statement is not about (the size of a word). Raises OptionError
        for a feature that is no statement of the language.
        """
        predicates = [parse(feature) for feature in features]
        answers = np.full((len(items), len(features)), np.nan)
        for column, predicate in enumerate(predicates):
            answers[:, column] = whole.answers(predicate, items)
        return answers

    def searched(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        """How many statements of its kind about its field each was chosen from, (len(features),): see `choices`."""
        return np.array([whole.searched(parse(feature), items) for feature in features], dtype=np.float64)

    def searched_beside(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        """The same where all wordings proposed are counted one by one: a cut of a number once, see `amounts_chosen`.

        Of the texts of a subclass that are no statements, what its `searched` says.
        """
        read = [(feature, _read(feature)) for feature in features]
        counts = [
            self.searched(items, [text])[0] if one is None else whole.searched(one, items, beside=True) for text, one in read
        ]
        return np.array(counts, dtype=np.float64)

    def kinds(self, features: Sequence[str]) -> list[Hashable]:
        """The kind of each, among the statements of which `searched` takes it to be chosen; of other texts the text."""
        return [feature if (one := _read(feature)) is None else kind_of(one) for feature in features]

    def knows(self, text: str) -> bool:
        """Whether a text is a statement of the language."""
        return _read(text) is not None

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """Up to n statements that hold for the positive items more often than for the negative ones, best first.

        Neither a statement in `contrast.existing` nor its opposite is among them. Empty if nothing differs.
        """
        return search.propose(contrast.positive, contrast.negative, _keys(contrast.existing), n)

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """Up to n statements about the items' fields in turn, those first that split the items evenly; no target is used.

        `task` is not read: this model knows no words but those in the fields.
        """
        return search.suggest(items, n)


def _keys(texts: Sequence[str]) -> set[Hashable]:
    """What must not be proposed again; texts of other models are no statements and cannot come up here."""
    return {one.key for one in map(_read, texts) if one is not None}


def _read(text: str) -> Predicate | None:
    """The statement that a text is, None if it is none."""
    try:
        return parse(text)
    except OptionError:
        return None
