"""What an estimator predicts by: a run that found its questions, or a fit to answers that were given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch

from genz_ppl.discovery.result import Discovery
from genz_ppl.inference.fit import FitResult
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.state import State
from genz_ppl.types import FloatArray


class Explainer(Protocol):
    """Questions, the answers to them, and predictions from these."""

    @property
    def texts(self) -> list[str]:
        """The K questions."""
        ...

    @property
    def state(self) -> State:
        """The fitted model."""
        ...

    def answers(self, table: pd.DataFrame) -> FloatArray:
        """(T, K) of 1, 0 and NaN for the rows of a table."""
        ...

    def means(self, table: pd.DataFrame) -> tuple[FloatArray, FloatArray | None]:
        """Predictive means, (T, D), and standard deviations; of a categorical target the chances of its classes, and None."""
        ...


@dataclass(frozen=True)
class Mined:
    """A run of `discover`. model_settings: of a served model, for new rows, whose caps count anew."""

    run: Discovery
    model_settings: Mapping[str, Any] | None

    @property
    def texts(self) -> list[str]:
        """The questions of the run's list."""
        return [record.text for record in self.run.progress.active]

    @property
    def state(self) -> State:
        """The run's last fit."""
        return self.run.progress.state

    def answers(self, table: pd.DataFrame) -> FloatArray:
        """Those of the run where a row says what one of its items says; the model is asked about others."""
        return self.run.answers(table, self.model_settings)

    def means(self, table: pd.DataFrame) -> tuple[FloatArray, FloatArray | None]:
        """As `Discovery.predict` has them."""
        found = self.run.predict(table, model_settings=self.model_settings, progress=False)
        if self.state.model.likelihood.is_of_classes:
            return found.filter(like="probability_").to_numpy(dtype=np.float64), None
        names = self.run.schema.target
        mean, sd = (
            found[[part if len(names) == 1 else f"{name}_{part}" for name in names]].to_numpy(dtype=np.float64)
            for part in ("mean", "sd")
        )
        return mean, sd


@dataclass(frozen=True)
class Given:
    """A fit to answers that are columns of the table. questions, covariates: the columns."""

    result: FitResult
    questions: Sequence[str]
    covariates: Sequence[str]

    @property
    def texts(self) -> list[str]:
        """The columns that hold answers."""
        return list(self.questions)

    @property
    def state(self) -> State:
        """The fitted model."""
        return self.result.state

    def answers(self, table: pd.DataFrame) -> FloatArray:
        """The columns themselves."""
        return table[list(self.questions)].to_numpy(dtype=np.float64)

    def means(self, table: pd.DataFrame) -> tuple[FloatArray, FloatArray | None]:
        """As `FitResult.predict_interval` has them."""
        inputs = self.answers(table), table[list(self.covariates)].to_numpy(dtype=np.float64)
        if self.state.model.likelihood.is_of_classes:
            return self.result.predict(*inputs), None
        found = self.result.predict_interval(*inputs)
        return found.mean, found.sd


def posterior_of(state: State, answers: FloatArray) -> FloatArray:
    """P(z = 1 given the answer), (T, K), eqs. 3-5: what is known of a row whose target is not."""
    with torch.no_grad(), isolated(0):
        found: FloatArray = state.prior(torch.tensor(answers)).numpy()
    return found
