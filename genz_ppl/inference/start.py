"""Where a fit starts: scaling of targets and covariates, first posteriors, and the split of a free feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from genz_ppl.errors import OptionError
from genz_ppl.inference.annotators.answers import AnnotatedData
from genz_ppl.inference.engines.least_squares import least_squares
from genz_ppl.inference.group_spread import effect_spread
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import Data, State
from genz_ppl.models import CombinedLink, FeatureLayer, GenZ
from genz_ppl.models.combined import Rules
from genz_ppl.models.effects import pooling_of, with_effects
from genz_ppl.models.features import prior_probability
from genz_ppl.models.known_likelihoods import LIKELIHOODS
from genz_ppl.models.likelihoods import Likelihood
from genz_ppl.models.links import LINKS, LinearLink, Link, TrainingPlan

# Standard deviation of the prior of weights in log-odds and logarithms.
WEAK_SPREAD = 3.0
# Log-odds of a split one standard deviation from its middle.
SHARPNESS = 10.0


@dataclass(frozen=True)
class Scaling:
    """Centre and spread of targets, (D,), and covariates, (P,); models are fitted on standardised values.

    effect_spread: (G, 1 + P), prior standard deviation of the intercept and the slopes of each group, standardised; (0,) where
    nothing varies by group. With groups, covariates come as (T, P + G), those of a number and then the indicators of groups,
    and the model's covariates are `with_effects`' P + G + G P columns.
    """

    target_centre: Tensor
    target_spread: Tensor
    covariate_centre: Tensor
    covariate_spread: Tensor
    effect_spread: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.float64))

    @classmethod
    def of(cls, targets: Tensor, covariates: Tensor, likelihood: type[Likelihood]) -> Scaling:
        """From targets (T, D) with NaN where missing and covariates (T, P), as the likelihood wants them."""
        covariate_centre, covariate_spread = torch.zeros(0).to(targets), torch.ones(0).to(targets)
        if covariates.shape[1] > 0:
            covariate_centre, covariate_spread = covariates.mean(0), _positive(covariates.std(0, unbiased=False))
        if not likelihood.standardised:
            unchanged = torch.zeros(targets.shape[1]).to(targets)
            return cls(unchanged, unchanged + 1, covariate_centre, covariate_spread)
        observed = ~torch.isnan(targets)
        count = observed.sum(0).clamp(min=1)
        centre = torch.nan_to_num(targets).sum(0) / count
        squared = torch.nan_to_num((targets - centre) ** 2)
        variance = squared.sum() / count.sum() if likelihood.shared_scale else squared.sum(0) / count
        spread = variance.expand(targets.shape[1]).sqrt().clone()
        return cls(centre, _positive(spread), covariate_centre, covariate_spread)

    def varying(self, groups: Tensor, covariates: Tensor, targets: Tensor, likelihood: Likelihood) -> Scaling:
        """The same where intercept and slopes vary by group, with the spreads that these items speak for.

        groups: (T, G), indicators; covariates: (T, P) and targets: (T, D) in the user's units.
        """
        data = self.data(covariates[:, :0], covariates, targets)
        spread = effect_spread(data.covariates, groups, likelihood.working(data.targets))
        spread = spread * likelihood.unit_of_working(data.targets).mean()
        return replace(self, effect_spread=spread.repeat(groups.shape[1], 1))

    def data(self, answers: Tensor, covariates: Tensor, targets: Tensor) -> Data:
        """The same values, standardised."""
        return Data(answers, self.covariates(covariates), (targets - self.target_centre) / self.target_spread)

    def covariates(self, values: Tensor) -> Tensor:
        """Standardised covariates, (T, P), or with the effects of groups, (T, P + G + G P), from (T, P + G)."""
        n_covariates = len(self.covariate_centre)
        standardised = (values[:, :n_covariates] - self.covariate_centre) / self.covariate_spread
        return with_effects(standardised, values[:, n_covariates:]) if self.n_groups else standardised

    @property
    def n_groups(self) -> int:
        """G, of the groups that intercept and slopes vary by; 0 where they do not."""
        return len(self.effect_spread)

    @property
    def n_columns(self) -> int:
        """How many covariates the model has."""
        n_covariates = len(self.covariate_centre)
        return n_covariates + self.n_groups * (1 + n_covariates)

    @property
    def pooling(self) -> Tensor | None:
        """Prior precision of the weights of the model's covariates, (n_columns,), or None where none has a prior."""
        return pooling_of(self.effect_spread[0], self.n_groups) if self.n_groups else None

    def location(self, values: Tensor) -> Tensor:
        """Values of standardised targets, (..., D), in the user's units; indicators of classes, (..., L), have none."""
        if values.shape[-1] != len(self.target_centre):
            return values
        return self.target_centre + self.target_spread * values

    def spread_of(self, n_locations: int) -> Tensor:
        """What one unit of each of the link's values is of the target, (L,): 1 of classes, whose values have no unit."""
        return self.target_spread if n_locations == len(self.target_spread) else torch.ones(n_locations).to(self.target_spread)

    def density_shift(self, targets: Tensor) -> Tensor:
        """What turns a log density of standardised targets into one of the user's, per item, (T,)."""
        return -((~torch.isnan(targets)) * torch.log(self.target_spread)).sum(1)


def _positive(spread: Tensor) -> Tensor:
    return torch.where(spread > 0, spread, torch.ones_like(spread))


def build_model(
    n_features: int,
    n_targets: int,
    n_covariates: int,
    link: str = "linear",
    likelihood: str = "gaussian",
    error_rate_prior: tuple[float, float] = (1.0, 9.0),
    training_plan: TrainingPlan | None = None,
    n_classes: int = 2,
    pooling: Tensor | None = None,
    shortcuts: bool = True,
    calibration: float = 0.0,
    shrinkage: bool = False,
    asymmetric: bool = False,
    combinations: Sequence[Rules] | None = None,
) -> GenZ:
    """A fresh model by the names of its parts. Call inside `isolated`.

    n_classes: of each target, for likelihoods of classes. pooling: (P,), prior precision of the weights of covariates, 0 for
    none; OptionError where the link has no such weights. shortcuts, calibration: see `GenZ`. asymmetric: see `FeatureLayer`.
    shrinkage: see `GenZ.shrunk`. Weights in log-odds and logarithms of counts always have a weak prior: questions that tell
    classes apart without fail would have infinite ones. combinations: of features, of which the link is a function,
    see `CombinedLink`.
    """
    observation = LIKELIHOODS[likelihood].sized(n_targets, n_classes)
    n_columns = n_features if combinations is None else len(combinations)
    kind, sizes = LINKS[link], (n_columns, observation.n_locations, n_covariates, training_plan)
    function = kind(*sizes) if pooling is None else pooled_link(link)(*sizes, pooling)
    features = FeatureLayer(n_features, error_rate_prior, asymmetric)
    if not observation.standardised:
        function.weak = WEAK_SPREAD**-2
    if combinations is not None:
        function = CombinedLink(n_features, combinations, function)
    model = GenZ(features, function, observation, shortcuts, calibration)
    return model.shrunk() if shrinkage else model


def pooled_link(name: str) -> type[LinearLink]:
    """The link of that name; OptionError unless its covariate weights can vary between groups."""
    kind = LINKS[name]
    if not issubclass(kind, LinearLink):
        raise OptionError(
            f"varying: effects of groups go with the links linear and interaction, got {name}; choose one, or leave varying out"
        )
    return kind


def first_state(
    data: Data,
    scaling: Scaling,
    link: str,
    likelihood: str,
    error_rate_prior: tuple[float, float],
    n_classes: int = 2,
    **options: Any,
) -> State:
    """A fresh model of these parts for standardised data, on their device, at its start. Call inside `isolated`.

    options: further ones of `build_model`. With a free feature the model is not calibrated: answers say nothing of it.
    """
    if bool(data.unanswered.any()):
        options = {**options, "calibration": 0.0}
    sizes = (data.answers.shape[1], data.targets.shape[1], data.covariates.shape[1])
    kind = (link, likelihood, error_rate_prior)
    model = build_model(*sizes, *kind, n_classes=n_classes, pooling=scaling.pooling, **options)
    return start_state(model.to(data.targets.device), data)


def start_state(model: GenZ, data: Data) -> State:
    """Error rates at their prior mean, posteriors at the answers, free features split along what the rest leaves over."""
    if isinstance(data, AnnotatedData):
        model.features.pool_annotators(data.answers.shape[2], int(data.known.sum()))
    rates = model.features.rates(data.answers.shape[1]).to(data.answers)
    for likelihood in (model.likelihood, model.marginal):
        if likelihood is not None:
            likelihood.start(torch.nan_to_num(data.targets), data.observed)
    posterior = prior_probability(data.answers, rates)
    free = data.unanswered
    if bool(free.any()):
        working = model.likelihood.working(data.targets)
        used = [int(k) for k in torch.nonzero(~free)[:, 0]]
        for k in torch.nonzero(free)[:, 0].tolist():
            residual = linear_residual(posterior[:, used], data, working, ridge_of(model.link, 1.0))
            posterior[:, k] = leading_split(residual)
            used.append(k)
    return State(model, rates, posterior)


def ridge_of(link: Link, noise: float) -> Tensor | None:
    """What the squares of covariate weights cost, (P,), where squared errors cost one and have the variance `noise`."""
    return None if link.pooling is None else link.pooling * noise


def linear_residual(posterior: Tensor, data: Data, targets: Tensor, ridge: Tensor | None = None) -> Tensor:
    """What a linear fit on the given feature columns, (T, K), leaves of the targets, (T, D), NaN where missing.

    ridge: see `ridge_of`.
    """
    observed = ~torch.isnan(targets)
    weights = None if bool(observed.all()) else observed.to(targets)
    ones = torch.ones(len(posterior), 1).to(posterior)
    there = torch.nan_to_num(targets)
    coefficients, intercept, slopes = least_squares(posterior, ones, data.covariates, there, weights, pooling=ridge)
    return targets - posterior @ coefficients[:, 0] - intercept - data.covariates @ slopes


@one_thread()  # a decomposition of a tall matrix: on two threads, with one core taken, it takes forty times as long
def leading_split(residual: Tensor, rank: int = 0) -> Tensor:
    """A soft binary split of the items along the leading direction of their whitened residuals.

    residual: (T, D), NaN where missing. rank: 0 for the first such direction, 1 for the second, up to D - 1.
    Returns (T,), near 1 and 0 at the two ends and one half in the middle.
    """
    observed = ~torch.isnan(residual)
    there = torch.nan_to_num(residual)
    spread = (there**2).sum(0) / observed.sum(0).clamp(min=1)
    white = there / _positive(spread.sqrt())
    _, _, directions = torch.linalg.svd(white, full_matrices=False)
    direction = directions[rank] * torch.where(directions[rank].sum() < 0, -1.0, 1.0)
    score = white @ direction
    return torch.sigmoid(SHARPNESS * score / _positive(score.std(unbiased=False)))
