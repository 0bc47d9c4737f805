"""One of the two sets of items: its features, and what they say of its embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from genz_ppl.inference.engines.coefficient_posterior import spread_of_location
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.start import Scaling, first_state
from genz_ppl.inference.state import Data, State, entropy_of, feature_terms, penalty_of
from genz_ppl.models import GaussianLikelihood
from genz_ppl.models.cooccurrence import EmbeddingPrior
from genz_ppl.settings import PairSettings

# Standard deviations below this share of the first embedding's are not believed: the noise of a side must not vanish.
SMALLEST_SCALE = 1e-3
# E- and M-steps on the first embeddings.
FIRST_STEPS = 20


@dataclass
class Side:
    """Features and link of a side, and the scale of its embeddings.

    state: the model of standardised embeddings, E targets with one normal scale each. scaling: those units, fixed.
    answers: (N, K); covariates: (N, P), in the user's units.
    """

    state: State
    scaling: Scaling
    answers: Tensor
    covariates: Tensor

    @classmethod
    def start(cls, answers: Tensor, covariates: Tensor, embedding: Embedding, settings: PairSettings) -> Side:
        """A side fitted to first embeddings. Call inside `isolated`."""
        scaling = Scaling.of(embedding.mean, covariates, GaussianLikelihood)
        data = scaling.data(answers, covariates, embedding.mean)
        kind = (settings.link, "gaussian", settings.error_rate_prior)
        apart = settings.error_rates == "asymmetric"
        priors: dict[str, Any] = {"calibration": settings.calibration, "shrinkage": settings.shrinkage, "asymmetric": apart}
        state = first_state(data, scaling, *kind, **priors)
        side = cls(state, scaling, answers, covariates)
        side.explain(embedding, FIRST_STEPS)
        return side

    @classmethod
    def blank(cls, embedding: Embedding, error_rate_prior: tuple[float, float] = (1.0, 9.0)) -> Side:
        """An undescribed side: all its items have one prior. Its units are those of the pairs."""
        nothing = embedding.mean.new_zeros(len(embedding.mean), 0)
        n_entries = embedding.mean.shape[1]
        scaling = Scaling(torch.zeros(n_entries).to(nothing), torch.ones(n_entries).to(nothing), nothing[0], nothing[0])
        data = Data(nothing, nothing, embedding.mean)
        side = cls(first_state(data, scaling, "linear", "gaussian", error_rate_prior), scaling, nothing, nothing)
        side.explain(embedding)
        return side

    def data(self, embedding: Embedding) -> Data:
        """Standardised tensors with the embeddings' means as targets."""
        return self.scaling.data(self.answers, self.covariates, embedding.mean)

    def explain(self, embedding: Embedding, steps: int = 1) -> None:
        """EM-steps of z, link and scale on q(y) (eqs. 27, 29-31): q's spread adds to the noise, as E_q (y - f)^2 does."""
        data, model = self.data(embedding), self.state.model
        likelihoods = [one for one in (model.likelihood, model.marginal) if one is not None]
        spread = ((embedding.sd / self.scaling.target_spread) ** 2).mean(0)
        for _ in range(steps):
            coordinate(self.state, data, 1, first=False)
            with torch.no_grad():
                for one in likelihoods:
                    one.scale = (one.scale**2 + spread).clamp(min=SMALLEST_SCALE**2).sqrt()

    @torch.no_grad()
    def prior(self) -> EmbeddingPrior:
        """N(E_q f(z), Sigma) of the side's items in the units of the pairs; f at the modes where it is not linear.

        A calibrated side: the product of that and of what answers alone say, each to the power of its share.
        """
        location, precision = self._combined()
        scale = precision.rsqrt() * self.scaling.target_spread
        return EmbeddingPrior(self.scaling.location(location).detach(), scale.detach().clone())

    def _parts(self) -> list[tuple[float, Tensor, Tensor]]:
        """What speaks for the embeddings, standardised: shares, locations (N, E) and precisions (E,)."""
        model, posterior, x = self.state.model.eval(), self.state.posterior, self.scaling.covariates(self.covariates)
        parts = [(model.share, model.link.mean(posterior, x), model.likelihood.scale**-2)]
        if model.marginal is not None:
            expected = model.link.mean(self.state.prior(self.answers), x)
            parts.append((1 - model.share, expected, model.marginal.scale**-2))
        return parts

    def _combined(self) -> tuple[Tensor, Tensor]:
        """Location (N, E) and precision (E,) of their product."""
        parts = self._parts()
        precision = torch.stack([share * one for share, _, one in parts]).sum(0)
        return torch.stack([share * one * location for share, location, one in parts]).sum(0) / precision, precision

    @torch.no_grad()
    def feature_bound(self) -> float:
        """What the side adds to the bound beside q(y) against N(E_q f(z), Sigma).

        E_q log p(z | answers) - log q(z) by their share, the log priors of error rates and weights, the loss of E_q log p(y | z)
        by the spread of f(z), and what is lost where features and answers disagree about an embedding.
        """
        state, q = self.state, self.state.posterior
        model, blank = state.model, Data(self.answers, self.scaling.covariates(self.covariates), q[:, :0])
        total = model.share * (float(feature_terms(state, blank).sum()) + entropy_of(q)) + penalty_of(state)
        location, combined = self._combined()
        for share, own, precision in self._parts():
            total -= 0.5 * share * float((precision * (own - location) ** 2).sum())
            total += 0.5 * len(q) * share * float(torch.log(precision / combined).sum())
        spreads = [model.link.variance(q, blank.covariates), torch.zeros_like(location)]
        if state.coefficient_covariance is not None:
            modifiers = model.link.modifiers(blank.covariates)
            spreads[0] += spread_of_location(q, q * (1 - q), modifiers, state.coefficient_covariance)
            spreads[1] += spread_of_location(state.prior(self.answers), None, modifiers, state.coefficient_covariance)
        for (share, _, precision), spread in zip(self._parts(), spreads, strict=False):
            total -= 0.5 * share * float((spread * precision).sum())
        return total

    @torch.no_grad()
    def predict(self, answers: Tensor, covariates: Tensor, draws: int = 400, seed: int = 0) -> Embedding:
        """Embeddings of items of which no pair is known: mean and sd over p(z | h) and Sigma.

        Exact for a link linear in z; else over `draws` of z. answers: (N', K); covariates: (N', P).
        """
        state, scaling = self.state, self.scaling
        noise = state.model.eval().likelihood.scale ** 2
        mean, variance = state.model.link.moments(state.prior(answers), scaling.covariates(covariates), draws, seed)
        return Embedding(scaling.location(mean), (variance + noise).sqrt() * scaling.target_spread)
