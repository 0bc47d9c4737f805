"""Several foundation models that all answer, while one proposes: a run's budget is one, and who spent what is told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import numpy as np

from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.spending import Spending
from genz_ppl.types import Contrast, FloatArray, Item

Result = TypeVar("Result")
#: What a bill holds: answers, and the fields of `Spending`.
BILLED = ("answers", "calls", "tokens_in", "tokens_out", "cost")


class AnnotatorsModel:
    """What all annotators answer, and what one model proposes.

    annotators: by name, in order. proposer: its name and the model, maybe one of them. Each is asked after the other, and begins
    where the one before left the run's spending, so that caps hold over all of them together.
    bills: by name what each was asked and cost so far; a run that goes on gives it those from before.
    """

    def __init__(self, annotators: Mapping[str, FoundationModel], proposer: tuple[str, FoundationModel]) -> None:
        self.annotators, self.proposer = dict(annotators), proposer
        self.bills: dict[str, dict[str, float]] = {}
        self._all = {**self.annotators, proposer[0]: proposer[1]}
        known = [spent for model in self._all.values() if (spent := _spent(model)) is not None]
        self._sum = _largest(known) if known else None
        # A model that has such methods only for some is to lack them for others.
        for name in ("propose_both", "searched", "searched_beside", "kinds"):
            if callable(method := getattr(proposer[1], name, None)):
                setattr(self, name, self._billed_as(proposer[0], method))

    @property
    def spent(self) -> Spending | None:
        """What the run has used so far, by all; None where no model keeps account."""
        return self._sum

    @property
    def priced(self) -> bool:
        """Whether the prices of all are known."""
        return all(getattr(model, "priced", True) for model in self._all.values())

    def answer_each(self, items: Sequence[Item], features: Sequence[str]) -> list[Any]:
        """What each annotator answers: as of `FoundationModel.answer`, in the order of `annotators`."""
        found = []
        for name, model in self.annotators.items():
            found.append(self._billed(name, lambda model=model: model.answer(items, features)))  # type: ignore[misc]
            self._bill(name)["answers"] += len(items) * len(features)
        return found

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """What most annotators answer, (len(items), len(features)); where they are even, what the first one says."""
        each = np.asarray(self.answer_each(items, features), dtype=np.float64)
        signs = np.nan_to_num(np.sign(each - 0.5))
        votes = (signs * np.linspace(1.0 + 0.5 / len(signs), 1.0, len(signs))[:, None, None]).sum(axis=0)
        return np.where(signs.any(axis=0), (votes > 0).astype(np.float64), np.nan)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """See `FoundationModel.propose`."""
        name, model = self.proposer
        return self._billed(name, lambda: model.propose(contrast, n))

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """See `FoundationModel.suggest`."""
        name, model = self.proposer
        return self._billed(name, lambda: model.suggest(items, task, n))

    def goes_on(self, bills: dict[str, dict[str, float]]) -> None:
        """Take over the run's bills so far, which grow in place; what a stopped step has spent besides has one of its own."""
        self.bills = bills
        if self._sum is None:
            return
        total = {name: sum(bill[name] for bill in bills.values()) for name in BILLED[1:]}
        left = {name: value - total[name] for name, value in asdict(self._sum).items()}
        if left["calls"] > 0:
            bill = self._bill("steps that were stopped")
            for name, value in left.items():
                bill[name] += value

    def watch(self, told: Callable[[int, int], None]) -> None:
        """Have all models that count their answers report them."""
        for model in self._all.values():
            if hasattr(model, "progress"):
                model.progress = told

    def _billed_as(self, name: str, method: Callable[..., Result]) -> Callable[..., Result]:
        return lambda *arguments: self._billed(name, lambda: method(*arguments))

    def _billed(self, name: str, ask: Callable[[], Result]) -> Result:
        model, before = self._all[name], self._sum
        if _spent(model) is None or before is None:
            return ask()
        model.spent = before  # type: ignore[attr-defined]
        try:
            return ask()
        finally:
            after = _spent(model) or before
            bill = self._bill(name)
            for field, value in asdict(after).items():
                bill[field] += value - getattr(before, field)
            self._sum = after

    def _bill(self, name: str) -> dict[str, float]:
        return self.bills.setdefault(name, dict.fromkeys(BILLED, 0))


def _spent(model: FoundationModel) -> Spending | None:
    spent = getattr(model, "spent", None)
    return spent if isinstance(spent, Spending) else None


def _largest(known: Sequence[Spending]) -> Spending:
    return Spending(**{name: max(asdict(one)[name] for one in known) for name in asdict(Spending())})
