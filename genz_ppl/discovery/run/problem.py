"""What a run is about: the items, split once, as standardised tensors; blank models for them, and how well a model does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pyro.infer.elbo import ELBO
from pyro.optim import PyroOptim
from torch import Tensor

from genz_ppl.data import Items, Schema, Split
from genz_ppl.diagnostics.class_measures import class_tables, class_targets
from genz_ppl.diagnostics.measures import error_metric, exact, kind_of, measures, rootogram, scores
from genz_ppl.discovery.covariates import covariates_of
from genz_ppl.discovery.run import narrow
from genz_ppl.discovery.run.likelihood_choice import likelihood_for, may_turn_robust
from genz_ppl.discovery.run.link_choice import may_choose_link
from genz_ppl.discovery.run.progress import Progress, unpack
from genz_ppl.discovery.run.record import AllSides, RunRecord, Units, content_hashes
from genz_ppl.discovery.run.target_checks import check_direction, check_targets, count_classes, explained, explains_direction
from genz_ppl.discovery.run.trust import with_id
from genz_ppl.errors import OptionError
from genz_ppl.inference.annotators.answers import AnnotatedData
from genz_ppl.inference.fit import check_device
from genz_ppl.inference.isolation import SMALL, isolated, one_thread
from genz_ppl.inference.packed import Chosen, packed_for, scaling_of
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.inference.prediction import log_predictive_density, predictive_draws, predictive_mean
from genz_ppl.inference.start import Scaling, first_state, pooled_link
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.strategies import model_options, strategy_of
from genz_ppl.inference.worth.links import LINEAR
from genz_ppl.models import LIKELIHOODS, PoissonLikelihood
from genz_ppl.models.effects import indicators, levels_of
from genz_ppl.rows import chosen
from genz_ppl.settings import AUTO, BY_HAND, DiscoverSettings
from genz_ppl.types import GOLD, IntArray, Numbers

CPU = torch.device("cpu")
# Targets, or classes of all together, of which metrics.json has tables at the most.
MOST_TABLED = 50
# Of a side of so many items fewer are measured while a run goes on: log likelihoods take 400 draws of each item's features.
MANY, MEASURED = 200_000, 50_000


class Problem:
    """Items and settings, checked against each other before anything is asked.

    data: the training items without answers, standardised, on the device of the settings. Scores are taken on the CPU. choice:
    of the likelihood; by_tails: whether a run may come to another one by the tails of the noise; by_folds: or to another link by
    held-out folds. raters: see `RunRecord.raters`.
    """

    def __init__(
        self,
        items: Items,
        split: Split,
        settings: DiscoverSettings,
        loss: ELBO | None = None,
        optim: PyroOptim | None = None,
        raters: Sequence[str] = (),
    ) -> None:
        if items.targets is None:
            raise ValueError("discovery needs targets")
        if raters:
            check_annotators(settings, items.schema)
        self.train, self.test, self.held = (items.take(side) for side in (split.train, split.test, split.held))
        self.rest = chosen(items.items, split.rest)
        settings = replace(settings, direction=explains_direction(items, settings))
        self.choice = likelihood_for(items, self.train, settings)
        self.by_tails = may_turn_robust(settings, self.choice, items.targets.shape[1])
        self.by_folds = may_choose_link(settings, self.choice.likelihood) and not raters
        link = LINEAR if settings.link == AUTO else settings.link
        settings = replace(settings, likelihood=self.choice.likelihood, link=link)
        self.items, self.split, self.settings, self.raters = items, split, settings, tuple(raters)
        self.device = check_device(settings.device, settings.inference, settings.bayesian)
        if settings.direction:
            check_direction(items, settings.likelihood)
        self.n_classes = count_classes(items, settings.likelihood)
        targets, covariates = self._targets(self.train), torch.tensor(self.train.covariates)
        self.scaling = self._scaling(targets, covariates)
        check_targets(items, settings.likelihood, self.n_classes)
        self.levels: tuple[str, ...] = ()
        if self.train.varying_labels is not None:
            self._vary(self.train.varying_labels, covariates, targets)
        self.trained_with = {"loss": loss, "optim": optim}
        self.strategy = strategy_of(settings, loss, optim)
        self.strategy.check(len(split.train), settings.max_features or 0)
        data: Data = self.scaling.data(torch.zeros(len(targets), 0).to(targets), covariates_of(self.train, self.levels), targets)
        if raters:
            known = torch.tensor([name == GOLD for name in raters])
            answers = data.targets.new_zeros(len(targets), 0, len(raters))
            data = AnnotatedData(answers, data.covariates, data.targets, known, given=True)
        self.data = data.to(self.device)
        self.density_shift = float(self.scaling.density_shift(targets).sum())

    def _scaling(self, targets: Tensor, covariates: Tensor) -> Scaling:
        """Of all training items, these and the rest."""
        kind, items, split = LIKELIHOODS[self.settings.likelihood], self.items, self.split
        if len(split.rest) and kind.standardised and not self.settings.direction and items.targets is not None:
            places = np.concatenate([split.train, split.rest])
            found = scaling_of(*self._chosen(places), kind.shared_scale)
            if found is not None:
                return found
        if len(split.rest):
            rest = items.take(split.rest)
            targets = torch.cat([targets, self._targets(rest)])
            covariates = torch.cat([covariates, torch.tensor(rest.covariates)])
        return Scaling.of(targets, covariates, kind)

    def _vary(self, labels: tuple[str, ...], covariates: Tensor, targets: Tensor) -> None:
        """Let intercept and covariate weights vary between the groups of the training items.

        Raises OptionError for a link that has no such weights, InputError for one group alone or too many.
        """
        pooled_link(self.settings.link)
        self.levels = levels_of(labels, covariates.shape[1], f"{self.items.name}: varying column {self.items.schema.varying}")
        with isolated(self.settings.seed), self.threads(targets):
            likelihood = LIKELIHOODS[self.settings.likelihood].sized(targets.shape[1], self.n_classes)
            self.scaling = self.scaling.varying(indicators(labels, self.levels), covariates, targets, likelihood)

    def threads(self, targets: Tensor | None = None) -> Any:
        """A context in which small problems run on one thread, which is faster there."""
        return one_thread((self.data.targets if targets is None else targets).numel() < SMALL)

    def record(self, **entries: Any) -> RunRecord:
        """Of a run that starts on it. entries: what is not known here."""
        units = {name: getattr(self.scaling, name).tolist() for name in Scaling.__dataclass_fields__}
        return with_id(
            RunRecord.new(
                name=self.items.name,
                settings=self.settings,
                roles=self.items.schema,
                fingerprint=self.items.fingerprint(),
                n_classes=self.n_classes,
                by_tails=self.by_tails,
                by_folds=self.by_folds,
                levels=list(self.levels),
                scaling=Units(**units),
                split=AllSides(train=list(self.train.ids), test=list(self.test.ids), held=list(self.held.ids)),
                contents=AllSides(**{name: content_hashes(getattr(self, name)) for name in ("train", "test", "held")}),
                **({"rest": len(self.rest)} if len(self.rest) else {}),
                **{name: class_name(value) for name, value in self.trained_with.items() if value is not None},
                **entries,
            )
        )

    def blank(self, answers: Tensor | None = None) -> tuple[State, Data]:
        """A state that nothing is fitted to yet, with as many features as there are answers, (T, K). Call inside `isolated`."""
        data = self.data if answers is None else self.data.with_answers(answers.to(self.device))
        kind = (self.settings.link, self.settings.likelihood, self.settings.error_rate_prior)
        return first_state(data, self.scaling, *kind, self.n_classes, **model_options(self.settings, data.targets.shape[1])), data

    def n_fitted(self, progress: Progress) -> int:
        """How many training items the model is fitted to: all of them in the end."""
        return len(self.train) + (len(self.rest) if progress.status == "done" else 0)

    def whole(self, state: State, answers: NDArray[np.int8]) -> Data:
        """What the last fit of a state is made on: training items with these answers, (T, K) as in a pool, those of the side
        first and then those of the rest, as far as there are answers."""
        places, split, items = np.empty(len(answers), dtype=np.int64), self.split, self.items
        n_own = len(split.train)
        places[:n_own], places[n_own:] = split.train, split.rest[: len(answers) - n_own]
        by_blocks = self.device == CPU and not self.settings.direction
        if by_blocks and (packed := packed_for(state, answers, *self._chosen(places), self.scaling)) is not None:
            return packed
        some = items.take(places)
        targets = self._targets(some)
        return self.scaling.data(torch.from_numpy(unpack(answers)), covariates_of(some, self.levels), targets).to(self.device)

    def _chosen(self, places: IntArray) -> tuple[Chosen, Chosen]:
        """Targets and covariates of items, those of the training side first: these, in any order, are in memory already."""
        items, train = self.items, self.train
        assert items.targets is not None
        assert train.targets is not None
        return Chosen(items.targets, places, train.targets), Chosen(items.covariates, places, train.covariates)

    def metric(self, progress: Progress) -> str:
        """The metric of the learning curve."""
        return progress.state.model.likelihood.metric or self._error_metric

    @cached_property
    def _error_metric(self) -> str:
        vectors = bool(self.items.schema.embedding or self.settings.direction)
        return error_metric(self._targets(self.train).numpy(), vectors)

    def evaluate(self, progress: Progress) -> tuple[dict[str, float], dict[str, float]]:
        """Scores on the training and the test items; the test targets are used here and below and nowhere else.

        NaN on test items that were not asked about all features yet.
        """
        metric = progress.state.model.likelihood.metric
        train, test = (scores(*values, metric) for values in self.predictions(progress))
        return train, test if progress.tested else _unknown(test)

    def measured(self, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
        """All that is measured on the training and the test items: `measures`, "log_likelihood", the mean over items of
        log p(y | h, x), and, of at most `MOST_TABLED` classes or counts, their tables. As in `evaluate`.

        Of a side with `MANY` items or more all that is measured until the run is done is of `MEASURED` of them, drawn at random
        once and for all, and "measured_items" says so.
        """
        state, results = on_cpu(progress), []
        for values, (answers, covariates, some), part in zip(
            self.predictions(progress), self._sides(progress), (self.train, self.test), strict=True
        ):
            given = (state, self.scaling, answers, covariates)
            if self._is_narrow(some):
                density = narrow.mean_density(*given, values[0], self.settings.seed)
            else:
                density = float(log_predictive_density(*given, self._targets(some), self.settings.seed).mean())
            found: dict[str, Any] = {**measures(state.model.likelihood, *values), "log_likelihood": density}
            if len(answers) < len(part):
                found["measured_items"] = len(answers)
            results.append(found | self._tables(state, *values, answers, covariates))
        return results[0], results[1] if progress.tested else _unknown(results[1])

    def _tables(self, state: State, targets: Numbers, predicted: Numbers, answers: Tensor, covariates: Tensor) -> dict[str, Any]:
        """Confusion and calibration of classes, rootograms of counts, each by target."""
        likelihood, schema = state.model.likelihood, self.items.schema
        if targets.shape[1] > MOST_TABLED:
            return {}
        if kind_of(likelihood) == "classes":
            return class_tables(class_targets(likelihood, *exact(targets, predicted), schema.target, schema.classes))
        if not isinstance(likelihood, PoissonLikelihood):
            return {}
        counts, _ = exact(targets, predicted)
        drawn = predictive_draws(state, self.scaling, answers, covariates, self.settings.seed)
        return {"rootogram": {name: rootogram(counts[:, d], drawn[:, :, d]) for d, name in enumerate(schema.target)}}

    def predictions(self, progress: Progress, whole: bool = False) -> list[tuple[Numbers, Numbers]]:
        """Targets in the form of predictions, and predictions, (T, L) each, of training and of test items: as in `measured`, or
        of the whole sides though the run goes on. Both are float32 where the targets are, see `Items`."""
        state, seed, found = on_cpu(progress), self.settings.seed, list[tuple[Numbers, Numbers]]()
        for answers, covariates, part in self._sides(progress, whole):
            given = (state, self.scaling, answers, covariates, seed)
            if part.targets is not None and self._is_narrow(part):
                found.append((part.targets, narrow.predicted(*given)))
            else:
                found.append((state.model.likelihood.comparable(self._targets(part)).numpy(), predictive_mean(*given)))
        return found

    def fitted(self, progress: Progress) -> FittedItems:
        """The fit to the training items, as diagnostics see it."""
        return fitted_items(progress, on_cpu(progress), self.scaling, self.train, self.settings, self.levels, raters=self.raters)

    def _targets(self, part: Items) -> Tensor:
        """(T, D), what the run explains of some items, float64."""
        values = explained(part, self.settings.direction)
        return torch.from_numpy(values) if values.flags.writeable else torch.tensor(values)

    def _is_narrow(self, part: Items) -> bool:
        """Whether the targets of some items are float32, and themselves what is predicted."""
        plain = LIKELIHOODS[self.settings.likelihood].standardised and not self.settings.direction
        return plain and part.targets is not None and part.targets.dtype == np.float32

    def _sides(self, progress: Progress, whole: bool = False) -> list[tuple[Tensor, Tensor, Items]]:
        """Answers and covariates of either side, and its items; while the run goes on of a sample of many items."""
        found = []
        for name, part in (("train", self.train), ("test", self.test)):
            some = None if whole or progress.status == "done" else sample_of(len(part), self.settings.seed)
            answers = progress.given(name) if some is None else progress.given(name, some)
            part = part if some is None else part.take(some)
            found.append((torch.from_numpy(answers), covariates_of(part, self.levels), part))
        return found


def sample_of(n_items: int, seed: int) -> IntArray | None:
    """Positions of `MEASURED` items, rising, or None if there are fewer than `MANY`."""
    if n_items < MANY:
        return None
    return np.sort(np.random.default_rng(seed).choice(n_items, MEASURED, replace=False))


def _unknown(found: dict[str, Any]) -> dict[str, Any]:
    """The numbers of these as NaN, without tables."""
    return {name: float("nan") for name, value in found.items() if isinstance(value, float)}


def on_cpu(progress: Progress) -> State:
    """The run's state itself if it is on the CPU, else a copy that is."""
    state = progress.state
    return state if state.posterior.device == CPU else state.copy().to(CPU)


def fitted_items(
    progress: Progress,
    state: State,
    scaling: Scaling,
    part: Items,
    settings: DiscoverSettings,
    levels: tuple[str, ...],
    side: str = "train",
    raters: tuple[str, ...] = (),
) -> FittedItems:
    """A run's fit as diagnostics see it. part: its items of that side, "train", "test" or "held"; q of the last two is the prior
    of their answers."""
    answers = torch.from_numpy(progress.given(side))
    schema = part.schema
    return FittedItems(
        state=state if side == "train" else replace(state, posterior=state.prior(answers)),
        scaling=scaling,
        answers=answers,
        covariates=covariates_of(part, levels),
        targets=torch.tensor(explained(part, settings.direction)),
        item_ids=part.ids,
        feature_texts=tuple(record.text for record in progress.active),
        target_names=schema.target,
        seed=settings.seed,
        covariate_names=schema.covariates,
        class_names=schema.classes,
        levels=levels,
        varying=schema.varying or "",
        raters=raters,
    )


def check_annotators(settings: DiscoverSettings, schema: Schema) -> None:
    """Raise OptionError for what runs with several annotators or labels cannot do."""
    refused = {
        "varying": (schema.varying is not None, "groups take one annotator without labels, yet; leave it out"),
        "inference": (settings.inference not in BY_HAND, f"{settings.inference} takes one annotator without labels; choose auto"),
        "error_rates": (settings.error_rates == "asymmetric", "asymmetric takes one annotator without labels; choose symmetric"),
        "engine": (settings.engine != "here", f"{settings.engine} takes one annotator without labels; choose here"),
        "bayesian": (settings.bayesian, "takes one annotator without labels; leave it out"),
        "shortcuts": (not settings.shortcuts, "several annotators, and labels, need them; leave the option out"),
    }
    wrong = next((f"{name}: {words}" for name, (wrong, words) in refused.items() if wrong), None)
    if wrong is not None:
        raise OptionError(wrong)


def class_name(value: object) -> str:
    """How run.json names the loss or the optimiser that a run was given."""
    return f"{type(value).__module__}.{type(value).__qualname__}"
