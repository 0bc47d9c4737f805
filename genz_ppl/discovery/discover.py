"""`discover` and `Discovery`: the questions that explain a table's target, as a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from genz_ppl.data import Items, Schema
from genz_ppl.discovery.covariates import covariates_of
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.own_runs import OBJECT
from genz_ppl.discovery.prediction_table import class_table, group_table, prediction_table
from genz_ppl.discovery.run.drive import run_to_end, start
from genz_ppl.discovery.run.folder import RunDirectory, curve_table, feature_table
from genz_ppl.discovery.run.record import (
    blank_model,
    content_hash,
    make_record,
    recorded_scaling,
    recorded_settings,
    recorded_split,
)
from genz_ppl.discovery.run.records import Counters, Progress
from genz_ppl.discovery.run.runner import Runner
from genz_ppl.discovery.run.service import OnAnswers, OnStep, Service, Watchers
from genz_ppl.discovery.run.target_checks import check_training_targets, explained
from genz_ppl.errors import InputError, OptionError, RunDirectoryError
from genz_ppl.inference.group_table import group_effects
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.prediction import predict
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.settings import ModelSettings, is_served
from genz_ppl.models import CategoricalLikelihood
from genz_ppl.settings import DIRECTION, PAPER, SCREENED, DiscoverSettings
from genz_ppl.types import FloatArray

if TYPE_CHECKING:
    from genz_ppl.discovery.ratings.rated_run import RatedRun
    from genz_ppl.inference.posterior import FittedItems


def discover(
    items: Items,
    model: str | FoundationModel = "rules",
    *,
    out: str | Path | None = None,
    store: str | Path | None = None,
    model_settings: ModelSettings | Mapping[str, Any] | None = None,
    source: str | None = None,
    on_step: OnStep | None = None,
    on_answers: OnAnswers | None = None,
    **settings: Any,
) -> Discovery:
    """Find the yes/no questions that explain the targets of `items`.

    model: "rules", "similarity", "table:FILE", several joined as in "rules+table:FILE", "openai:NAME", "package.module:object",
    or an object with answer, propose and suggest.
    out: a new folder for the run directory, which also keeps the answers; without it nothing is written.
    model_settings: how openai:NAME is called (`ModelSettings` or some of its fields: caps, base_url, ...). store: the file
    of answers that runs with such a model share, by default in the user's cache folder. source: what `items` was read
    from, noted in the run directory so that the command line can resume. on_step: called after every step;
    on_answers: called with (answers known, answers wanted) while a served model is asked.
    settings: link, likelihood, inference, algorithm, cycles, add, cut, max_features, seed, test_fraction, device and the rest
    of `DiscoverSettings`.
    Raises InputError and OptionError before any question is asked; ModelError when the model fails (the run can be
    resumed from `out`), BudgetError at a cap (with a higher one it can be resumed) and StoreError.
    """
    chosen = make_settings(model, settings)
    service = Service.of(model, model_settings, store)
    if items.targets is None:
        raise InputError(f"{items.name}: has no target column; pass target= (--target on the command line)")
    split = items.split_indices(chosen.seed, chosen.test_fraction)
    check_training_targets(items, split)
    runner = Runner(items, split, chosen)
    directory = None if out is None else RunDirectory(Path(out))
    if directory is not None:
        directory.check_free()
    record = make_record(runner, source, service.settings, service.store)
    opened = service.open(record, directory, items=items)
    if directory is not None:
        directory.create(record)
    return finished(runner, opened, start(runner), record, directory, Watchers(on_step, on_answers))


def resume(
    out: str | Path,
    items: Items,
    model: str | FoundationModel | None = None,
    on_step: OnStep | None = None,
    on_answers: OnAnswers | None = None,
    model_settings: Mapping[str, Any] | None = None,
    device: str | None = None,
    store: str | Path | None = None,
) -> Discovery:
    """Go on where the run in the folder `out` was stopped, to the same end as if it had not been.

    items: the same items as before (checked). model: needed when the run was given an object. model_settings: fields of
    `ModelSettings` to change, such as caps, limits and workers; what decides the answers cannot change. device: where to go on,
    if not where the run was begun. store: another file of answers. Raises what `genz_ppl.resume` raises.
    """
    directory = RunDirectory(Path(out))
    record = directory.record()
    settings = moved(recorded_settings(record, directory), device)
    check_same_items(items, record, f"the run in {directory.path}")
    split = recorded_split(record, items)
    runner = Runner(items, split, settings)
    progress = directory.load(blank_model(record)) or start(runner)
    service = Service.recorded(record, directory, model, {**(model_settings or {}), "store": store})
    record = changed(record, settings, service)
    opened = service.open(record, directory, False, progress.counters, items)
    return finished(runner, opened, progress, record, directory, Watchers(on_step, on_answers))


class Discovery:
    """A finished or interrupted run: its features, its learning curve, its posterior, and predictions."""

    def __init__(
        self,
        progress: Progress,
        record: dict[str, Any],
        model: FoundationModel | None = None,
        directory: RunDirectory | None = None,
        items: Items | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        self._progress, self._record, self._model, self.directory, self._items = progress, record, model, directory, items
        self._changes = dict(changes or {})
        self.schema = Schema.from_dict(record["schema"])
        self._scaling, self._levels = recorded_scaling(record), tuple(record.get("levels", ()))

    @classmethod
    def load(
        cls,
        out: str | Path,
        model: str | FoundationModel | None = None,
        model_settings: Mapping[str, Any] | None = None,
        store: str | Path | None = None,
    ) -> Discovery:
        """Read a run directory, which asks for nothing.

        model: needed for predictions when the run was given an object instead of a name. model, model_settings, store: as in
        `genz_ppl.resume`, for predictions.
        """
        directory = RunDirectory(Path(out))
        record = directory.record()
        progress = directory.load(blank_model(record))
        if progress is None:
            raise RunDirectoryError(f"{directory.path}: the run was stopped before its first step; start it anew or resume it")
        return cls(progress, record, model, directory, changes={**(model_settings or {}), "store": store})

    @property
    def progress(self) -> Progress:
        """What the run knows: records, answers and fitted states."""
        return self._progress

    @property
    def record(self) -> dict[str, Any]:
        """The content of run.json."""
        return self._record

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the run, as in run.json."""
        settings = self._record["settings"]
        return {**settings, "error_rate_prior": tuple(settings["error_rate_prior"])}

    @property
    def status(self) -> str:
        """ "done", or "running" where the run was stopped before its end."""
        return self._progress.status

    @property
    def features(self) -> pd.DataFrame:
        """id, text, origin, p_e, prevalence, gain, added_at, removed_at, active: one row a feature, removed ones included."""
        return feature_table(self._progress)

    @property
    def curve(self) -> pd.DataFrame:
        """The learning curve: one row an event, columns as in curve.csv."""
        return curve_table(self._progress)

    @property
    def posterior(self) -> pd.DataFrame:
        """q(z = 1 given y and the answers): training items by id, active features by text."""
        texts = [record.text for record in self._progress.active]
        return pd.DataFrame(self._progress.state.posterior.numpy(), index=self._record["split"]["train"], columns=texts)

    @property
    def groups(self) -> pd.DataFrame:
        """By how much each group of the varying column differs from all items: one row a group, none without such a column.

        level: in the target where covariates are at their means (log rates and log-odds for counts and classes), and one column
        of slopes a covariate; each with its posterior standard deviation, <column>_sd. With several targets "<target>_level"
        and so on.
        """
        with isolated(0):
            effects = group_effects(self._progress.state, self._scaling)
        return group_table(effects, self._levels, self.schema)

    def predict(
        self,
        items: Items,
        level: float = 0.9,
        model_settings: Mapping[str, Any] | None = None,
        on_answers: OnAnswers | None = None,
    ) -> pd.DataFrame:
        """mean, sd, lower and upper for each item, by id; with several targets the columns are "<target>_mean" and so on.

        lower and upper hold `level` of the predictive distribution, features, noise and uncertain weights averaged over.
        Categorical targets: most_probable and probability_<class>. Items of the run keep the answers they have; the model is
        asked about the others only. model_settings: changes for a served model, as in `resume`; caps count from here.
        """
        if not 0 < level < 1:
            raise OptionError(f"level: expected a number between 0 and 1, got {level!r}")
        if items.covariates.shape[1] != len(self.schema.covariates):
            raise InputError(f"{items.name}: expected the covariates {', '.join(self.schema.covariates)} of the run")
        covariates = covariates_of(items, self._levels)
        answers = torch.from_numpy(self._answers(items, model_settings or {}, on_answers))
        seed = self._record["settings"]["seed"]
        with isolated(seed):
            outcome = predict(self._progress.state, self._scaling, answers, covariates, seed, level)
        targets, likelihood = self.schema.target, self._progress.state.model.likelihood
        if isinstance(likelihood, CategoricalLikelihood):
            return class_table(outcome, items.ids, targets, self.schema.classes, likelihood.n_classes)
        return prediction_table(outcome, items.ids, targets)

    def update(
        self, item: str | Items, ratings: Mapping[Any, float] | pd.DataFrame, factors: RatedRun | None = None
    ) -> pd.DataFrame:
        """The embedding of an item after its first ratings: a table of mean and sd by target.

        For runs whose targets are embeddings of ratings. The prediction is the prior, a Gaussian, and the ratings update it in
        closed form (`genz_ppl.inference.ratings.warm_start.WarmStart`); without any rating it is the prediction itself.

        item: the id of an item of the run, or one item with what a model reads (it is asked then). ratings: user to rating, or a
        table with the columns user and rating; users by their numbers in the data set. factors:
        from `genz_ppl.discovery.ratings.rated_run.RatedRun.recorded(run)`, once for many updates; without it the ratings are
        read again from where the run had them, which takes seconds to minutes.
        Raises InputError for an unknown item or user, OptionError where the targets are not embeddings of ratings.
        """
        from genz_ppl.discovery.ratings.rated_run import RatedRun

        return (RatedRun.recorded(self) if factors is None else factors).update(item, ratings)

    def fitted(self, items: Items, side: str = "train") -> FittedItems:
        """The fit as diagnostics see it. items: those of the run; side: "train", or "test", where q is the prior of the answers.

        Raises InputError for items that are not those of the run.
        """
        from genz_ppl.inference.posterior import FittedItems  # here, because most runs end without diagnostics

        check_same_items(items, self._record, "the run")
        split = recorded_split(self._record, items)
        part = items.take(split.train if side == "train" else split.test)
        progress, state = self._progress, self._progress.state
        answers = torch.from_numpy(progress.train_answers if side == "train" else progress.test_answers)
        if side != "train":
            state = replace(state, posterior=state.prior(answers))
        return FittedItems(
            state=state,
            scaling=self._scaling,
            answers=answers,
            covariates=covariates_of(part, self._levels),
            targets=torch.tensor(explained(part, self.settings.get("direction", False))),
            item_ids=part.ids,
            feature_texts=tuple(record.text for record in progress.active),
            target_names=self.schema.target,
            seed=self._record["settings"]["seed"],
            covariate_names=self.schema.covariates,
            class_names=self.schema.classes,
            levels=self._levels,
            varying=self.schema.varying or "",
        )

    def to_inference_data(self, items: Items | None = None) -> Any:
        """The posterior as an `arviz.InferenceData`: see `genz_ppl.diagnostics.inference_data.to_inference_data`.

        items: those of the run; not needed where the run was made in this process.
        """
        from genz_ppl.diagnostics.inference_data import to_inference_data  # ArviZ takes a second to import

        return to_inference_data(self.fitted(self._known(items)))

    def report(
        self,
        path: str | Path = "report.html",
        items: Items | None = None,
        baseline: Sequence[tuple[int, float]] | None = None,
        figures: str | Path | None = None,
    ) -> None:
        """Write all there is to see of the run into one HTML file that needs no network; needs the extra `report`.

        items: those of the run; not needed where the run was made in this process. baseline: (number of features, test error)
        along a 0-shot baseline's pruning curve. figures: a folder for the charts as pdf and png, for papers.
        """
        from genz_ppl.diagnostics.report.write import check_destination, write_figures, write_report
        from genz_ppl.discovery.reporting import gather

        known = self._known(items)
        check_destination(Path(path), figures)
        data = gather(self, known, self._record, baseline)
        write_report(data, Path(path))
        if figures is not None:
            write_figures(data, Path(figures))

    def _known(self, items: Items | None) -> Items:
        known = self._items if items is None else items
        if known is None:
            raise OptionError("items: a run that was loaded does not hold its data; pass the items it was started on")
        return known

    def answers(
        self, items: Items, model_settings: Mapping[str, Any] | None = None, on_answers: OnAnswers | None = None
    ) -> FloatArray:
        """Answers to the active features, (len(items), K): those of the run where it has them; the model is asked for others."""
        return self._answers(items, model_settings or {}, on_answers)

    def _answers(self, items: Items, changes: Mapping[str, Any], on_answers: OnAnswers | None) -> FloatArray:
        texts = [record.text for record in self._progress.active]
        known: dict[str, FloatArray] = {}
        for side, rows in (("train", self._progress.train_answers), ("test", self._progress.test_answers)):
            known.update(zip(self._record["content"][side], rows, strict=True))
        answers = np.full((len(items), len(texts)), np.nan)
        missing = []
        for position, item in enumerate(items):
            row = known.get(content_hash(item))
            if row is None:
                missing.append(position)
            else:
                answers[position] = row
        if missing and texts:
            asked = [items[i] for i in missing]
            service = Service.recorded(self._record, self.directory, self._model, {**self._changes, **changes}, own_caps=False)
            opened = service.open(self._record, None, items=asked)
            Watchers(None, on_answers).watch(opened)
            answers[missing] = Oracle(opened, Counters()).answer(asked, texts)
        return answers


def make_settings(model: str | FoundationModel, settings: dict[str, Any]) -> DiscoverSettings:
    """Checked settings. Raises OptionError for unknown names and values out of range."""
    name = model if isinstance(model, str) else f"{OBJECT}{type(model).__module__}.{type(model).__qualname__}"
    known = set(DiscoverSettings.__dataclass_fields__) - {"model"}
    unknown = [option for option in settings if option not in known]
    if unknown:
        raise OptionError(f"{unknown[0]}: no such setting; known are {', '.join(sorted(known))}")
    presets = (PAPER if settings.get("paper") else {}) | (DIRECTION if settings.get("direction") else {})
    chosen = DiscoverSettings(model=name, **(presets | settings))
    return chosen if chosen.screen is not None else replace(chosen, screen=SCREENED if is_served(name) else 0)


def moved(settings: DiscoverSettings, device: str | None) -> DiscoverSettings:
    """The settings of a run that goes on on another device; None: on the one they name."""
    return settings if device is None else replace(settings, device=device)


def changed(record: dict[str, Any], settings: DiscoverSettings, service: Service) -> dict[str, Any]:
    """The run.json of a run that goes on with what may differ from its start: the device, and how its model is opened."""
    return service.changed({**record, "settings": {**record["settings"], "device": settings.device}})


def check_same_items(items: Items, record: dict[str, Any], run: str) -> None:
    """Raise InputError unless these are the items that a run was started on."""
    if items.fingerprint() != record["fingerprint"]:
        raise InputError(f"{items.name}: the items are not those of {run}; give the data it was started on")


def finished(
    runner: Runner,
    model: FoundationModel,
    progress: Progress,
    record: dict[str, Any],
    directory: RunDirectory | None,
    watchers: Watchers,
) -> Discovery:
    """The run from `progress` to its end: see `running.run_to_end`."""
    record = run_to_end(runner, model, progress, record, directory, watchers)
    return Discovery(progress, record, model, directory, runner.items)
