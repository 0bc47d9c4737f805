"""Guides q(z, p_e) for stochastic variational inference. p_e is a point in all of them; they differ in q(z)."""

from __future__ import annotations

from functools import partial
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn
from torch.nn import functional

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.guided.conditional import ConditionalBernoulli, assignments, with_value
from genz_ppl.inference.guided.observation import held_observation
from genz_ppl.models import GenZ
from genz_ppl.models.features import SMALLEST_ERROR_RATE, prior_probability

# A started q stays this far (in log-odds) from 0 and 1, where its gradient vanishes.
LARGEST_LOGIT = 15.0
# Of a guide that is read and not trained: as far as numbers reach, so that the surest items keep their order.
CERTAIN = 700.0

Items = tuple[Tensor, Tensor, Tensor | None]


class Guide(PyroModule):  # type: ignore[misc]
    """The plates and sites of `GenZ`: "p_e" (K,), a point, in "features"; "z", event shape (K,), in "items".

    error_rates: (K,), or (K, 2) of answers yes and no apart, where the point starts. A subclass defines `distribution` and
    `posterior_of`. Build it inside `isolated`.
    """

    def __init__(self, error_rates: Tensor) -> None:
        super().__init__()
        self.n_features = len(error_rates)
        limits = constraints.interval(SMALLEST_ERROR_RATE, 1 - SMALLEST_ERROR_RATE)
        inside = error_rates.detach().clamp(2 * SMALLEST_ERROR_RATE, 1 - 2 * SMALLEST_ERROR_RATE)
        self.error_rates = PyroParam(inside.clone(), limits)

    def forward(
        self, answers: Tensor, covariates: Tensor, targets: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        """The arguments of `GenZ.forward`. Samples the sites and returns z, (B, K), B the batch size or T."""
        error_rates = self._point()
        with pyro.plate("items", answers.shape[0], subsample_size=batch_size, dim=-1) as rows:
            q = self.distribution(None if batch_size is None else rows, (answers, covariates, targets), error_rates)
            z: Tensor = pyro.sample("z", q)
            return z

    def distribution(self, rows: Tensor | None, items: Items, error_rates: Tensor) -> dist.Distribution:
        """q(z) of the items in `rows`, (B,), or of all T if it is None: batch shape (B,), event shape (K,)."""
        raise TypeError(f"{type(self).__name__} must define distribution(rows, items, error_rates)")

    def posterior_of(self, answers: Tensor, covariates: Tensor, targets: Tensor | None) -> Tensor:
        """q(z = 1), (T, K), without gradient."""
        raise TypeError(f"{type(self).__name__} must define posterior_of(answers, covariates, targets)")

    def _point(self) -> Tensor:
        if self.n_features == 0:
            return torch.zeros(0, dtype=torch.float64)
        with pyro.plate("features", self.n_features):
            point: Tensor = pyro.sample("p_e", dist.Delta(self.error_rates, event_dim=self.error_rates.dim() - 1))
        return point


class MeanFieldGuide(Guide):
    """q(z) is a product of Bernoullis, with a logit for every item and feature.

    logits: (T, K), started at the log-odds of posterior, (T, K); without one, at the prior's on the first call, and the
    parameter is there only after it. sparse: gradients of the logits hold the rows of the batch only, for `SparseAdam`. largest:
    where a logit may start.
    Raises InputError when posterior or the items have other shapes.
    """

    def __init__(
        self, error_rates: Tensor, posterior: Tensor | None, sparse: bool = False, largest: float = LARGEST_LOGIT
    ) -> None:
        super().__init__(error_rates)
        self.sparse, self.largest = sparse, largest
        self.logits: nn.Parameter | None = None
        if posterior is not None:
            self._start(posterior)

    @property
    def posterior(self) -> Tensor:
        """q(z = 1), (T, K), without gradient. Raises InputError before the first call when started without a posterior."""
        if self.logits is None:
            raise InputError("posterior: the guide was made without one and has not been called; run it on the items first")
        return torch.sigmoid(self.logits.detach())

    def posterior_of(self, answers: Tensor, covariates: Tensor, targets: Tensor | None) -> Tensor:
        """See `Guide.posterior_of`: the items the guide was made for."""
        return self.posterior

    def distribution(self, rows: Tensor | None, items: Items, error_rates: Tensor) -> dist.Distribution:
        """See `Guide.distribution`."""
        if self.logits is None:
            self._start(prior_probability(items[0], error_rates))
        logits = self.logits
        assert logits is not None
        check_shape("answers", items[0].flatten(2)[..., 0] if items[0].dim() == 3 else items[0], logits.shape)
        return dist.Bernoulli(logits=self._rows(logits, rows)).to_event(1)

    def _start(self, posterior: Tensor) -> None:
        check_shape("posterior", posterior, (posterior.shape[0], self.n_features))
        self.logits = nn.Parameter(finite_logit(posterior, self.largest))

    def _rows(self, logits: Tensor, rows: Tensor | None) -> Tensor:
        if not self.sparse or self.n_features == 0:
            return logits if rows is None else logits[rows]
        rows = torch.arange(len(logits)) if rows is None else rows
        return functional.embedding(rows.to(logits.device), logits, sparse=True)


class StructuredGuide(Guide):
    """q(z) = prod over j != k of q(z_j), times q(z_k | z_-k), for one feature k.

    posterior: (T, K), where the logits of the others start; feature: k. The conditional is one of
      exact    log-odds of z_k = log-odds of its prior + log p(y | z_k = 1, z_-k, x) - log p(y | z_k = 0, z_-k, x), read off
               `model`, without gradient. This q(z_k | z_-k) maximises the bound, so the bound's gradient through it is zero
               (envelope theorem) as long as model and guide are scaled and masked alike. See `given` for drawn weights.
      learned  log-odds of z_k = a_t + z_-k . b; a: (T,), starts at the posterior's log-odds; b: (K - 1,), starts at 0.
    Raises OptionError for a feature that is not there or exact without a model; NotImplementedError for exact where the
    model samples its weights.
    """

    def __init__(
        self,
        error_rates: Tensor,
        posterior: Tensor,
        feature: int = -1,
        conditional: Literal["exact", "learned"] = "exact",
        model: GenZ | None = None,
    ) -> None:
        super().__init__(error_rates)
        check_shape("posterior", posterior, (posterior.shape[0], self.n_features))
        check_conditional(self.n_features, feature, conditional, model)
        self.feature = feature % self.n_features
        self._model = (model,)  # in a tuple: the model's parameters are not the guide's
        self._items: Items | None = None
        self._given: dict[str, Tensor] | None = None
        self.learned = conditional == "learned"
        others = [j for j in range(self.n_features) if j != self.feature]
        logits = finite_logit(posterior)
        self.logits = nn.Parameter(logits[:, others])
        if self.learned:
            self.intercept = nn.Parameter(logits[:, self.feature].clone())
            self.slopes = nn.Parameter(torch.zeros_like(logits[0, others]))

    def given(self, parameters: dict[str, Tensor] | None) -> None:
        """Let calls from now on read the exact conditional off the model with these parameters, by name; None: its own.

        For a guide that draws the model's parameters: q(z_k | z_-k) must be the best one for the draw. `posterior`,
        `posterior_of` and `conditional` stay with the model's own parameters.
        """
        self._given = None if parameters is None else {f"model.{name}": value.detach() for name, value in parameters.items()}

    @property
    def posterior(self) -> Tensor:
        """q(z = 1), (T, K), of the items last seen: z_k is summed out exactly if K <= 11, by 256 fixed draws if K is larger."""
        return self.posterior_of(*self._seen())

    @torch.no_grad()
    def posterior_of(self, answers: Tensor, covariates: Tensor, targets: Tensor | None) -> Tensor:
        """See `Guide.posterior_of` and `posterior`."""
        q = self._conditional_on(None, None, (answers, covariates, targets), self.error_rates)
        marginal = torch.zeros_like(q.logits[:, 0])
        for z, weight in assignments(q.probs, self.feature):
            marginal += (weight * torch.sigmoid(q.conditional_logit(z))).sum(0)
        return with_value(q.probs, self.feature, marginal)

    @torch.no_grad()
    def conditional(self, z: Tensor) -> Tensor:
        """q(z_k = 1 | z_-k) of the items last seen, (T,). z: (T, K) of 0 and 1; its column k is not used."""
        return torch.sigmoid(self._conditional_on(None, None, self._seen(), self.error_rates).conditional_logit(z))

    def distribution(self, rows: Tensor | None, items: Items, error_rates: Tensor) -> ConditionalBernoulli:
        """See `Guide.distribution`."""
        return self._conditional_on(self._given, rows, items, error_rates)

    def _conditional_on(
        self, given: dict[str, Tensor] | None, rows: Tensor | None, items: Items, error_rates: Tensor
    ) -> ConditionalBernoulli:
        check_shape("answers", items[0], (len(self.logits), self.n_features))
        if not self.learned and items[2] is not None:
            self._items = items
        elif self._items is not None:  # without targets, those seen last
            items = (*items[:2], self._items[2])
        others = self.logits if rows is None else self.logits[rows]
        unused = others.new_zeros(len(others), 1)
        logits = torch.cat([others[:, : self.feature], unused, others[:, self.feature :]], dim=1)
        if self.learned:
            intercept = self.intercept if rows is None else self.intercept[rows]
            return ConditionalBernoulli(logits, self.feature, partial(self._learned, intercept, self.slopes))
        h, x, y = rows_of(items, rows)
        if y is None:
            raise InputError("targets: expected values for the exact conditional of a feature, got None; pass the targets")
        prior = torch.logit(prior_probability(h, error_rates)[:, self.feature]).detach()
        return ConditionalBernoulli(logits, self.feature, partial(self._exact, prior, given or {}, x, y))

    def _learned(self, intercept: Tensor, slopes: Tensor, z: Tensor) -> Tensor:
        others = torch.cat([z[..., : self.feature], z[..., self.feature + 1 :]], dim=-1)
        return intercept + others @ slopes

    def _exact(self, prior: Tensor, given: dict[str, Tensor], covariates: Tensor, targets: Tensor, z: Tensor) -> Tensor:
        (model,) = self._model
        assert model is not None
        both = torch.stack([with_value(z, self.feature, value) for value in (1.0, 0.0)])
        density = held_observation(model, given, both, covariates, targets)
        return prior + density[0] - density[1]

    def see(self, *items: Tensor) -> None:
        """Take these for the items last seen: answers (T, K), covariates (T, P), targets (T, D)."""
        self._items = (items[0], items[1], items[2])

    def _seen(self) -> Items:
        if self._items is not None:
            return self._items
        if not self.learned:
            raise InputError("items: the exact conditional needs them, and the guide has seen none; run it on the items first")
        nothing = torch.zeros_like(self.logits[:, :0])
        return torch.full((len(self.logits), self.n_features), float("nan")).to(nothing), nothing, None


def check_conditional(n_features: int, feature: int, conditional: str, model: GenZ | None) -> None:
    """Raise unless a StructuredGuide can be made so."""
    if not -n_features <= feature < n_features:
        raise OptionError(f"feature: expected the position of one of {n_features} features, got {feature}; count from 0")
    if conditional not in ("exact", "learned"):
        raise OptionError(f"conditional: expected exact or learned, got {conditional!r}")
    if conditional == "exact":
        if model is None:
            raise OptionError("model: expected one to read the exact conditional off, got None; pass it or choose learned")
        sampled = [name for part in model.modules() for name in getattr(part, "_pyro_samples", ())]
        if sampled:
            raise NotImplementedError(f"conditional: exact is for a model with fixed weights, but it samples {sampled}")


def check_shape(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    """Raise InputError unless values, (T, K), have this shape."""
    if tuple(values.shape) != tuple(shape):
        came, expected = (" x ".join(map(str, part)) for part in (tuple(values.shape), shape))
        raise InputError(f"{name}: expected {expected} (items x features), got {came}; use the items the guide was made for")


def finite_logit(probabilities: Tensor, largest: float = LARGEST_LOGIT) -> Tensor:
    """Log-odds, kept within +-largest."""
    return torch.logit(probabilities.detach()).clamp(-largest, largest)


def rows_of(items: Items, rows: Tensor | None) -> Items:
    """The items in `rows`; all if it is None."""
    if rows is None:
        return items
    answers, covariates, targets = items
    return answers[rows], covariates[rows], None if targets is None else targets[rows]
