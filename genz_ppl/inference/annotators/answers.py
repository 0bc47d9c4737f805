"""What engines work on where several annotators have answered: the log-odds of all their answers as the prior of z.

Rates are learned from how annotators agree, too, that is from log p(y, h). Models with other questions explain other answers, so
that they are compared by log p(y | h), the same less log p(h).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from genz_ppl.inference.state import Data
from genz_ppl.models.features import annotated_log_odds

# By how many nats an annotator counts for more than the next one.
EVEN = 1e-9


@dataclass(frozen=True)
class AnnotatedData(Data):
    """answers: (T, K, A) of 1, 0 and NaN. known: (A,) bool, annotators that are never wrong; their rates stay as they are.

    given: whether bounds are of log p(y | h), by which models with other questions are compared, not of log p(y, h).
    """

    known: Tensor
    given: bool = False

    @cached_property
    def signs(self) -> Tensor:
        """(K, T), the sum over annotators: 0 where there is no answer, or as many yes as no."""
        return (self.answers - 0.5).sign().nan_to_num(0.0).sum(2).T.contiguous()

    @cached_property
    def unanswered(self) -> Tensor:
        """See `Data.unanswered`."""
        return torch.isnan(self.answers).all(2).all(0)

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

    def log_answers(self, error_rates: Tensor) -> float:
        """log p(h), summed over items, where bounds are given h; else 0."""
        if not self.given:
            return 0.0
        wrong, right = torch.log(error_rates), torch.log1p(-error_rates)
        of_yes = torch.where(self.answers > 0.5, right, wrong).masked_fill(torch.isnan(self.answers), 0.0).sum(2)
        of_no = torch.where(self.answers > 0.5, wrong, right).masked_fill(torch.isnan(self.answers), 0.0).sum(2)
        return float((torch.logaddexp(of_yes, of_no) - math.log(2)).sum())

    def to(self, device: torch.device) -> AnnotatedData:
        """See `Data.to`."""
        plain = super().to(device)
        return replace(self, answers=plain.answers, covariates=plain.covariates, targets=plain.targets)

    def items(self, rows: slice | Tensor) -> AnnotatedData:
        """See `Data.items`."""
        parts = {name: getattr(self, name)[rows] for name in ("answers", "covariates", "targets")}
        return replace(self, **parts)

    def repeated(self, times: int) -> AnnotatedData:
        """See `Data.repeated`."""
        covariates, targets = (part.repeat(times, 1) for part in (self.covariates, self.targets))
        return replace(self, answers=self.answers.repeat(times, 1, 1), covariates=covariates, targets=targets)


def voted(answers: Tensor, error_rates: Tensor) -> Tensor:
    """What annotators say together, (T, K) of 1, 0, NaN where none has answered; where they are even, what the first one says.

    answers: (T, K, A); error_rates: (K, A), or (A,) of all questions.
    """
    signs = (answers - 0.5).sign().nan_to_num(0.0)
    first = EVEN * torch.arange(answers.shape[2], 0, -1).to(signs)
    log_odds = (signs * (first - torch.logit(error_rates))).sum(2)
    return torch.where(signs.abs().sum(2) > 0, (log_odds > 0).to(signs), float("nan"))
