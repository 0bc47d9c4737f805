"""The 0-shot baseline (section 5 of the paper): questions from a task description alone, then pruning on the training items."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from genz_ppl.data import Items
from genz_ppl.diagnostics.summary import LARGER_IS_BETTER
from genz_ppl.discovery.discover import begin
from genz_ppl.discovery.matching import with_roles
from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.mining import MiningRun
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.discovery.run.progress import UNASKED, Event, FeatureRecord, Progress, asked, pack, unpack
from genz_ppl.discovery.run.record import Brief
from genz_ppl.discovery.run.service import Service, make_settings
from genz_ppl.discovery.task import task_of
from genz_ppl.discovery.watch import OnAnswers, OnStep, Watchers
from genz_ppl.errors import OptionError
from genz_ppl.inference.worth.candidates import extended, finalists, is_balanced
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.settings import ModelSettings, is_served
from genz_ppl.settings import BASELINE_SETTINGS, DiscoverSettings
from genz_ppl.types import FloatArray

# Questions answered in one step: a kill loses no more. A served model keeps its answers itself and is asked all at once.
AT_ONCE = 10


@dataclass(frozen=True)
class Point:
    """A model of the curve: its number of features, its error on both sides of the split."""

    n_features: int
    train_error: float
    test_error: float


@dataclass(frozen=True)
class Readings:
    """Two ways to read a baseline's curve.

    best_test: the point with the best test error, the fewest features among equals: the paper's reading, which the test
    items themselves have chosen and which is therefore too good. kept: the model that was kept, chosen on the training
    items; None before the end of a run. metric: what the errors are. suggested, usable: questions that came, and those of
    them that were neither too rare, too common nor a repetition; answers_asked: on training and test items together.
    """

    metric: str
    best_test: Point
    kept: Point | None
    suggested: int
    usable: int
    answers_asked: int


def baseline(
    items: Any,
    model: str | FoundationModel = "rules",
    *,
    n_questions: int = 50,
    task: str | None = None,
    examples: int = 200,
    out: str | Path | None = None,
    store: str | Path | None = None,
    model_settings: ModelSettings | Mapping[str, Any] | None = None,
    source: str | None = None,
    on_step: OnStep | None = None,
    on_answers: OnAnswers | None = None,
    progress: bool | None = None,
    keep_texts: bool = False,
    **settings: Any,
) -> Discovery:
    """Ask for questions from a task description, answer them all, fit, and prune one by one on the training items.

    n_questions: asked for. task: in words; None: made from the names of the targets and the items (`task_of`). examples:
    training items shown with it, drawn by the seed; never their targets, and no test item.
    Questions true of fewer training items than `smallest_share`, or of all but that, and those that answer like an earlier
    one are discarded. All others are asked about every item, test items too, since the curve shows the test error at every
    number of features down to none: so many training items times questions, plus test items times usable questions.

    The model kept is the one whose bound on the training items, less the price of chance for each feature, is the highest,
    as in `discover`; see `readings` for the paper's reading of the same curve. A feature's `gain` is what the bound
    lost when its turn came to be taken out (NaN where a guide is trained).

    settings: link, likelihood, inference, seed, test_fraction and the others in `genz_ppl.settings.BASELINE_SETTINGS`, as in
    `discover`; so are the remaining arguments, the split, the run directory and what is raised. `resume` goes on with a run
    that was stopped.
    """
    items, settings = with_roles(items, settings)
    brief, chosen = brief_and_settings(items, model, n_questions=n_questions, task=task, examples=examples, **settings)
    service, watchers = Service.of(model, model_settings, store), Watchers(on_step, on_answers, progress)
    noted: dict[str, Any] = {"source": source, "keep_texts": keep_texts, "baseline": brief}
    return begin(lambda problem: BaselineRun(problem, brief), items, chosen, service, out, watchers, **noted)


def brief_and_settings(
    items: Items,
    model: str | FoundationModel = "rules",
    *,
    n_questions: int = 50,
    task: str | None = None,
    examples: int = 200,
    **settings: Any,
) -> tuple[Brief, DiscoverSettings]:
    """What `baseline` with these arguments asks for, and its settings in the terms of `discover`; checked."""
    brief = Brief(task_of(items) if task is None else task, n_questions, examples)
    return brief, _settings(model, brief, settings)


def pruning_path(curve: pd.DataFrame) -> list[Point]:
    """From all usable features down to none, along a baseline's learning curve (`Discovery.curve`, curve.csv)."""
    rows = curve[curve["event"].isin(["add", "prune"])]
    rows = rows if len(rows) else curve[curve["event"] == "start"]
    points = {int(row["n_features"]): _point(row) for _, row in rows.iloc[::-1].iterrows()}  # the first row of a number counts
    return [points[number] for number in sorted(points, reverse=True)]


def readings(curve: pd.DataFrame) -> Readings:
    """How a baseline's learning curve (`Discovery.curve`, curve.csv) reads."""
    metric = str(curve["metric"].iloc[-1])
    sign = -1.0 if metric in LARGER_IS_BETTER else 1.0
    final = curve[curve["event"] == "final"]
    usable = int((curve["event"] == "add").sum())
    return Readings(
        metric=metric,
        best_test=min(pruning_path(curve), key=lambda point: (sign * point.test_error, point.n_features)),
        kept=None if final.empty else _point(final.iloc[-1]),
        suggested=usable + int((curve["event"] == "discard").sum()),
        usable=usable,
        answers_asked=int(curve["answers_asked"].iloc[-1]),
    )


class BaselineRun(MiningRun):
    """A run that asks for its questions once, and then only takes out."""

    def __init__(self, problem: Problem, brief: Brief) -> None:
        super().__init__(problem)
        self.brief = brief

    def step(self, progress: Progress, cycle: Cycle) -> list[Event]:
        """One step: the questions, some answers, all features at once, one removal, or the end."""
        progress.step += 1
        if progress.settled:
            return cycle.finish(progress)
        if progress.step == 1:
            return self.suggest(progress, cycle)
        if waiting := [text for text, column in progress.pool.items() if not asked(column).all()]:
            return self.answer(progress, cycle, waiting if is_served(self.settings.model) else waiting[:AT_ONCE])
        if progress.test_pool and not progress.features:
            return self.take_in(progress, cycle)
        return self.take_out(progress, cycle) if progress.active else cycle.finish(progress)

    def suggest(self, progress: Progress, cycle: Cycle) -> list[Event]:
        """The questions, none of them answered yet."""
        random = np.random.default_rng(self.settings.seed)
        n_items = len(cycle.items)
        shown = sorted(random.permutation(n_items)[: self.brief.examples].tolist())
        texts = cycle.oracle.suggest([cycle.items[t] for t in shown], self.brief.task, self.brief.n_questions)
        progress.pool = {text: np.full(n_items, UNASKED, dtype=np.int8) for text in texts}
        return []

    def answer(self, progress: Progress, cycle: Cycle, texts: list[str]) -> list[Event]:
        """Answers on the training items and, for the questions that are of use, on the test items."""
        events: list[Event] = []
        usable = []
        columns = [unpack(column) for text, column in progress.pool.items() if text in progress.test_pool]
        for text, column in zip(texts, cycle.oracle.answer(cycle.items, texts).T, strict=True):
            progress.pool[text] = pack(column)
            if is_balanced(column, self.settings.smallest_share) and is_new(column, columns):
                usable.append(text)
                columns.append(column)
            else:
                events.append(("discard", text))
        if usable:
            tested = cycle.oracle.answer(cycle.test_items, usable).T
            progress.test_pool |= {text: pack(column) for text, column in zip(usable, tested, strict=True)}
        return events

    def take_in(self, progress: Progress, cycle: Cycle) -> list[Event]:
        """All usable questions become features at once, and the model is fitted to them."""
        for number, text in enumerate(progress.test_pool, start=1):
            progress.features.append(FeatureRecord(f"f{number}", text, "suggested", math.nan, progress.step))
            column = torch.from_numpy(unpack(progress.pool[text]))[:, None]
            progress.state = extended(progress.state, column.to(self.problem.device))
        if cycle.strategy.training is None:  # a guide in training learns on by itself
            cycle.last_fit(progress)
        return [("add", record.text) for record in progress.features]

    def take_out(self, progress: Progress, cycle: Cycle) -> list[Event]:
        """Algorithm 3, once; the feature's gain is what the bound lost."""
        before = progress.bound
        events = cycle.prune(progress)
        if cycle.strategy.training is None:
            record = next(record for record in progress.features if record.removed_at == progress.step)
            record.gain = before - progress.bound
        return events


def is_new(column: FloatArray, others: list[FloatArray]) -> bool:
    """Whether the answers, (T,), are neither those of another question nor the opposite, as `finalists` tells it."""
    used = np.stack(others, axis=1) if others else np.zeros((len(column), 0))
    return finalists(np.zeros(1), column[:, None], used) == [0]


def _settings(model: str | FoundationModel, brief: Brief, given: dict[str, Any]) -> DiscoverSettings:
    unknown = [name for name in given if name not in BASELINE_SETTINGS]
    if unknown:
        raise OptionError(f"{unknown[0]}: no setting of a baseline; known are {', '.join(sorted(BASELINE_SETTINGS))}")
    most = brief.n_questions
    # In the terms of `discover`: one round of so many steps up and so many down.
    steps = {"cycles": 1, "add": 2 + math.ceil(most / AT_ONCE), "cut": most, "max_features": most}
    return make_settings(model, {**given, **steps})


def _point(row: pd.Series) -> Point:
    return Point(int(row["n_features"]), float(row["train_error"]), float(row["test_error"]))
