"""`CoOccurrenceRun`: what a run on two sides found, and its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from genz_ppl.data import Items
from genz_ppl.data.values import label
from genz_ppl.discovery.pairs.folder import SIDE_NAMES, PairDirectory, fitted_stages, pair_features
from genz_ppl.discovery.pairs.problem import PairProblem
from genz_ppl.discovery.pairs.reporting import gather_pairs
from genz_ppl.discovery.pairs.stages import load_searches
from genz_ppl.discovery.pairs.states import PairProgress, load_stage
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.record import PairRecord
from genz_ppl.discovery.run.tables import csv_of
from genz_ppl.errors import InputError, OptionError, RunDirectoryError
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.fit import PairState
from genz_ppl.inference.pairs.prediction import predict_pairs
from genz_ppl.inference.pairs.result import weights_of
from genz_ppl.llm.base import FoundationModel
from genz_ppl.settings import PairSettings
from genz_ppl.types import Pairs


class CoOccurrenceRun:
    """A finished or interrupted run on two sides: features and affinities, learning curve, predictions of pairs."""

    def __init__(
        self,
        progress: PairProgress,
        record: PairRecord,
        directory: PairDirectory | None = None,
        problem: PairProblem | None = None,
    ) -> None:
        self.progress, self.record, self.directory, self._problem = progress, record, directory, problem

    @classmethod
    def load(
        cls,
        out: str | Path,
        model: str | FoundationModel | None = None,
        column_model: str | FoundationModel | None = None,
        model_settings: Mapping[str, Any] | None = None,
        store: str | Path | None = None,
    ) -> CoOccurrenceRun:
        """Read a run directory.

        model, column_model: for predictions, where the run was given objects instead of names. These, model_settings and store:
        for predictions, as in `genz_ppl.resume`.
        """
        directory = PairDirectory(Path(out))
        record = directory.record()
        if (progress := load_stage(directory, record)) is None:
            raise directory.not_begun()
        done = fitted_stages(record.settings, record.rounds, progress.stage)
        models = given_models(record, model, column_model)
        load_searches(progress, directory, done, models, {"model_settings": model_settings, "store": store})
        return cls(progress, record, directory)

    def __repr__(self) -> str:
        sides = [f"{len(ids)} {name}" for ids, name in zip(self.ids, SIDE_NAMES, strict=True)]
        held_out = self.scores.get("held_out", {})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in held_out.items() if value is not None)
        more = "" if self.status == "done" else "; not at its end"
        folder = "" if self.directory is None else f"; in {self.directory.path}"
        counts = [f"{len(self._texts(number))} of the {side}" for number, side in enumerate(sides)]
        return f"<CoOccurrenceRun: questions: {' and '.join(counts)}; held-out pairs: {shown or 'none'}{more}{folder}>"

    @property
    def settings(self) -> PairSettings:
        """How the two-item model was fitted."""
        return self.record.settings

    @property
    def status(self) -> str:
        """ "done", or "running" where the run was stopped before its end."""
        return self.progress.status

    @property
    def state(self) -> PairState:
        """The fitted model, both sides and the embeddings of the items that were fitted."""
        if self.progress.state is None:
            raise RunDirectoryError("the run was stopped before its first stage")
        return self.progress.state

    @property
    def searches(self) -> dict[str, Discovery | None]:
        """The last search of each side as an ordinary run, None of an undescribed one."""
        return dict(zip(SIDE_NAMES, self.progress.searches, strict=True))

    @property
    def features(self) -> pd.DataFrame:
        """The features of both sides, rows first: side, and the columns of `Discovery.features` with p_e as last fitted."""
        tables = {name: search.features for name, search in self.searches.items() if search is not None}
        states = {name: side.state for name, side in zip(SIDE_NAMES, self.state.sides, strict=True)}
        fits = {name: (one.error_rates.numpy(), one.posterior.numpy().mean(axis=0)) for name, one in states.items()}
        return pair_features(tables, fits)

    @property
    def affinity(self) -> pd.DataFrame:
        """Which row feature goes with which column feature: W1 W2', row features by column features, in units of the location.

        What the location of a pair (the value, log-odds or logarithm) rises by when both are there, beside what each does alone.
        Raises OptionError where a link is not linear.
        """
        weights = [weights_of(side) for side in self.state.sides]
        if weights[0] is None or weights[1] is None:
            raise OptionError("affinity: only links that are linear in the features have one; fit with link 'linear'")
        names = [self._texts(number) for number in (0, 1)]
        return pd.DataFrame(weights[0][:, 1:] @ weights[1][:, 1:].T, index=names[0], columns=names[1])

    @property
    def curve(self) -> pd.DataFrame:
        """One row a fit: bound and errors on training pairs, held-out pairs, new rows, new columns and new x new."""
        return pd.DataFrame(self.progress.curve)

    @property
    def scores(self) -> dict[str, dict[str, float | None]]:
        """All metrics by part of the split."""
        return self.progress.scores

    @property
    def ids(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Ids of the rows and columns that were fitted, in the order of their embeddings."""
        rows, columns = (tuple(self.record.split[name].train) for name in SIDE_NAMES)
        return rows, columns

    def embedding(self, side: str, items: Items | None = None) -> tuple[tuple[str, ...], Embedding]:
        """Ids and embeddings of a side: of items that were fitted from their pairs, of others from answers and covariates.

        side: "rows" or "columns". items: None for all that were fitted.
        """
        number = SIDE_NAMES.index(side)
        known, fitted = self.state.embeddings[number], self.state.sides[number]
        if items is None:
            return self.ids[number], known
        place = {name: position for position, name in enumerate(self.ids[number])}
        new = [position for position, name in enumerate(items.ids) if name not in place]
        mean, sd = (torch.zeros(len(items), known.mean.shape[1], dtype=torch.float64) for _ in range(2))
        for position, name in enumerate(items.ids):
            if name in place:
                mean[position], sd[position] = known.mean[place[name]], known.sd[place[name]]
        if new:
            search, chosen = self.searches[side], items.take(new)
            n_features = fitted.answers.shape[1]
            if n_features != len(self._texts(number)):
                raise RunDirectoryError("the run was stopped between a search and the fit that follows; resume it first")
            chosen = chosen if search is None else search.matched(chosen)
            n_covariates = fitted.covariates.shape[1]
            if chosen.covariates.shape[1] != n_covariates > 0:
                raise InputError(
                    f"{items.name}: expected {n_covariates} covariates as in the run, got {chosen.covariates.shape[1]}"
                )
            answers = np.zeros((len(new), 0)) if search is None or not n_features else search.answers(chosen)
            covariates = torch.from_numpy(chosen.covariates.copy())[:, :n_covariates]
            with isolated(self.settings.seed):
                predicted = fitted.predict(torch.from_numpy(answers), covariates, seed=self.settings.seed)
            mean[new], sd[new] = predicted.mean, predicted.sd
        return items.ids, Embedding(mean, sd)

    def predict(
        self,
        pairs: pd.DataFrame | Sequence[tuple[str, str]],
        rows: Items | None = None,
        columns: Items | None = None,
        level: float = 0.9,
    ) -> pd.DataFrame:
        """mean, sd, lower and upper of pairs of ids, in their order and on their index.

        pairs: ids in the columns that the run had them in, by name, or else in the first two. rows, columns: descriptions,
        needed for ids that were not fitted, where the run was loaded from its folder.
        Raises InputError for ids that are neither fitted nor described.
        """
        if not 0 < level < 1:
            raise OptionError(f"level: expected a number between 0 and 1, got {level!r}")
        frame = pairs if isinstance(pairs, pd.DataFrame) else pd.DataFrame(list(pairs), columns=["row", "column"])
        names = self.record.pair_columns or []
        frame = frame[names] if names and set(names) <= set(frame.columns) else frame.iloc[:, :2]
        if self._problem is not None:  # the items that were kept out are described already
            rows, columns = (given or side.items for given, side in zip((rows, columns), self._problem.sides, strict=True))
        positions, embeddings = [], []
        for name, items, column in zip(SIDE_NAMES, (rows, columns), frame.columns, strict=True):
            ids, embedding = self._joined(name, items)
            place = {identity: position for position, identity in enumerate(ids)}
            wanted = [str(label(identity)) for identity in frame[column].tolist()]
            unknown = [identity for identity in dict.fromkeys(wanted) if identity not in place]
            if unknown:
                shown = ", ".join(repr(one) for one in unknown[:5])
                raise InputError(
                    f"pairs: {len(unknown)} {name} were neither fitted nor described: {shown}; pass their descriptions as {name}="
                )
            positions.append(torch.tensor([place[identity] for identity in wanted], dtype=torch.int64))
            embeddings.append(embedding)
        (first, second), (left, right) = embeddings, positions
        found = predict_pairs(self.state.model, first, second, left, right, level=level, seed=self.settings.seed)
        values = {name: getattr(found, name) for name in ("mean", "sd", "lower", "upper")}
        return frame.assign(**values)

    def to_inference_data(self, draws: int = 500) -> Any:
        """Draws of both sides' embeddings and q(z) as an `arviz.InferenceData`."""
        from genz_ppl.diagnostics.inference_data import pair_inference_data  # ArviZ takes a second to import

        texts = {name: self._texts(number) for number, name in enumerate(SIDE_NAMES)}
        return pair_inference_data(self.state, dict(zip(SIDE_NAMES, self.ids, strict=True)), texts, draws, self.settings.seed)

    def report(
        self,
        path: str | Path = "report.html",
        rows: Items | Sequence[str] | None = None,
        columns: Items | Sequence[str] | None = None,
        pairs: Pairs | None = None,
    ) -> None:
        """Write all there is to see of the run into one HTML file that needs no network; needs the extra `report`.

        rows, columns: the items of the run, whose texts are shown; the ids of an undescribed side say nothing more. pairs: with
        both, for the chart of predictions. Not needed where the run was made in this process.
        Raises InputError for data that are not the run's, OptionError where the file cannot be written.
        """
        from genz_ppl.diagnostics.report.pair_write import write_pair_report
        from genz_ppl.diagnostics.report.write import check_destination

        check_destination(Path(path))
        problem = self._problem
        if pairs is not None and self.directory is not None:
            if rows is None or columns is None:
                raise OptionError("pairs: they are positions among rows and columns; pass rows= and columns= too")
            problem = PairProblem.recorded(rows, columns, pairs, self.record, self.directory.path)
        known = [side.items for side in problem.sides] if problem is not None else [None, None]
        first, second = (given if isinstance(given, Items) else own for given, own in zip((rows, columns), known, strict=True))
        write_pair_report(gather_pairs(self, (first, second), problem), Path(path))

    def write_tables(self) -> None:
        """features.csv and, where the links have one, affinity.csv beside the state."""
        if self.directory is None:
            return
        tables = {"features.csv": self.features}
        if all(weights_of(side) is not None for side in self.state.sides):
            tables["affinity.csv"] = self.affinity.rename_axis("row feature").reset_index()
        self.directory.write({name: csv_of(table).encode() for name, table in tables.items()})

    def _joined(self, side: str, items: Items | None) -> tuple[tuple[str, ...], Embedding]:
        ids, known = self.embedding(side)
        if items is None:
            return ids, known
        more, other = self.embedding(side, items)
        return ids + more, Embedding(torch.cat([known.mean, other.mean]), torch.cat([known.sd, other.sd]))

    def _texts(self, number: int) -> list[str]:
        search = self.progress.searches[number]
        texts = [] if search is None else [record.text for record in search.progress.active]
        return texts if len(texts) == self.state.sides[number].answers.shape[1] else []


def given_models(
    record: PairRecord, row_model: str | FoundationModel | None, column_model: str | FoundationModel | None
) -> tuple[str | FoundationModel | None, str | FoundationModel | None]:
    """What a user gives, by side: one model is of both sides where they have the same."""
    same = record.models[0] == record.models[1]
    return row_model, row_model if same and column_model is None else column_model
