"""One run from its data to its end: set-up, the expand-contract loop, and what is written down at every step."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from pyro.infer.elbo import ELBO
from pyro.optim import PyroOptim
from torch import Tensor

from genz_ppl.data import Items, Split
from genz_ppl.discovery.conclusion import note_effects, note_gains, summarise
from genz_ppl.discovery.covariates import covariates_of
from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.mine.hook import MiningHook
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.mine.refine import refine
from genz_ppl.discovery.run.metrics import error_metric, scores
from genz_ppl.discovery.run.records import Event, Progress
from genz_ppl.discovery.run.target_checks import check_direction, check_targets, count_classes, explained
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.fit import check_device
from genz_ppl.inference.guided.svi import Training, TrainingOptions
from genz_ppl.inference.isolation import SMALL, isolated, one_thread
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.inference.prediction import log_predictive_density, predictive_mean
from genz_ppl.inference.start import Scaling, build_model, pooled_link, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.strategies import strategy_of
from genz_ppl.inference.varying import indicators, levels_of
from genz_ppl.llm.base import FoundationModel
from genz_ppl.models import LIKELIHOODS
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray

OnStep = Callable[[Progress], None]
CPU = torch.device("cpu")


class Runner:
    """Runs discovery on items, from scratch or from a `Progress`; calls `on_step` after every step.

    Fits run on the device of the settings; `data` is there, and so are the states of a `Progress` under way. Scores are taken on
    the CPU.
    """

    def __init__(
        self,
        items: Items,
        split: Split,
        settings: DiscoverSettings,
        loss: ELBO | None = None,
        optim: PyroOptim | None = None,
    ) -> None:
        if items.targets is None:
            raise ValueError("discovery needs targets")
        self.items, self.split, self.settings = items, split, settings
        self.device = check_device(settings.device, settings.inference, settings.bayesian)
        self.started = time.monotonic()
        self.train, self.test = items.take(split.train), items.take(split.test)
        if settings.direction:
            check_direction(items, settings.likelihood)
        sides = (self.train, self.test)
        self.train_targets, self.test_targets = (torch.tensor(explained(part, settings.direction)) for part in sides)
        self.train_covariates, self.test_covariates = (torch.tensor(items.covariates[part]) for part in (split.train, split.test))
        self.scaling = Scaling.of(self.train_targets, self.train_covariates, LIKELIHOODS[settings.likelihood])
        self.n_classes = count_classes(items, settings.likelihood)
        check_targets(items, settings.likelihood, self.n_classes)
        self.levels: tuple[str, ...] = ()
        if self.train.varying_labels is not None:
            self.vary(self.train.varying_labels)
        self.training_with: dict[str, ELBO | PyroOptim | None] = {"loss": loss, "optim": optim}
        self.strategy = strategy_of(settings, loss, optim)
        self.strategy.check(len(split.train), settings.max_features or 0)
        none = torch.zeros(len(split.train), 0, dtype=torch.float64)
        self.data: Data = self.scaling.data(none, self.train_covariates, self.train_targets).to(self.device)
        self.density_shift = float(self.scaling.density_shift(self.train_targets).sum())

    def vary(self, labels: Sequence[str]) -> None:
        """Let intercept and covariate weights vary between the groups of the training items.

        Raises OptionError for a link that has no such weights, InputError for one group alone or too many.
        """
        pooled_link(self.settings.link)
        name = f"{self.items.name}: varying column {self.items.schema.varying}"
        self.levels = levels_of(labels, self.train_covariates.shape[1], name)
        with isolated(self.settings.seed), one_thread(self.train_targets.numel() < SMALL):
            likelihood = LIKELIHOODS[self.settings.likelihood].sized(self.train_targets.shape[1], self.n_classes)
            groups = indicators(labels, self.levels)
            self.scaling = self.scaling.varying(groups, self.train_covariates, self.train_targets, likelihood)
        self.train_covariates, self.test_covariates = (covariates_of(side, self.levels) for side in (self.train, self.test))

    def start(self, previous: Progress | None = None) -> Progress:
        """A run with no features yet, or with those of an earlier run on the same items, whose targets may have been others.

        It takes over the features that are active and what was ever answered, and counts on.
        """
        settings, kept = self.settings, [] if previous is None else previous.active
        sizes = len(kept), self.data.targets.shape[1], self.data.covariates.shape[1]
        with isolated(settings.seed):
            data = self.data if previous is None else self.data.with_answers(self._answers(previous))
            model = build_model(
                *sizes,
                settings.link,
                settings.likelihood,
                settings.error_rate_prior,
                n_classes=self.n_classes,
                pooling=self.scaling.pooling,
                shortcuts=settings.shortcuts,
            )
            state = start_state(model.to(self.device), data)
            bound = coordinate(state, data, settings.refit_steps)[-1].total
        progress = Progress(state, bound, n_test=len(self.test))
        if previous is not None:
            progress.features = [replace(record, id=f"f{number}", added_at=0) for number, record in enumerate(kept, start=1)]
            progress.pool, progress.test_pool = dict(previous.pool), dict(previous.test_pool)
            progress.counters = replace(previous.counters)
        self.record(progress, "start", "")
        return progress

    def _answers(self, previous: Progress) -> Tensor:
        return torch.from_numpy(previous.train_answers).to(self.device)

    def run(self, progress: Progress, model: FoundationModel, on_step: OnStep | None = None) -> Progress:
        """Go on until the run is over; its states are then on the CPU."""
        progress.to(self.device)
        oracle = Oracle(model, progress.counters)
        cycle = Cycle(self.settings, self.train.items, self.test.items, self.data, oracle, self.strategy)
        self.started = time.monotonic() - progress.seconds
        with one_thread(self.data.targets.numel() < SMALL):
            if cycle.strategy.training is not None and progress.status == "running":
                self._train(progress, cycle, cycle.strategy.training, on_step)
            hook = self._hook(progress, cycle, on_step)
            while progress.status == "running":
                with isolated(self.seed_of(progress.step)):
                    hook(cycle.guide(progress), progress.step)
        progress.to(CPU)
        return progress

    def _train(self, progress: Progress, cycle: Cycle, options: TrainingOptions, on_step: OnStep | None) -> None:
        """The same loop between the epochs of one training."""
        with isolated(self.seed_of(progress.step)):
            training = Training(progress.state, cycle.training_data(progress), options)
            hook = self._hook(progress, cycle, on_step, training)
            if not hook(training.local, training.epoch):
                training.run(None, hook)

    def _hook(self, progress: Progress, cycle: Cycle, on_step: OnStep | None, training: Training | None = None) -> MiningHook:
        def settle(events: list[Event]) -> None:
            self.settle(progress, cycle, events)
            if on_step is not None:
                on_step(progress)

        return MiningHook(progress, cycle, lambda: self.advance(progress, cycle), settle, self.seed_of, training)

    def seed_of(self, step: int) -> int:
        """The seed of what happens after so many steps."""
        return int(np.random.SeedSequence([self.settings.seed, step]).generate_state(1)[0])

    def advance(self, progress: Progress, cycle: Cycle) -> list[Event]:
        """One step of Algorithm 4; returns what happened."""
        settings = self.settings
        progress.step += 1
        room = settings.max_features is None or len(progress.active) < settings.max_features
        events: list[Event] = []
        if progress.settled or progress.failures >= settings.patience:
            events = cycle.finish(progress)
        elif progress.additions_done < settings.add and room:
            progress.additions_done += 1
            events = cycle.add(progress)
            progress.added_in_cycle += any(event == "add" for event, _ in events)
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
        elif progress.added_in_cycle == 0 or progress.cycle >= settings.cycles:
            events = cycle.finish(progress)
        else:
            progress.cycle += 1
            progress.additions_done = progress.updates_done = progress.refinements_done = 0
            progress.cuts_done = progress.added_in_cycle = 0
        return events

    def settle(self, progress: Progress, cycle: Cycle, events: list[Event]) -> None:
        """What a step leaves behind: rows of the curve, the best model so far, the end of the run."""
        self.record_events(progress, events)
        if ("final", "") in events:
            progress.status = "done"
            self.conclude(progress, cycle)
        elif not progress.settled:
            cycle.note_best(progress)

    def conclude(self, progress: Progress, cycle: Cycle) -> None:
        """Note what is known at the end only: what each feature is worth and does, and what all of them come to."""
        schema, settings = self.items.schema, self.settings
        note_gains(progress, cycle.training_data(progress), settings.refit_steps)
        fitted = FittedItems(
            state=self.on_cpu(progress),
            scaling=self.scaling,
            answers=torch.from_numpy(progress.train_answers),
            covariates=self.train_covariates,
            targets=self.train_targets,
            item_ids=self.train.ids,
            feature_texts=tuple(record.text for record in progress.active),
            target_names=schema.target,
            seed=settings.seed,
            class_names=schema.classes,
            levels=self.levels,
        )
        note_effects(progress, fitted)
        found, metric = self.predictions(progress), self.metric(progress)
        blank = self.predictions(self.start()) if progress.active else found
        progress.outcome = summarise(found, blank, len(progress.active), metric, settings.seed).to_dict()

    def metric(self, progress: Progress) -> str:
        """The metric of the learning curve."""
        return progress.state.model.likelihood.metric or error_metric(self.data.targets.shape[1])

    def record_events(self, progress: Progress, events: list[Event]) -> None:
        """One row of the learning curve an event."""
        for event, text in events:
            self.record(progress, event, text)

    def record(self, progress: Progress, event: str, feature: str) -> None:
        """Add a row to the learning curve."""
        progress.seconds = time.monotonic() - self.started
        metric = self.metric(progress)
        train, test = self.evaluate(progress)
        row: dict[str, Any] = {
            "step": progress.step,
            "cycle": progress.cycle,
            "event": event,
            "feature": feature,
            "n_features": len(progress.active),
            "bound": progress.bound + self.density_shift,
            "train_error": train[metric],
            "test_error": test[metric],
            "metric": metric,
            **asdict(progress.counters),
            "seconds": round(progress.seconds, 3),
        }
        progress.curve.append(row)

    def evaluate(self, progress: Progress, density: bool = False) -> tuple[dict[str, float], dict[str, float]]:
        """Scores on the training and the test items; the test targets are used here and nowhere else.

        density: also "log_likelihood", the mean over items of log p(y | h, x).
        """
        state, results = self.on_cpu(progress), []
        for values, side in zip(self.predictions(progress), self._sides(progress), strict=True):
            results.append(scores(*values, state.model.likelihood.metric))
            if density:
                answers, covariates, targets = side
                found = log_predictive_density(state, self.scaling, answers, covariates, targets, self.settings.seed)
                results[-1]["log_likelihood"] = float(found.mean())
        return results[0], results[1]

    def predictions(self, progress: Progress) -> list[tuple[FloatArray, FloatArray]]:
        """Targets in the form of predictions, and predictions, (T, L) each, of training and of test items."""
        state, found = self.on_cpu(progress), []
        for answers, covariates, targets in self._sides(progress):
            predicted = predictive_mean(state, self.scaling, answers, covariates, self.settings.seed)
            found.append((state.model.likelihood.comparable(targets).numpy(), predicted))
        return found

    def _sides(self, progress: Progress) -> list[tuple[Tensor, Tensor, Tensor]]:
        return [
            (torch.from_numpy(progress.train_answers), self.train_covariates, self.train_targets),
            (torch.from_numpy(progress.test_answers), self.test_covariates, self.test_targets),
        ]

    @staticmethod
    def on_cpu(progress: Progress) -> State:
        """The run's state itself if it is on the CPU, else a copy that is."""
        state = progress.state
        return state if state.posterior.device == CPU else state.copy().to(CPU)
