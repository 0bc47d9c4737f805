"""What a posterior says of answers yes and answers no apart: how many are wrong, and where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genz_ppl.models.features import unanswered_rate


@dataclass(frozen=True)
class Apart:
    """Expected numbers of items, (K, 2) each. answered: with the answer yes and with no; wrong: of these with the other truth.

    unknown: without an answer, where z is 0 and where z is 1.
    """

    answered: Tensor
    wrong: Tensor
    unknown: Tensor

    @classmethod
    def of(cls, n_items: int, sums: Tensor) -> Apart:
        """sums: of `sums_apart`, over all T items."""
        count, balance, true_yes, true, all_true = sums
        yes = 0.5 * (count + balance)
        wrong = torch.stack([yes - 0.5 * (true + true_yes), 0.5 * (true - true_yes)], dim=1)
        unknown = torch.stack([n_items - count - (all_true - true), all_true - true], dim=1)
        return cls(torch.stack([yes, count - yes], dim=1), wrong.clamp(min=0.0), unknown.clamp(min=0.0))

    def log_density(self, rates: Tensor) -> Tensor:
        """E_q log p(z | h) of every feature, summed over items, (K,). rates: (K, 2)."""
        terms = self.wrong * torch.log(rates) + (self.answered - self.wrong) * torch.log1p(-rates)
        truth = unanswered_rate(rates)
        return terms.sum(1) + self.unknown[:, 0] * torch.log1p(-truth) + self.unknown[:, 1] * torch.log(truth)

    def completed(self, rates: Tensor) -> tuple[Tensor, Tensor]:
        """Wrong answers and answers, (K, 2) each, with what those that are missing are likely to be, given z and these rates.

        The rates that are best for them never lower `log_density`: an E-step for the missing answers.
        """
        of_yes, of_no = rates.T
        # P(h = 1 | z) where h is missing, of which yes and no are as likely.
        yes_though_false, yes_if_true = of_yes / (of_yes + 1 - of_no), (1 - of_yes) / (1 - of_yes + of_no)
        false, true = self.unknown.T
        wrong_yes, wrong_no = false * yes_though_false, true * (1 - yes_if_true)
        right_yes, right_no = true * yes_if_true, false * (1 - yes_though_false)
        more = torch.stack([wrong_yes, wrong_no], dim=1)
        return self.wrong + more, self.answered + more + torch.stack([right_yes, right_no], dim=1)


def sums_apart(signs: Tensor, posterior: Tensor) -> Tensor:
    """What an `Apart` is made of, summed over items, (5, K): answers, their signs, and of z = 1 the signs, answers and items.

    signs: (K, T), 1 for the answer yes, -1 for no, 0 for none; posterior: (T, K), q(z = 1).
    """
    there = signs.abs()
    true_yes, true = (signs * posterior.T).sum(1), (there * posterior.T).sum(1)
    return torch.stack([there.sum(1), signs.sum(1), true_yes, true, posterior.sum(0)])
