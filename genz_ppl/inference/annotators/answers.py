"""What engines work on where several annotators have answered: the log-odds of all their answers as the prior of z."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from genz_ppl.inference.state import Data
from genz_ppl.models.features import annotated_log_odds


@dataclass(frozen=True)
class AnnotatedData(Data):
    """answers: (T, K, A) of 1, 0 and NaN. known: (A,) bool, annotators that are never wrong; their rates stay as they are."""

    known: Tensor

    @cached_property
    def signs(self) -> Tensor:
        """(K, T), the sum over annotators: 0 where there is no answer, or as many yes as no."""
        return (self.answers - 0.5).sign().nan_to_num(0.0).sum(2).T.contiguous()

    @cached_property
    def answered(self) -> Tensor:
        """How many items have an answer, (K, A)."""
        return (~torch.isnan(self.answers)).sum(0).to(self.answers)

    def add_prior(self, logits: Tensor, error_rates: Tensor, items: slice) -> Tensor:
        """See `Data.add_prior`."""
        return logits.add_(annotated_log_odds(self.answers[items], error_rates).T)

    def wrong_answers(self, posterior: Tensor) -> Tensor:
        """How many answers are expected to be wrong, (K, A)."""
        wrong = (self.answers - posterior.unsqueeze(2)).abs()
        return wrong.nan_to_num(0.0).sum(0)

    def counts(self, error_rates: Tensor, posterior: Tensor) -> tuple[Tensor, Tensor]:
        """See `Data.counts`; of annotators that are never wrong nothing."""
        learned = ~self.known
        return self.wrong_answers(posterior) * learned, self.answered * learned

    def feature_terms(self, error_rates: Tensor, posterior: Tensor) -> Tensor:
        """E_q log p(z, h), (K,), summed over items."""
        wrong = self.wrong_answers(posterior)
        terms = wrong * torch.log(error_rates) + (self.answered - wrong) * torch.log1p(-error_rates)
        return terms.sum(1) - math.log(2) * len(self.answers)

    def items(self, rows: slice | Tensor) -> AnnotatedData:
        """See `Data.items`."""
        return AnnotatedData(self.answers[rows], self.covariates[rows], self.targets[rows], self.known)

    def repeated(self, times: int) -> AnnotatedData:
        """See `Data.repeated`."""
        covariates, targets = (part.repeat(times, 1) for part in (self.covariates, self.targets))
        return AnnotatedData(self.answers.repeat(times, 1, 1), covariates, targets, self.known)
