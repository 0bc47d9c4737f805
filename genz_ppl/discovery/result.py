"""`Discovery`: what a run found, and its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from genz_ppl.data import Items, Schema, frame_like
from genz_ppl.data.readings import check_readings
from genz_ppl.diagnostics.summary import Ceiling, Summary
from genz_ppl.discovery.answering import answers_of
from genz_ppl.discovery.covariates import covariates_of
from genz_ppl.discovery.display import one_line, page
from genz_ppl.discovery.edit.editing import edit, undo
from genz_ppl.discovery.estimates import run_effects
from genz_ppl.discovery.matching import matched, needed_schema
from genz_ppl.discovery.plotting import Plots
from genz_ppl.discovery.pool import Pool, pool_of
from genz_ppl.discovery.prediction_table import explained_table, group_table, prediction_table, unit_of
from genz_ppl.discovery.ratings.rated_run import RatedRun
from genz_ppl.discovery.reporting import gather, noted_ceiling
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.items import read_items
from genz_ppl.discovery.run.problem import fitted_items
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.discovery.run.service import Service
from genz_ppl.discovery.run.states import load_progress, scaling_of
from genz_ppl.discovery.run.tables import curve_table, feature_table
from genz_ppl.discovery.watch import OnAnswers
from genz_ppl.errors import OptionError
from genz_ppl.inference.feature_effects import feature_effects
from genz_ppl.inference.group_table import group_effects
from genz_ppl.inference.guided.guides import Guide
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.inference.prediction import predict
from genz_ppl.inference.strategies import strategy_of
from genz_ppl.llm.base import FoundationModel
from genz_ppl.models import GenZ
from genz_ppl.settings import AUTO
from genz_ppl.types import FloatArray


class Discovery:
    """A finished or interrupted run: its features, its learning curve, its posterior, and predictions.

    record: what run.json says. progress: what the run knows, with answers and fitted states.
    """

    def __init__(
        self,
        progress: Progress,
        record: RunRecord,
        model: str | FoundationModel | None = None,
        directory: RunDirectory | None = None,
        items: Items | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> None:
        self.progress, self.record, self._model, self.directory, self._items = progress, record, model, directory, items
        self._changes = dict(changes or {})
        self.schema, self._scaling, self._levels = record.roles, scaling_of(record), tuple(record.levels)

    @classmethod
    def load(
        cls,
        out: str | Path,
        model: str | FoundationModel | None = None,
        model_settings: Mapping[str, Any] | None = None,
        store: str | Path | None = None,
        annotators: Sequence[str | FoundationModel] | None = None,
    ) -> Discovery:
        """Read a run directory, which asks for nothing. model, model_settings, store, annotators: as in `genz_ppl.resume`, for
        predictions; models are needed when the run was given an object instead of a name.
        """
        directory = RunDirectory(Path(out))
        if (progress := load_progress(directory, record := directory.record())) is None:
            raise directory.not_begun()
        changes = {**(model_settings or {}), "store": store, "annotators": annotators}
        return cls(progress, record.following(progress), model, directory, changes=changes)

    def __repr__(self) -> str:
        return f"<Discovery: {one_line(self)}>"

    def _repr_html_(self) -> str:
        return page(self)

    @cached_property
    def plot(self) -> Plots:
        """Charts on matplotlib's axes: `run.plot.curve()`, `effects()`, `predicted()` and `calibration()`."""
        return Plots(self)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the run, as in run.json."""
        return asdict(self.record.settings)

    @property
    def status(self) -> str:
        """ "done", or "running" where the run was stopped before its end."""
        return self.progress.status

    @property
    def features(self) -> pd.DataFrame:
        """One row a feature, removed ones included.

        id, text; effect: what yes instead of no adds to the target, with the bounds effect_lower and effect_upper of a 90 %
        interval (see `FeatureEffects`; of several targets or classes its size over all of them, with the one that moves most in
        strongest and strongest_effect); origin; p_e, with rates apart p_yes, p_no, false_yes, false_no (see `AnswerErrors`), by
        annotator "p_e NAME"; prevalence; gain: nats that the bound would lose without it; added_at, removed_at, active;
        gain_when_added. Effects and gain are known at the end of a run, for active features.
        """
        state = self.progress.state
        return feature_table(self.progress.features, state.error_rates.numpy(), state.posterior.numpy(), self.record.raters)

    @property
    def unit(self) -> str:
        """What `effect` is in: "log-odds" ("log-odds of NAME", of two the second), "log rate", "sd" of several; "" as targets."""
        return unit_of(self.progress.state.model, self.schema.classes)

    def effects(
        self, gold: pd.DataFrame | None = None, level: float = 0.95, error_rate_prior: Any = AUTO, items: Any = None
    ) -> pd.DataFrame:
        """Effects with intervals to publish, on items that chose no question: see `genz_ppl.discovery.estimates.run_effects`."""
        known = None if items is None else self.record.own_items(items)
        return run_effects(self, self.progress, gold, level, error_rate_prior, known)

    @property
    def coefficients(self) -> pd.DataFrame:
        """The effect of each active feature, by text, on each target (or class); units as in `features`."""
        fitted = self.fitted()
        return pd.DataFrame(feature_effects(fitted).mean, index=pd.Index(fitted.feature_texts), columns=fitted.column_names)

    @cached_property
    def ceiling(self) -> Ceiling | None:
        """What gradient boosting on all fields reaches on the same split, beside the run; noted in its folder when first made.

        None without scikit-learn (the extra `report`), for a run of a few steps, of whose time it would take more than a tenth,
        and for one that was loaded without a note of it.
        """
        return noted_ceiling(self, self._items, self.progress.step)

    @property
    def summary(self) -> Summary:
        """What the run comes to: its errors beside those without questions and of guessing."""
        if self.progress.outcome:
            return Summary.from_dict(self.progress.outcome)
        first, last = self.curve.iloc[0], self.curve.iloc[-1]
        errors = float(last["test_error"]), float(last["train_error"]), float(first["test_error"])
        return Summary(int(last["n_features"]), str(last["metric"]), *errors)

    @property
    def curve(self) -> pd.DataFrame:
        """The learning curve: one row an event, columns as in curve.csv."""
        return curve_table(self.progress.curve)

    @property
    def posterior(self) -> pd.DataFrame:
        """q(z = 1 given y and the answers): training items on their index, active features by text."""
        names, known = self.record.split.train, self._own_items()
        index = pd.Index(names, name="id") if known is None else known.index[self.record.split_of(known).train]
        return pd.DataFrame(self.progress.state.posterior.numpy(), index=index, columns=self._texts)

    @property
    def groups(self) -> pd.DataFrame:
        """By how much each group of the varying column differs from all items: one row a group, none without such a column.

        level: in the target where covariates are at their means (log rates and log-odds for counts and classes), and one column
        of slopes a covariate; each with its posterior standard deviation, <column>_sd. With several targets "<target>_level"
        and so on.
        """
        with isolated(0):
            effects = group_effects(self.progress.state, self._scaling, lambda: None if self.record.rest else self.fitted())
        return group_table(effects, self._levels, self.schema)

    def predict(
        self,
        items: Any,
        level: float = 0.9,
        model_settings: Mapping[str, Any] | None = None,
        on_answers: OnAnswers | None = None,
        progress: bool | None = None,
        predict_with: str = "list",
        explain: bool = False,
    ) -> pd.DataFrame:
        """mean, sd, lower and upper for each item, on its index; with several targets the columns are "<target>_mean" and so on.

        items: Items or a table (see `Items.from_frame`), whose columns are matched by name with those of the run. Targets and
        further columns are not needed.
        lower and upper hold `level` of the predictive distribution, features, noise and uncertain weights averaged over.
        Classes, two or more: most_probable and probability_<class>, with bernoulli before the others. Items of the run keep their
        answers; the model is asked about others only. model_settings: changes of a served model, as in `resume`; caps count anew.
        predict_with: "list", the features of the run, or "pool", all questions that it has the answers to: see `pool`.
        explain: also base and what each question adds to it, by its text ("<target>: <text>" of several), see `Contributions`.
        """
        if not 0 < level < 1:
            raise OptionError(f"level: expected a number between 0 and 1, got {level!r}")
        run = self.asking(predict_with)
        items = run.matched(items)
        covariates = covariates_of(items, self._levels)
        answers = torch.from_numpy(run.answers(items, model_settings, on_answers, progress))
        seed, state = self.record.settings.seed, run.progress.state
        with isolated(seed):
            outcome = predict(state, self._scaling, answers, covariates, seed, level)
            table = prediction_table(outcome, items.index, self.schema, state.model.likelihood)
        return explained_table(run, table, answers, covariates) if explain else table

    @cached_property
    def pool(self) -> Pool:
        """The model of all questions that the run has answers to, and what they add to its list: see `Pool`.

        Raises OptionError where weights cannot shrink, and where the run's folder does not hold its data.
        """
        return pool_of(self.progress, self.fitted(), self.record.settings)

    def asking(self, predict_with: str) -> Discovery:
        """The run whose features are those of the list, itself, or all of the pool. Raises OptionError for another word."""
        if predict_with not in ("list", "pool"):
            raise OptionError(f"predict_with: expected list or pool, got {predict_with!r}")
        if predict_with == "list":
            return self
        return Discovery(self.pool.progress, self.record, self._model, self.directory, self._items, self._changes)

    def update(
        self, item: str | Items, ratings: Mapping[Any, float] | pd.DataFrame, factors: RatedRun | None = None
    ) -> pd.DataFrame:
        """The embedding of an item after its first ratings: a table of mean and sd by target.

        For runs whose targets are embeddings of ratings: the prediction is the prior, which ratings update in closed form.
        item, ratings: see `RatedRun.update`. factors: `RatedRun.recorded(run)`, once for many updates; else the ratings are read
        again, which takes seconds to minutes. Raises InputError for an unknown item or user, OptionError for other targets.
        """
        return (RatedRun.recorded(self) if factors is None else factors).update(item, ratings)

    def fitted(self, items: Any = None, side: str = "train") -> FittedItems:
        """The fit as diagnostics see it. items: those of the run, None where it knows them itself; side: "train", or "test" and
        "held", where q is the prior of the answers.

        Raises InputError for items that are not those of the run, OptionError where the run's folder does not hold them.
        """
        record, progress = self.record, self.progress
        items = self.items if items is None else record.own_items(items)
        part = items.take(getattr(record.split_of(items), side))
        return fitted_items(progress, progress.state, self._scaling, part, record.settings, self._levels, side, record.raters)

    def to_inference_data(self, items: Any = None) -> Any:
        """The posterior as an `arviz.InferenceData`: see `genz_ppl.diagnostics.inference_data.to_inference_data`.

        items: those of the run; not needed unless it was made by a version that did not note them.
        """
        from genz_ppl.diagnostics.inference_data import to_inference_data  # ArviZ takes a second to import

        return to_inference_data(self.fitted(items))

    def report(
        self,
        path: str | Path = "report.html",
        items: Any = None,
        baseline: Sequence[tuple[int, float]] | None = None,
        figures: str | Path | None = None,
    ) -> None:
        """Write all there is to see of the run into one HTML file that needs no network; needs the extra `report`.

        items: those of the run, for their texts where it was loaded and has not kept them. baseline: (number of features, test
        error) along a 0-shot baseline's pruning curve. figures: a folder for the charts as pdf and png, for papers.
        """
        from genz_ppl.diagnostics.report.write import check_destination, write_figures, write_report

        check_destination(Path(path), figures)
        data = gather(self, None if items is None else self.record.own_items(items), baseline)
        write_report(data, Path(path))
        if figures is not None:
            write_figures(data, Path(figures))

    @property
    def items(self) -> Items:
        """The items of the run: as it was given them, or, loaded, their targets and covariates, and texts where it keeps them.

        Raises OptionError where its folder does not hold them.
        """
        if (known := self._own_items()) is None:
            raise OptionError("items: the run's folder does not hold its data; pass the items that it was started on")
        return known

    def edit(self, **changes: Any) -> Discovery:
        """The run with questions dropped, added, reworded, locked: `run.edit(drop=["f2"], add=["..."])`, see `editing.edit`."""
        return Discovery(*edit(self, **changes))

    def undo(self) -> Discovery:
        """The run in its folder as it was before its last edit."""
        return Discovery(*undo(self), self._model, self.directory, self._items)

    def _own_items(self) -> Items | None:
        if self._items is None and self.directory is not None:
            self._items = read_items(self.directory, self.record)
        return self._items

    @property
    def needed(self) -> Schema:
        """The columns that predictions need, with their roles: of those that a model reads only what the questions are about."""
        return needed_schema(self.schema, self._texts, "+".join(self.record.answering))

    def matched(self, items: Any) -> Items:
        """Items, or the rows of a table (see `as_frame`), with the columns of the run. InputError names one they lack."""
        found = items if isinstance(items, Items) else frame_like(items, self.needed)
        check_readings(self.schema, found.schema, found.name)
        return matched(found, self.schema, self.needed)

    @cached_property
    def program(self) -> GenZ:
        """The Pyro program of the run with what it learned, a copy: `program(answers, covariates, targets)`, standardised.

        `run.fitted().data` holds these tensors, `run.fitted().scaling.location` brings drawn targets back to the user's units.
        """
        with isolated(0):
            return strategy_of(self.record.settings).program(self.progress.state.copy())

    @cached_property
    def guide(self) -> Guide:
        """The trained guide of `program`, on the training items: q(z) of the run's strategy, and the error rates.

        Both are plain Pyro: `Predictive(run.program, guide=run.guide, num_samples=100)`, `SVI(run.program, run.guide, ...)`.
        """
        data, state = self.fitted().data, self.progress.state
        with isolated(0):
            return strategy_of(self.record.settings).guide(replace(state, model=self.program), data)

    @property
    def _texts(self) -> list[str]:
        return [record.text for record in self.progress.active]

    def answers(
        self,
        items: Any,
        model_settings: Mapping[str, Any] | None = None,
        on_answers: OnAnswers | None = None,
        progress: bool | None = False,
    ) -> FloatArray:
        """Answers to the active features, (len(items), K), of several annotators (len(items), K, A): known or asked for."""
        return answers_of(self, self.matched(items), model_settings or {}, on_answers, progress)

    def service(self, changes: Mapping[str, Any], own_caps: bool = True) -> Service:
        """The run's model, not opened yet, with changes: see `Service.recorded`."""
        return Service.recorded(self.record, self.directory, self._model, {**self._changes, **changes}, own_caps)
