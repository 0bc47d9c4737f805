"""The foundation model as the discovery sees it: every reply checked, every question counted, none asked twice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from genz_ppl.discovery.run.progress import Counters
from genz_ppl.errors import GenzError, ModelError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.combined import answers_by_parts, parse, parts_of
from genz_ppl.llm.served.spending import Spending
from genz_ppl.types import Contrast, FloatArray, Item

#: Told what each annotator has answered, (n, N, A), it says what they answer together, (n, N).
Heard = Callable[[Sequence[Item], Sequence[str], FloatArray], FloatArray]


class Oracle:
    """Checks and counts what a foundation model says. completed: adds to a contrast what is known of it.

    heard: of several annotators, and where people have labelled items.
    """

    def __init__(
        self,
        model: FoundationModel,
        counters: Counters,
        completed: Callable[[Contrast], Contrast] | None = None,
        heard: Heard | None = None,
    ) -> None:
        self.model, self.counters, self.completed = model, counters, completed or (lambda contrast: contrast)
        self.heard = heard

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """(len(items), len(features)) of 1., 0., NaN; of combinations by their parts, each asked once.

        Raises ModelError when the model fails or replies in another shape.
        """
        return answers_by_parts(features, lambda texts: self._answer(items, texts))

    def answer_each(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """The same of each annotator, (len(items), len(features), A); of a model alone with A = 1."""
        parts = list(dict.fromkeys(part for text in features for part in parts_of(text)))
        each, place = self._each(items, parts), {part: column for column, part in enumerate(parts)}
        layers = [each[:, :, a] for a in range(each.shape[2])]
        found = [answers_by_parts(features, lambda texts: one[:, [place[text] for text in texts]]) for one in layers]  # noqa: B023
        return np.stack(found, axis=2)

    def _answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        if self.heard is None:
            return self._checked(self._call("answer", items, features), items, features)
        return self.heard(items, features, self._each(items, features))

    def _each(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        several = callable(getattr(self.model, "answer_each", None))
        replies = self._call("answer_each", items, features) if several else [self._call("answer", items, features)]
        return np.stack([self._checked(reply, items, features) for reply in replies], axis=2)

    def _checked(self, reply: Any, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        values = _as_floats(reply)
        if values is None or values.shape != (len(items), len(features)):
            shape = getattr(values, "shape", type(reply).__name__)
            raise ModelError(f"the model's answer(): expected an array of {(len(items), len(features))}, got {shape}")
        if not bool((np.isnan(values) | (values == 0) | (values == 1)).all()):
            raise ModelError("the model's answer(): expected only 1, 0 and NaN; NaN stands for no valid answer")
        self.counters.answers_asked += values.size
        return values

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """Up to n distinct, non-empty wordings for one contrast, best first."""
        return _new(self._wordings("propose", self.completed(contrast), n), contrast)[:n]

    def propose_both(self, contrast: Contrast, n: int) -> tuple[list[str], list[str]]:
        """The same of a contrast and of its reverse: at once from a model that has `propose_both`, else one after the other."""
        if not callable(getattr(self.model, "propose_both", None)):
            return self.propose(contrast, n), self.propose(contrast.reversed(), n)
        self.counters.proposals_asked += 1
        reply = self._call("propose_both", self.completed(contrast), n)
        if not isinstance(reply, list | tuple) or len(reply) != 2:
            raise ModelError(f"the model's propose_both(): expected two lists of texts, got {type(reply).__name__}")
        positive, negative = (_new(_texts("propose_both", one), contrast)[:n] for one in reply)
        return positive, negative

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """Up to n distinct, non-empty wordings from a description of a task."""
        return self._wordings("suggest", items, task, n)[:n]

    def error_rates(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """(len(features),) error rates of answers as a model that asks repeatedly knows them; NaN where it does not."""
        known = getattr(self.model, "error_rates", None)
        return np.full(len(features), np.nan) if not callable(known) else np.asarray(known(items, features), dtype=np.float64)

    def searched(self, items: Sequence[Item], features: Sequence[str], beside: bool = False) -> FloatArray:
        """(len(features),) how many wordings each was chosen from, as a model that searches among these items knows; else 1.

        beside: where the wordings of the pool are counted one by one.
        """
        known = getattr(self.model, "searched", None)
        known = getattr(self.model, "searched_beside", known) if beside else known
        return np.asarray(known(items, features), dtype=np.float64) if callable(known) else np.ones(len(features))

    def n_kinds(self, texts: Sequence[str]) -> int:
        """How many kinds of wordings these are, as a model that counts what it searched by kinds knows; else 0."""
        known = getattr(self.model, "kinds", None)
        simple = [text for text in texts if parse(text) is None]
        return len(texts) - len(simple) + len(set(known(simple))) if callable(known) else 0

    def _wordings(self, method: str, *arguments: Any) -> list[str]:
        self.counters.proposals_asked += 1
        return _texts(method, self._call(method, *arguments))

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            return getattr(self.model, method)(*arguments)
        except GenzError:
            raise
        except Exception as error:
            name = type(self.model).__name__
            raise ModelError(f"the model {name} failed in {method}(): {type(error).__name__}: {error}") from error
        finally:
            self._count()

    def _count(self) -> None:
        """A model that keeps account of its calls knows better than one call for every method called."""
        spent = getattr(self.model, "spent", None)
        if isinstance(spent, Spending):
            self.counters.calls, self.counters.cost = (
                spent.calls,
                spent.cost if getattr(self.model, "priced", True) else float("nan"),
            )
            self.counters.tokens_in, self.counters.tokens_out = spent.tokens_in, spent.tokens_out
        else:
            self.counters.calls += 1


def _texts(method: str, reply: Any) -> list[str]:
    """The distinct texts of a list, white space put right."""
    if not isinstance(reply, list | tuple) or not all(isinstance(text, str) for text in reply):
        raise ModelError(f"the model's {method}(): expected a list of texts, got {type(reply).__name__}")
    return [text for text in dict.fromkeys(" ".join(text.split()) for text in reply) if text]


def _new(texts: list[str], contrast: Contrast) -> list[str]:
    return [text for text in texts if text not in contrast.existing]


def _as_floats(reply: Any) -> FloatArray | None:
    try:
        return np.asarray(reply, dtype=np.float64)
    except (TypeError, ValueError):
        return None
