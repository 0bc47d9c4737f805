"""The run of `discover`: the expand-contract loop on one kind of items, and what it leaves at every step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from genz_ppl.discovery.conclusion import note_effects, note_gains, summarise, widen_noise
from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.mine.hook import MiningHook
from genz_ppl.discovery.mine.join import join
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.mine.refine import refine
from genz_ppl.discovery.mine.rest import Rest
from genz_ppl.discovery.mine.tried import with_tried
from genz_ppl.discovery.mine.votes import Votes
from genz_ppl.discovery.run.folder import METRICS_FILE, STATE_FILE, RunDirectory, json_of
from genz_ppl.discovery.run.likelihood_choice import GAUSSIAN, STUDENT_T
from genz_ppl.discovery.run.link_choice import best_link
from genz_ppl.discovery.run.patience import failures_borne, has_run_dry, in_use
from genz_ppl.discovery.run.problem import CPU, Problem
from genz_ppl.discovery.run.progress import EARLY, Event, Progress
from genz_ppl.discovery.run.states import POOLS, load_progress, state_bytes
from genz_ppl.discovery.run.tables import csv_of, curve_table, feature_table
from genz_ppl.discovery.task import task_of
from genz_ppl.errors import InputError, ModelError, OptionError
from genz_ppl.inference.engines.choose import steps_of
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.guided.svi import Training, TrainingOptions
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.tails import heavier_tails, lighter_tails
from genz_ppl.llm.annotators import AnnotatorsModel
from genz_ppl.llm.base import FoundationModel
from genz_ppl.settings import AUTO

Settled = Callable[[Progress], None]
# What a run that begins again keeps: what was asked, by whom and what for.
KEPT = ("counters", "seconds", "likelihood", "link", "layers", "gold", "bills")


class MiningRun:
    """A `RunKind`. model: who is asked, needed to advance. previous: an earlier run on the same items with maybe other targets:
    its features that are active and what was ever answered are taken over, and its counts go on. gold: see `Progress`.
    """

    def __init__(
        self,
        problem: Problem,
        model: FoundationModel | None = None,
        previous: Progress | None = None,
        gold: Mapping[str, NDArray[np.int8]] | None = None,
    ) -> None:
        self.problem, self.settings, self.model, self.previous = problem, problem.settings, model, previous
        self.gold = dict(gold or {})
        self._cycle: Cycle | None = None
        self._started = time.monotonic()

    def start(self) -> Progress:
        """A run with no features yet, or with those of an earlier one."""
        # Isolated for the evaluation, too: it must leave nothing in the caller's parameter store.
        with isolated(self.settings.seed):
            progress = self._start(self.previous)
            progress.likelihood = GAUSSIAN if self.problem.by_tails else ""
            progress.link = AUTO if self.problem.by_folds else ""
            self.note(progress, "start", "")
        return progress

    def _start(self, previous: Progress | None) -> Progress:
        with isolated(self.settings.seed):
            state, data = self.problem.blank(None if previous is None else torch.from_numpy(previous.train_answers))
            bound = coordinate(state, data, self.settings.refit_steps)[-1].total
        progress = Progress(state, bound, n_test=len(self.problem.test), n_held=len(self.problem.held))
        progress.gold = self.gold
        if previous is not None:
            kept = enumerate(previous.active, start=1)
            progress.features = [replace(record, id=f"f{number}", added_at=0) for number, record in kept]
            for name in POOLS:
                setattr(progress, name, dict(getattr(previous, name)))
            progress.counters = replace(previous.counters)
        return progress

    def advance(self, progress: Progress, settled: Settled) -> None:
        """One step; where a guide is trained all of them, as a hook between the epochs of one training."""
        try:
            with self.problem.threads():
                cycle = self._cycle or self._begin(progress)
                if cycle.strategy.training is not None:
                    self._train(progress, cycle, cycle.strategy.training, settled)
                else:
                    with isolated(self.seed_of(progress.step)):
                        self._hook(progress, cycle, settled)(cycle.guide(progress), progress.step)
        except (InputError, OptionError) as error:  # the user's were checked before: these come from the model
            raise ModelError(f"the foundation model failed: {error}") from error
        if progress.status != "running":
            progress.to(CPU)

    def _begin(self, progress: Progress) -> Cycle:
        assert self.model is not None
        progress.to(self.problem.device)
        self._started = time.monotonic() - progress.seconds
        problem = self.problem
        heard = Votes(progress, chain(problem.train, problem.test, problem.held)) if problem.raters else None
        if isinstance(self.model, AnnotatorsModel):
            self.model.goes_on(progress.bills)
        oracle = Oracle(self.model, progress.counters, with_tried(progress, problem.train.items), heard)
        items = problem.train.items, problem.test.items
        held, task = problem.held.items, task_of(problem.items)
        self._cycle = Cycle(self.settings, *items, problem.data, oracle, problem.strategy, held, task)
        return self._cycle

    def _train(self, progress: Progress, cycle: Cycle, options: TrainingOptions, settled: Settled) -> None:
        with isolated(self.seed_of(progress.step)):
            training = Training(progress.state, cycle.training_data(progress), options)
            hook = self._hook(progress, cycle, settled, training)
            if not hook(training.local, training.epoch):
                training.run(None, hook)

    def _hook(self, progress: Progress, cycle: Cycle, settled: Settled, training: Training | None = None) -> MiningHook:
        def settle(events: list[Event]) -> None:
            self.settle(progress, cycle, events)
            settled(progress)

        return MiningHook(progress, cycle, lambda: self.step(progress, cycle), settle, self.seed_of, training)

    def seed_of(self, step: int) -> int:
        """The seed of what happens after so many steps."""
        return int(np.random.SeedSequence([self.settings.seed, step]).generate_state(1)[0])

    def step(self, progress: Progress, cycle: Cycle) -> list[Event]:
        """One step of Algorithm 4; returns what happened."""
        settings = self.settings
        progress.step += 1
        progress.vote()
        room = settings.max_features is None or len(progress.active) < settings.max_features
        events: list[Event] = []
        if progress.settled or progress.failures >= failures_borne(settings, progress):
            events = self.finish(progress, cycle)
        elif progress.additions_done < settings.add and room:
            progress.additions_done += 1
            events = cycle.add(progress)
            if not _added(events) and (joined := join(cycle, progress)):
                events, progress.failures = events + joined, 0
            if _added(events):
                progress.added_in_cycle += 1
                events = self.look_at_tails(progress, cycle, events)
        elif progress.updates_done < settings.updates and progress.active:
            progress.updates_done += 1
            pruned = cycle.prune(progress)
            added = cycle.add(progress)
            progress.added_in_cycle += not any(("add", text) in added for _, text in pruned)
            events = pruned + added
        elif progress.refinements_done < settings.refinements and progress.active:
            progress.refinements_done += 1
            events = refine(cycle, progress)
            progress.added_in_cycle += any(event == "add" for event, _ in events)
        elif progress.cuts_done < settings.cut and progress.added_in_cycle > 0 and len(progress.active) > 1:
            progress.cuts_done += 1
            events = cycle.prune(progress)
        elif progress.cycle >= settings.cycles or has_run_dry(settings, progress):
            events = self.finish(progress, cycle)
        else:
            _next_cycle(progress)
        return events

    def finish(self, progress: Progress, cycle: Cycle) -> list[Event]:
        """One step of the end; or, where the run may choose its link and another one predicts better, it goes on with that."""
        if progress.link == AUTO:
            cycle.restore_best(progress)
            found, progress.link_scores = best_link(progress, cycle.training_data(progress), self.settings.seed)
            progress.link = found
            if found != self.settings.link:
                self._follow(progress)
                progress.state, data = self.problem.blank(torch.from_numpy(progress.train_answers))
                progress.bound, progress.best = coordinate(progress.state, data, self.settings.refit_steps)[-1].total, None
                progress.failures = 0
                _next_cycle(progress)
                return []
        return cycle.finish(progress)

    def look_at_tails(self, progress: Progress, cycle: Cycle, events: list[Event]) -> list[Event]:
        """Go on with Student-t noise where the run may choose and its bound is clearly better with it, and back where it is not.

        A run that turns in its first steps is begun again: a few items far off have chosen what there is. Later that would throw
        away more than it mends: wrong answers to right questions make tails, too. Bounds with the one noise are not to be held
        against the other's: the best model so far is the present one. events: of the step; returns what is left of them.
        """
        if not progress.likelihood or (progress.likelihood == STUDENT_T and progress.step <= EARLY):
            return events
        look, other = (heavier_tails, STUDENT_T) if progress.likelihood == GAUSSIAN else (lighter_tails, GAUSSIAN)
        found = look(progress.state, cycle.training_data(progress), progress.bound, self.settings.refit_steps)
        if found is None:
            return events
        (progress.state, progress.bound), progress.best, progress.likelihood = found, None, other
        self._follow(progress)
        if other != STUDENT_T or progress.step > EARLY:
            return events
        self._begin_again(progress, cycle)
        return []

    def _begin_again(self, progress: Progress, cycle: Cycle) -> None:
        """The run as it begins where somebody has asked for that noise; what was asked stays counted."""
        features = [record for record in progress.active if record.added_at == 0 or record.text in cycle.locked]
        places = [place for place, record in enumerate(progress.active) if record in features]
        taken_over = replace(progress, features=features, state=progress.state.with_columns(places))
        fresh = self._start(taken_over if features else None)
        for one in fields(progress):
            if one.name not in KEPT:
                setattr(progress, one.name, getattr(fresh, one.name))
        progress.to(self.problem.device)
        self.note(progress, "start", "")

    def _follow(self, progress: Progress) -> None:
        """Settings say the likelihood and the link that a run has come to."""
        self.settings = self.problem.settings = progress.followed(self.settings)

    def settle(self, progress: Progress, cycle: Cycle, events: list[Event]) -> None:
        """What a step leaves behind: rows of the curve, the best model so far, at the end what is known then only."""
        whole: tuple[State, Data] | None = None
        if ("final", "") in events:
            whole = self.whole_fit(progress, cycle)
            progress.status = "done"
        self.note_rise(progress, events)
        for event, text in events:
            self.note(progress, event, text)
        if whole is not None:
            note_gains(progress, *whole, self.settings.refit_steps)
            ratio = widen_noise(progress, cycle.training_data(progress), self.settings.seed)
            found = self.problem.predictions(progress)
            note_effects(progress, self.problem.fitted(progress), *found[1], whole)
            del whole
            blank = self.problem.predictions(self._start(None), whole=True) if progress.active else found
            counted, metric = len(progress.active), self.problem.metric(progress)
            outcome = summarise(found, blank, counted, metric, self.settings.seed, progress.state.model.likelihood)
            progress.outcome = replace(outcome, noise_ratio=ratio).to_dict()
        elif not progress.settled:
            cycle.note_best(progress)

    def whole_fit(self, progress: Progress, cycle: Cycle) -> tuple[State, Data]:
        """The model, and what it is fitted to: all training items in the end, those on which no question was sought, too."""
        problem = self.problem
        if not problem.rest:
            return progress.state, cycle.training_data(progress)
        rest = Rest(problem.rest, problem.whole)
        return rest.fit(progress, cycle.oracle, cycle.strategy, steps_of(progress.state.model, self.settings.final_steps))

    def note_rise(self, progress: Progress, events: list[Event]) -> None:
        """Where steps have no closed forms, and another model may have ranked the wordings, note by how much this bound rose."""
        model, added = progress.state.model, [text for event, text in events if event == "add"]
        if len(added) == 1 and model.shortcuts and not model.has_closed_form:
            record = next(record for record in reversed(progress.features) if record.text == added[0])
            record.gain_when_added = progress.bound + self.problem.density_shift - progress.curve[-1]["bound"]

    def note(self, progress: Progress, event: str, feature: str) -> None:
        """Add a row to the learning curve."""
        progress.seconds = time.monotonic() - self._started
        metric = self.problem.metric(progress)
        train, test = self.problem.evaluate(progress)
        row: dict[str, Any] = {
            "step": progress.step,
            "cycle": progress.cycle,
            "event": event,
            "feature": feature,
            "n_features": len(progress.active),
            "bound": progress.bound + self.problem.density_shift,
            "train_error": train[metric],
            "test_error": test[metric],
            "metric": metric,
            **asdict(progress.counters),
            "seconds": round(progress.seconds, 3),
        }
        progress.curve.append(row)

    def dump(self, progress: Progress) -> Mapping[str, bytes]:
        """The state, and the tables and scores that are views of it."""
        state = progress.state
        features = feature_table(
            progress.features, state.error_rates.cpu().numpy(), state.posterior.cpu().numpy(), self.problem.raters
        )
        return {
            STATE_FILE: state_bytes(progress),
            "features.csv": csv_of(features).encode(),
            "curve.csv": csv_of(curve_table(progress.curve)).encode(),
            METRICS_FILE: json_of(self._metrics(progress)),
        }

    def _metrics(self, progress: Progress) -> dict[str, Any]:
        # Isolated: outside, Pyro's global store would put parameters of an earlier step back into the model.
        with isolated(self.settings.seed):
            train, test = self.problem.measured(progress)
        return {
            "train": _finite(train),
            "test": _finite(test),
            **({"sought_on": len(self.problem.train), "fitted_to": self.problem.n_fitted(progress)} if self.problem.rest else {}),
            "n_features": len(progress.active),
            "summary": progress.outcome or None,
            **_finite(asdict(progress.counters)),  # a cost that is not known is null
            "seconds": round(progress.seconds, 3),
            "status": progress.status,
        }

    def load(self, directory: RunDirectory) -> Progress | None:
        """The last step boundary of a run."""
        progress = load_progress(directory, directory.record())
        if progress is not None:
            self._follow(progress)
        return progress


def _added(events: list[Event]) -> bool:
    return any(event == "add" for event, _ in events)


def _next_cycle(progress: Progress) -> None:
    progress.cycle += 1
    progress.cycle_start = in_use(progress)
    progress.additions_done = progress.updates_done = progress.refinements_done = 0
    progress.cuts_done = progress.added_in_cycle = 0


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """With None for numbers that are none; tables as they are."""
    return {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in values.items()}
