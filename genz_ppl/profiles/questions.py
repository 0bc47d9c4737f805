"""Answers to questions about the items of a file of profiles: a table's, or those of a run with its posterior."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from genz_ppl.data import Items
from genz_ppl.discovery.matching import matched
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.progress import Counters
from genz_ppl.discovery.run.record import content_hashes
from genz_ppl.discovery.run.service import Service
from genz_ppl.errors import BudgetError, OptionError
from genz_ppl.llm.served.budget import Caps
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.table import TableModel
from genz_ppl.types import FloatArray, Item

TABLE, NOTHING = "table:", Spending()


@dataclass(frozen=True, eq=False)
class Answered:
    """texts: of K questions. answers: (T, K) of 1., 0. and NaN. q: (T, K), None for a table. spent: by the calls for it."""

    texts: tuple[str, ...]
    answers: FloatArray
    q: FloatArray | None = None
    spent: Spending = NOTHING


class TableQuestions:
    """The questions of a table of known answers, matched by id."""

    def __init__(self, spec: str) -> None:
        self._table = TableModel(spec.removeprefix(TABLE))
        self.texts = self._table.texts

    def missing(self, items: Sequence[Item]) -> int:
        """Answers that a model is to be asked for: none."""
        return 0

    def answered(self, items: Sequence[Item], caps: Caps, ledger: str) -> Answered:
        """Look them up."""
        return Answered(self.texts, self._table.answer(items, self.texts))


class RunQuestions:
    """The active questions of a run: answers that it has are taken, others asked of its model.

    q is the posterior of its training items, which knows their targets, and P(feature | answer) of all others.
    """

    def __init__(self, folder: str) -> None:
        self._run = Discovery.load(folder)
        self.texts = tuple(one.text for one in self._run.progress.active)
        if not self.texts:
            raise OptionError(f"questions: the run in {folder} has no question left; name another run, or table:FILE")

    def missing(self, items: Sequence[Item]) -> int:
        """Answers that the run's model is to be asked for at the most."""
        return len(self.texts) * len(self._known(items)[2])

    def answered(self, items: Sequence[Item], caps: Caps, ledger: str) -> Answered:
        """caps: what is left to be spent. ledger: the name under which it is booked. Raises ModelError, BudgetError."""
        read, answers, missing = self._known(items)
        spent = Spending()
        if missing:
            run, asked = self._run, [read[at] for at in missing]
            service = Service.recorded(run.record, run.directory, None, {}, own_caps=False)
            if service.settings is None:
                answers[missing] = Oracle(service.open(run.record, None, items=asked), Counters()).answer(asked, self.texts)
            else:
                if min(one for one in (caps.calls, caps.tokens, 1) if one is not None) < 1:
                    option = "--max-calls" if caps.calls is not None and caps.calls < 1 else "--max-tokens"
                    raise BudgetError(f"stopped by {option}: profiles took all of it, and answers are missing; raise it to go on")
                limits = {"max_cost": caps.cost, "max_calls": caps.calls, "max_tokens": caps.tokens}
                model = OpenAIModel(replace(service.settings, **limits), service.store, run=ledger, fresh=False)  # type: ignore[arg-type]
                try:
                    answers[missing] = Oracle(model, Counters()).answer(asked, self.texts)
                    spent = model.spent
                finally:
                    model.close()
        return Answered(self.texts, answers, self._posterior(read, answers), spent)

    def _known(self, items: Sequence[Item]) -> tuple[Items, FloatArray, list[int]]:
        """The items as the run reads them, its answers, (T, K), and the places of the items that it has none of."""
        if not isinstance(items, Items):
            raise OptionError("questions: those of a run need Items, with the columns that the run reads")
        run = self._run
        schema = replace(run.schema, covariates=(), varying=None, target=(), classes=())
        read = matched(items, schema, replace(run.needed, covariates=(), varying=None))
        return read, *run.record.known_answers(run.progress, read)

    def _posterior(self, read: Items, answers: FloatArray) -> FloatArray:
        state = self._run.progress.state
        q: FloatArray = state.prior(torch.from_numpy(answers)).numpy().copy()
        known = dict(zip(self._run.record.contents.train, state.posterior.numpy(), strict=True))
        for row, name in enumerate(content_hashes(read)):
            if name in known:
                q[row] = known[name]
        return q


def open_questions(spec: str) -> TableQuestions | RunQuestions:
    """The questions that a text names: the folder of a run, or table:FILE. Raises OptionError and InputError."""
    if spec.startswith(TABLE):
        return TableQuestions(spec)
    if not Path(spec).expanduser().is_dir():
        raise OptionError(f"questions: expected the folder of a run, or table:FILE, got {spec!r}; there is no such folder")
    return RunQuestions(spec)
