"""Several foundation models as one: each proposes in turn, and a question is answered by the model that knows it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from genz_ppl.errors import OptionError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.types import Contrast, Item


class JoinedModel:
    """Proposes what its models propose, the best of each first, and answers with the one that knows the wording.

    models: at least two. A model that lists its questions (`texts`, as a table does) is asked first whether it `knows` a
    wording, then one that can read its own wordings back (`knows`, as the rules do); a model with neither is taken to know
    every wording. Among equals the order of the models decides. So a table's "film is animated" is never read as a rule
    about a field "film".

    A wording that no model knows gets NaN; `failures` counts such answers under their reason.
    Raises OptionError for fewer than two models.
    """

    def __init__(self, models: Sequence[FoundationModel]) -> None:
        if len(models) < 2:
            raise OptionError(f"joined models: expected at least two, got {len(models)}; name them as rules+table:FILE")
        self.models = tuple(models)
        self.fingerprint = "+".join(str(getattr(model, "fingerprint", type(model).__qualname__)) for model in self.models)
        self.failures: Counter[str] = Counter()
        self._by_certainty = sorted(self.models, key=_certainty)

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        """(len(items), len(features)) of 1., 0. and NaN; see `FoundationModel.answer`."""
        answers = np.full((len(items), len(features)), np.nan)
        columns: dict[int, list[int]] = {}
        for column, text in enumerate(features):
            owner = self._owner(text)
            if owner is None:
                self.failures["no model knows the question"] += len(items)
            else:
                columns.setdefault(owner, []).append(column)
        for owner, places in columns.items():
            answers[:, places] = self._by_certainty[owner].answer(items, [features[place] for place in places])
        return answers

    def searched(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        """How many wordings like it each was chosen from, where its model tells, else 1."""
        return self._searched(("searched",), items, features)

    def searched_beside(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        """The same where wordings are counted one by one, where its model tells it apart."""
        return self._searched(("searched_beside", "searched"), items, features)

    def _searched(self, names: Sequence[str], items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        owners = [self._by_certainty[self._owner(text) or 0] for text in features]
        told = [next((ask for name in names if callable(ask := getattr(owner, name, None))), None) for owner in owners]
        counts = [1.0 if ask is None else ask(items, [text])[0] for ask, text in zip(told, features, strict=True)]
        return np.array(counts, dtype=np.float64)

    def kinds(self, features: Sequence[str]) -> list[Hashable]:
        """The kind of each, as its model tells, else the wording itself."""
        owners = [self._by_certainty[self._owner(text) or 0] for text in features]
        told = [getattr(owner, "kinds", None) for owner in owners]
        return [ask([text])[0] if callable(ask) else text for ask, text in zip(told, features, strict=True)]

    def _owner(self, text: str) -> int | None:
        return next((place for place, model in enumerate(self._by_certainty) if _knows(model, text)), None)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """Up to n wordings: the best of each model, then the second best of each, and so on."""
        return _in_turn([model.propose(contrast, n) for model in self.models], n)

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """Up to n wordings, from each model in turn."""
        return _in_turn([model.suggest(items, task, n) for model in self.models], n)


def _certainty(model: FoundationModel) -> int:
    """0 for a list of questions, 1 for a language, 2 for a model that takes any wording."""
    if not callable(getattr(model, "knows", None)):
        return 2
    return 0 if hasattr(model, "texts") else 1


def _knows(model: FoundationModel, text: str) -> bool:
    knows = getattr(model, "knows", None)
    return bool(knows(text)) if callable(knows) else True


def _in_turn(lists: Sequence[Sequence[str]], n: int) -> list[str]:
    turns = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    return list(dict.fromkeys(text for text in turns if text is not None))[:n]
