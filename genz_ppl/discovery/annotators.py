"""Several annotators of a run's questions: who errs where, what dropping one costs, and whose answers to ask for next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.data import Items
from genz_ppl.diagnostics.measures import error_metric, scores
from genz_ppl.discovery.gold import gold_cells
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.run.progress import Counters, Progress
from genz_ppl.discovery.run.service import Service
from genz_ppl.discovery.view import RunView
from genz_ppl.errors import OptionError
from genz_ppl.inference.annotators.fit import AnnotatedFit, agreement, fit_annotators
from genz_ppl.inference.annotators.telling import cascade, most_telling
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.settings import is_served
from genz_ppl.llm.served.spending import Spending
from genz_ppl.types import FloatArray, Item

#: The run's own answers among the annotators.
OWN = "run"


@dataclass(frozen=True)
class Annotators:
    """What annotators of a run's questions come to.

    rates: a row a question, a column an annotator, p_e. agreement: annotators by annotators, the share of answers given alike.
    dropped: a row for all and for each left out, with the error on test items. asked: a row an annotator, answers, calls, tokens,
    cost; all of them are one budget. metric: what the errors are.
    """

    rates: pd.DataFrame
    agreement: pd.DataFrame
    dropped: pd.DataFrame
    asked: pd.DataFrame
    metric: str
    fit: AnnotatedFit


class Panel:
    """Annotators that are asked one after the other, by one budget. settings, store: of those behind a server."""

    def __init__(self, specs: Sequence[str], settings: Mapping[str, Any] | None = None, store: str | Path | None = None) -> None:
        twice = next((name for place, name in enumerate(specs) if name in specs[:place]), None)
        if twice is not None:
            raise OptionError(f"annotators: {twice} is named twice; name each once")
        if (settings or store) and not any(is_served(name) for name in specs):
            raise OptionError("annotators: caps, an address and a store are for openai:NAME, which is not there; leave them out")
        served = {name: (settings, store) if is_served(name) else (None, None) for name in specs}
        self.services = {name: Service.of(name, *given) for name, given in served.items() if name != OWN}
        self.names, self.spent = tuple(specs), Spending()
        self.bills: dict[str, dict[str, float]] = {}

    def answer(self, name: str, items: Sequence[Item], texts: Sequence[str], run: RunView) -> FloatArray:
        """(len(items), len(texts)); what it cost is added to the annotator's bill and to what all have spent."""
        before, counters = self.spent, Counters()
        spent = Counters(calls=before.calls, tokens_in=before.tokens_in, tokens_out=before.tokens_out, cost=before.cost)
        opened: FoundationModel = self.services[name].open(run.record, None, counters=spent, items=items)
        try:
            return Oracle(opened, counters).answer(items, texts)
        finally:
            after = getattr(opened, "spent", before)
            bill = self.bills.setdefault(name, dict.fromkeys(("answers", "calls", "tokens_in", "tokens_out", "cost"), 0))
            bill["answers"] += len(items) * len(texts)
            for field in ("calls", "tokens_in", "tokens_out", "cost"):
                bill[field] += getattr(after, field) - getattr(before, field)
            self.spent = after


def compare_annotators(
    run: RunView,
    progress: Progress,
    items: Items,
    panel: Panel,
    gold: pd.DataFrame | None = None,
    share: float | None = None,
) -> Annotators:
    """Ask every annotator the questions of a run that is done, and fit their answers together.

    gold: labels by people, see `gold_cells`. share: a cascade: the last annotator is asked about this share of the answers about
    training items only, where that matters, and the one before it about all. Raises OptionError before anything is asked.
    """
    _check(run, progress, panel, share)
    texts = [record.text for record in progress.active]
    sides = {side: run.fitted(items, side) for side in ("train", "test")}
    by_id = {item.id: item for item in items}
    asked = {side: [by_id[name] for name in part.item_ids] for side, part in sides.items()}
    labels = None if gold is None else gold_cells(gold, sides["train"].item_ids, progress.active)
    answers: dict[str, dict[str, FloatArray]] = {side: {} for side in sides}
    last = panel.names[-1]
    for name in panel.names:
        for side, part in sides.items():
            if name == OWN:
                answers[side][name] = part.votes.numpy()
            elif share is None or name != last or side == "test":
                answers[side][name] = panel.answer(name, asked[side], texts, run)
    options = _options(sides["train"], gold=labels)
    targets = sides["train"].targets.numpy()
    if share is not None:

        def ask(cells: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> FloatArray:
            found = np.full(len(cells), np.nan)
            for k in np.unique(cells[:, 1]):
                rows = np.flatnonzero(cells[:, 1] == k)
                some = [asked["train"][t] for t in cells[rows, 0]]
                found[rows] = panel.answer(last, some, [texts[k]], run)[:, 0]
            return found

        _, answers["train"][last] = cascade(answers["train"][panel.names[0]], ask, targets, share, **options)
    metric = sides["train"].state.model.likelihood.metric or error_metric(targets, items.schema.embedding)
    return _compared(answers, sides, targets, options, panel, texts, metric)


def _compared(
    answers: Mapping[str, Mapping[str, FloatArray]],
    sides: Mapping[str, FittedItems],
    targets: FloatArray,
    options: Mapping[str, Any],
    panel: Panel,
    texts: Sequence[str],
    metric: str,
) -> Annotators:
    train, test, names = answers["train"], sides["test"], list(panel.names)
    likelihood = sides["train"].state.model.likelihood
    truth = likelihood.comparable(test.targets).numpy()
    rows, whole = [], None
    for left_out in (None, *(names if len(names) > 1 else [])):
        kept = [name for name in names if name != left_out]
        found = fit_annotators({name: train[name] for name in kept}, targets, **options)
        whole = found if left_out is None else whole
        predicted = found.predict({name: answers["test"][name] for name in kept}, _x(test))
        error = float(scores(truth, predicted, likelihood.metric)[metric]) if len(truth) else float("nan")
        rows.append({"annotators": "all" if left_out is None else f"without {left_out}", metric: error})
    assert whole is not None
    shares = agreement([train[name] for name in names])
    bills = [{"annotator": name, **panel.bills.get(name, {"answers": 0})} for name in names]
    return Annotators(
        rates=pd.DataFrame(whole.error_rates, columns=names).assign(question=list(texts))[["question", *names]],
        agreement=pd.DataFrame(shares, index=names, columns=names),
        dropped=pd.DataFrame(rows),
        asked=pd.DataFrame(bills).fillna(0),
        metric=metric,
        fit=whole,
    )


def to_label(run: RunView, progress: Progress, count: int, items: Items) -> pd.DataFrame:
    """The item and question of so many labels that would tell most of the run's effects; see `most_telling`.

    Columns id, question, answer (empty, to be filled in with yes or no) and text, of training items.
    """
    _check(run, progress, None, None)
    train = run.fitted(items, "train")
    options = _options(train)
    found = fit_annotators({OWN: train.votes.numpy()}, train.targets.numpy(), **options)
    texts, by_id = [record.text for record in progress.active], {item.id: item.text for item in items}
    cells = most_telling(found, count)
    ids = [train.item_ids[t] for t in cells[:, 0]]
    return pd.DataFrame(
        {"id": ids, "question": [texts[k] for k in cells[:, 1]], "answer": "", "text": [by_id.get(name, "") for name in ids]}
    )


def _options(train: FittedItems, **more: Any) -> dict[str, Any]:
    """Of `fit_annotators`, as the run's last fit has them."""
    model = train.state.model
    a, b = model.features.concentration.tolist()
    kind = {"link": model.link.name, "likelihood": model.likelihood.name, "error_rate_prior": (a, b), "seed": train.seed}
    kind |= {"shrinkage": train.targets.shape[1] > 1 and model.has_closed_form, "calibration": model.calibration}
    return {**kind, "covariates": _x(train), **more}


def _x(part: FittedItems) -> FloatArray:
    covariates: FloatArray = part.covariates.numpy()
    return covariates


def _check(run: RunView, progress: Progress, panel: Panel | None, share: float | None) -> None:
    if progress.status != "done":
        raise OptionError("annotators: the run was stopped before its end, and its questions may change; resume it first")
    if not progress.active:
        raise OptionError("annotators: the run kept no question; there is nothing to ask")
    if run.schema.varying is not None:
        raise OptionError("annotators: runs with groups (--varying) cannot be fitted to several annotators yet")
    if share is not None and panel is not None and len(panel.names) != 2:
        raise OptionError(f"cascade: expected two annotators, the cheap one first, got {len(panel.names)}")
    if share is not None and panel is not None and panel.names[-1] == OWN:
        raise OptionError("cascade: the run's own answers are there already; name the dear annotator last")
