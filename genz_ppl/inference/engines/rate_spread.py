"""How well the data tell error rates of answers yes from those of answers no."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from genz_ppl.inference.engines.sums import closed_form_for
from genz_ppl.inference.state import Data, State


@dataclass(frozen=True)
class RateSpread:
    """Standard deviations that the data leave the rates of answers yes and of answers no, (K,), and their difference.

    prior: that of the difference under the prior, (K,).
    """

    of_yes: Tensor
    of_no: Tensor
    difference: Tensor
    prior: Tensor

    @property
    def identified(self) -> Tensor:
        """Whether the data say more of the difference than the prior does, (K,) bool."""
        return self.difference < self.prior


@torch.no_grad()
def rate_spread(state: State, data: Data) -> RateSpread | None:
    """How well the data know rates apart; None where they are not, and for links and noise without closed forms.

    From the scores of every item, d log p(y_t | h_t) = E_q d log p(y_t, z_t | h_t), by both rates of a feature and all that may
    be mistaken for them: the size of its weights, an offset along them, and the size of the noise. The inverse of the sum of
    their products is the covariance. Where a wrong answer looks like noise, as it does with one target that is noisy, the rates
    trade with these, and their spreads are large.
    """
    if not state.model.features.asymmetric or not state.model.has_closed_form:
        return None
    q, link, engine, rates = state.posterior, state.model.link, closed_form_for(state.model, data), state.error_rates
    precision = engine.precision(state)
    modifiers = link.modifiers(data.covariates)
    error = torch.where(data.observed, data.targets - link(q, data.covariates), 0.0)
    noise = (torch.where(data.observed, precision * engine.squared_error(state) - 1, 0.0)).sum(1)
    spreads = []
    for k, (of_yes, of_no) in enumerate(rates):
        effect, given = modifiers @ link.coefficients()[k], data.answers[:, k]
        pull, strength = (precision * effect * error).sum(1), (precision * effect**2).sum(1)
        of_q = q[:, k]
        scores = [
            torch.where(given == 1, (1 - of_q - of_yes) / (of_yes * (1 - of_yes)), 0.0),
            torch.where(given == 0, (of_q - of_no) / (of_no * (1 - of_no)), 0.0),
            of_q * pull - of_q * (1 - of_q) * strength,
            pull,
            noise,
        ]
        spreads.append(_spread(torch.stack(scores, dim=1)))
    known = torch.stack(spreads) if spreads else q.new_zeros(0, 3)
    a, b = state.model.features.prior
    prior = (a * b / ((a + b).square() * (a + b + 1))).sum().sqrt().expand(len(rates))
    return RateSpread(known[:, 0], known[:, 1], known[:, 2], prior)


def _spread(scores: Tensor) -> Tensor:
    """Standard deviations of the first, the second and the first less the second, (3,). scores: (T, 5)."""
    size = scores.square().sum(0).sqrt()
    useful = size > 0
    known = scores[:, useful] / size[useful]
    inverse = torch.full((len(size), len(size)), 0.0).to(scores)
    place = useful.nonzero()[:, 0]
    inverse[place.unsqueeze(1), place] = torch.linalg.pinv(known.T @ known, hermitian=True) / (size[place, None] * size[place])
    inverse.diagonal()[~useful] = float("inf")
    both = inverse[0, 0] + inverse[1, 1] - 2 * inverse[0, 1]
    return torch.stack([inverse[0, 0], inverse[1, 1], both]).clamp(min=0.0).sqrt()
