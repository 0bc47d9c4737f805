"""A run on two sides: factorise, then in rounds search the features of each side and fit both to the pairs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from genz_ppl.discovery.pairs.folder import SIDE_NAMES, PairDirectory, stages
from genz_ppl.discovery.pairs.problem import PairProblem
from genz_ppl.discovery.pairs.scores import PAIR_METRICS, part_scores
from genz_ppl.discovery.pairs.search import Searcher, spent
from genz_ppl.discovery.pairs.states import PairProgress, load_stage, state_bytes
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.folder import METRICS_FILE, STATE_FILE, json_of
from genz_ppl.discovery.run.progress import Counters
from genz_ppl.discovery.run.tables import csv_of
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.fit import OnEpoch, factorise, train, with_features
from genz_ppl.llm.base import FoundationModel
from genz_ppl.settings import PairSettings


def load_searches(
    progress: PairProgress,
    directory: PairDirectory,
    done: list[tuple[str, int]],
    models: tuple[str | FoundationModel | None, str | FoundationModel | None],
    changes: Mapping[str, Any],
) -> None:
    """Read the last search of each side. done: stages; models, changes: as the user gives them, see `Discovery.load`."""
    for what, round_number in done:
        if what in SIDE_NAMES:
            number = SIDE_NAMES.index(what)
            folder = directory.side(number, round_number)
            if folder.path.exists():
                progress.searches[number] = Discovery.load(folder.path, models[number], **changes)


class PairRun:
    """A `RunKind` whose steps are stages."""

    def __init__(
        self,
        problem: PairProblem,
        settings: PairSettings,
        searcher: Searcher,
        rounds: int,
        directory: PairDirectory | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> None:
        self.problem, self.settings, self.searcher, self.directory = problem, settings, searcher, directory
        self.stages, self.on_epoch = stages(settings, rounds), on_epoch

    def start(self) -> PairProgress:
        """Before the first stage."""
        return PairProgress()

    def advance(self, progress: PairProgress, settled: Callable[[PairProgress], None]) -> None:
        """One stage."""
        started = time.monotonic() - progress.seconds
        what, number = self.stages[progress.stage]
        if what in SIDE_NAMES:
            self.search(progress, SIDE_NAMES.index(what), number)
        else:
            with isolated(self.seed_of(progress.stage)):
                self.fit(progress, what)
                self.note(progress, what)
        progress.stage += 1
        progress.seconds = time.monotonic() - started
        if what not in SIDE_NAMES:
            progress.curve[-1]["seconds"] = round(progress.seconds, 3)
        progress.status = "done" if progress.stage == len(self.stages) else "running"
        settled(progress)

    def dump(self, progress: PairProgress) -> Mapping[str, bytes]:
        """The state, the learning curve and the scores; nothing before the first stage."""
        if progress.state is None:
            return {}
        last, features = progress.curve[-1], ("n_row_features", "n_column_features")
        counted = {name: last.get(name) for name in (*features, *Counters.__dataclass_fields__)}
        metrics = {**progress.scores, **counted, "seconds": round(progress.seconds, 3), "status": progress.status}
        return {
            STATE_FILE: state_bytes(progress, progress.state),
            "curve.csv": csv_of(pd.DataFrame(progress.curve)).encode(),
            METRICS_FILE: json_of(metrics),
        }

    def load(self, directory: PairDirectory) -> PairProgress | None:
        """The last stage, without its searches."""
        return load_stage(directory, directory.record())

    def seed_of(self, stage: int) -> int:
        """The seed of a stage."""
        return int(np.random.SeedSequence([self.settings.seed, stage]).generate_state(1)[0])

    def search(self, progress: PairProgress, number: int, round_number: int) -> None:
        """Search the features of a side, in a run directory of its own."""
        assert progress.state is not None
        directory = None if self.directory is None else self.directory.side(number, round_number)
        searches = progress.searches
        searches[number] = self.searcher.search(self.problem, number, progress.state, searches, directory)

    def fit(self, progress: PairProgress, what: str) -> None:
        """Factorise, or fit the features of both sides to the embeddings and, in a joint fit, everything to the pairs."""
        pairs = self.problem.training
        if what == "factorise" or progress.state is None:
            progress.state = factorise(pairs, self.settings, self.on_epoch)
            return
        answers = tuple(self.answers(progress, number)[0] for number in (0, 1))
        covariates = tuple(torch.from_numpy(side.covariates[side.train].copy()) for side in self.problem.sides)
        progress.state = with_features(progress.state, (answers[0], answers[1]), (covariates[0], covariates[1]), self.settings)
        if self.settings.fit == "joint":
            train(progress.state, pairs, self.settings, self.on_epoch)

    def answers(self, progress: PairProgress, number: int) -> tuple[Tensor, Tensor]:
        """(N, K) answers to a side's features on its training items and on its test items."""
        side, search = self.problem.sides[number], progress.searches[number]
        if search is None:
            return tuple(torch.zeros(len(part), 0, dtype=torch.float64) for part in (side.train, side.test))  # type: ignore[return-value]
        return torch.from_numpy(search.progress.train_answers), torch.from_numpy(search.progress.test_answers)

    def whole(self, progress: PairProgress, number: int) -> Embedding:
        """Embeddings of all items of a side: of those for fitting from their pairs, of test items from their features."""
        assert progress.state is not None
        side, fitted, known = self.problem.sides[number], progress.state.sides[number], progress.state.embeddings[number]
        if not len(side.test):
            return known
        described = fitted.answers.shape[1] > 0 or fitted.covariates.shape[1] > 0
        answers = self.answers(progress, number)[1] if described else torch.zeros(len(side.test), 0, dtype=torch.float64)
        covariates = torch.from_numpy(side.covariates[side.test].copy())[:, : fitted.covariates.shape[1]]
        predicted = fitted.predict(answers, covariates, seed=self.settings.seed)
        mean, sd = (torch.zeros(len(side.ids), known.mean.shape[1], dtype=torch.float64) for _ in range(2))
        for part, embedding in ((side.train, known), (side.test, predicted)):
            mean[torch.from_numpy(part)], sd[torch.from_numpy(part)] = embedding.mean, embedding.sd
        return Embedding(mean, sd)

    def note(self, progress: PairProgress, what: str) -> None:
        """Scores of every part, and a row of the curve."""
        state = progress.state
        assert state is not None
        metric = PAIR_METRICS[self.settings.likelihood]
        rows, columns = self.whole(progress, 0), self.whole(progress, 1)
        progress.scores = part_scores(self.problem, state.model, rows, columns, self.settings.likelihood)
        errors = {f"{name}_error": scores.get(metric) for name, scores in progress.scores.items()}
        progress.curve.append(
            {
                "stage": progress.stage,
                "what": what if what == "factorise" else self.settings.fit,
                "n_row_features": state.rows.answers.shape[1],
                "n_column_features": state.columns.answers.shape[1],
                "bound": state.bounds[-1],
                "metric": metric,
                **errors,
                **vars(spent(progress.searches)),
                "seconds": 0.0,
            }
        )
