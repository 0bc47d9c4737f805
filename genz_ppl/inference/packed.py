"""Very many items in memory: targets stay where and as they were given, answers take a byte, posteriors are float32.

Blocks of items become float64 when a step works on them, and what is summed over items is float64 throughout: a fit needs 5 bytes
an item and question beside its input. For the linear link with Gaussian noise, complete targets and steps derived by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genz_ppl.inference.apart import sums_apart
from genz_ppl.inference.engines.blocks import Results, blocks_of, each_block, lanes_for
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.start import Scaling, build_model
from genz_ppl.inference.state import Data, State
from genz_ppl.mapped import rows_at
from genz_ppl.models import LIKELIHOODS, GaussianLikelihood, LinearLink
from genz_ppl.models.features import mean_rates, unanswered_rate
from genz_ppl.settings import BY_HAND, FitSettings
from genz_ppl.types import FloatArray, IntArray

# From so many answers and targets together on, at 8 bytes each 128 MB, data are packed; items that are looked at together.
LARGE, BLOCK = 2**24, 2**14


@dataclass(frozen=True)
class PackedData(Data):
    """Its `answers`, `covariates` and `targets` have sizes alone, on torch's device meta: whoever takes them for numbers fails.

    given_targets: (T, D), given_covariates: (T, P), numbers of any type in the user's units; scaling: theirs. packed: (K, T),
    int8: 1 for the answer yes, -1 for no, 0 for none.
    """

    given_targets: Any
    given_covariates: Any
    scaling: Scaling
    packed: Tensor

    @property
    def complete(self) -> bool:
        """Always: others are not packed."""
        return True

    @property
    def observed(self) -> Tensor:
        """Its size alone, see above."""
        return torch.empty(self.targets.shape, dtype=torch.bool, device="meta")  # computing it would import a part of torch

    @property
    def stored(self) -> tuple[Tensor, ...]:
        """See `Data.stored`."""
        return (self.packed,)

    @cached_property
    def answered(self) -> Tensor:
        """See `Data.answered`."""
        return self._sum(lambda items: self.signs_of(items).abs().sum(1))

    @cached_property
    def _answered_yes(self) -> Tensor:
        return 0.5 * (self.answered + self._sum(lambda items: self.signs_of(items).sum(1)))

    def signs_of(self, items: slice) -> Tensor:
        """See `Data.signs_of`."""
        return self.packed[:, items].to(torch.float64)

    def there_of(self, items: slice) -> Tensor:
        """See `Data.there_of`."""
        return self.signs_of(items).abs_()

    def _sums_apart(self, posterior: Tensor) -> Tensor:
        return self._sum(lambda items: sums_apart(self.signs_of(items), posterior[items].to(torch.float64)))

    def observations(self, items: slice) -> Tensor:
        """See `Data.observations`."""
        y, x = (torch.from_numpy(np.array(part[items], dtype=np.float64)) for part in (self.given_targets, self.given_covariates))
        scaling, ones = self.scaling, torch.ones(len(y), 1, dtype=torch.float64)
        y = (y - scaling.target_centre) / scaling.target_spread
        return torch.cat([y, ones, scaling.covariates(x)], dim=1).T.contiguous()

    @cached_property
    def moments(self) -> Tensor:
        """See `Data.moments`."""

        def of_block(items: slice) -> Tensor:
            columns = self.observations(items)
            return columns @ columns.T

        return self._sum(of_block)

    @cached_property
    def sign_products(self) -> tuple[Tensor, Tensor]:
        """See `Data.sign_products`."""

        def of_block(items: slice) -> Tensor:
            signs = self.signs_of(items)
            return signs @ torch.cat([signs, self.observations(items)]).T

        both, n_features = self._sum(of_block), len(self.packed)
        return both[:, :n_features].contiguous(), both[:, n_features:].contiguous()

    def prior_of(self, error_rates: Tensor, items: slice) -> Tensor:
        """See `Data.prior_of`."""
        slope = 0.5 - mean_rates(error_rates)
        return (unanswered_rate(error_rates).unsqueeze(1) + slope.unsqueeze(1) * self.signs_of(items)).T

    def start_of(self, error_rates: Tensor) -> Tensor:
        """See `Data.start_of`; float32."""
        found = torch.empty(self.packed.shape, dtype=torch.float32)
        for items in blocks_of(found.shape[1], BLOCK):
            found[:, items] = self.prior_of(error_rates, items).T
        return found.T

    def with_features(self, kept: list[int]) -> PackedData:
        """See `Data.with_features`."""
        found = replace(self, answers=self.answers[:, kept], packed=self.packed[kept])
        # The same, or a part of it, and a pass over all items each.
        found.__dict__["moments"] = self.moments
        if "sign_products" in self.__dict__:
            both, with_known = self.sign_products
            found.__dict__["sign_products"] = both[kept][:, kept].contiguous(), with_known[kept]
        return found

    def wrong_answers(self, posterior: Tensor) -> Tensor:
        """See `Data.wrong_answers`."""
        agreement = self._sum(lambda items: (self.signs_of(items) * posterior[items].T).sum(1))
        return (self._answered_yes - agreement).clamp_(min=0.0)

    @one_thread()
    def _sum(self, work: Callable[[slice], Tensor]) -> Tensor:
        blocks = blocks_of(self.packed.shape[1], BLOCK)
        results = Results(blocks)
        parts = each_block(lambda items, lane: results.put(items, work(items))[0], blocks, lanes_for(blocks, self.packed))
        return reduce(torch.add, parts)


def packed_data(answers: Any, targets: Any, covariates: Any, settings: FitSettings) -> PackedData | None:
    """The data of a fit that is large and whose steps hold for packed data; None for others, and where there is a fault to tell.

    answers: (T, K) of 1, 0 and NaN; targets: (T, D); covariates: (T, P) or None; arrays and tensors are not copied.
    """
    if not _holds(settings) or not all(len(getattr(part, "shape", ())) in (1, 2) for part in (answers, targets)):
        return None
    h, y = _array(answers), _array(targets)
    if h.size + y.size < LARGE or h.shape[1] == 0 or not (covariates is None or hasattr(covariates, "shape")):
        return None
    x = np.zeros((len(h), 0)) if covariates is None else _array(covariates)
    if not all(part.ndim == 2 and part.dtype.kind in "biuf" and len(part) == len(h) for part in (h, y, x)):
        return None
    packed, scaling = _packed(h), scaling_of(y, x, LIKELIHOODS[settings.likelihood].shared_scale)
    if packed is None or scaling is None:
        return None
    answers, covariates, targets = (torch.empty(part.shape, dtype=torch.float64, device="meta") for part in (h, x, y))
    return PackedData(answers, covariates, targets, y, x, scaling, packed)


def packed_start(data: PackedData, settings: FitSettings, options: dict[str, Any]) -> State:
    """As `first_state`. options: of `build_model`. Call inside `isolated`."""
    sizes = (data.answers.shape[1], data.targets.shape[1], data.covariates.shape[1])
    model = build_model(*sizes, settings.link, settings.likelihood, settings.error_rate_prior, **options)
    variance = torch.ones(1, sizes[1], dtype=torch.float64)  # of standardised targets
    for likelihood in (model.likelihood, model.marginal):
        if likelihood is not None:
            likelihood.update(variance, torch.ones_like(variance))
    rates = model.features.rates(sizes[0])
    return State(model, rates, data.start_of(rates))


@dataclass(frozen=True)
class Chosen:
    """Rows of an array, (T, D), at some places, (U,), taken when they are asked for. first: the first of them, (V, D)."""

    values: NDArray[Any]
    places: IntArray
    first: NDArray[Any]

    @property
    def shape(self) -> tuple[int, int]:
        """(U, D)."""
        return len(self.places), self.values.shape[1]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, items: slice) -> NDArray[Any]:
        found = rows_at(self.values, self.places[items][max(0, len(self.first) - items.start) :])
        return np.concatenate([self.first[items], found]) if items.start < len(self.first) else found


def packed_for(
    state: State, answers: NDArray[np.int8], targets: Chosen, covariates: Chosen, scaling: Scaling
) -> PackedData | None:
    """The data of a state's fit that is large and whose steps hold for packed data, else None.

    answers: (T, K) int8 of 1, 0 and -1, no answer; targets, covariates: (T, D) and (T, P), in the user's units.
    """
    link, likelihood = state.model.link, state.model.likelihood
    plain = type(link) is LinearLink and link.pooling is None and isinstance(likelihood, GaussianLikelihood)
    told = len(state.error_rates) > 0 and not state.model.features.annotators
    if not (plain and told) or answers.size + len(targets) * targets.shape[1] < LARGE:
        return None
    packed = torch.empty(answers.shape[::-1], dtype=torch.int8)
    for items in blocks_of(len(targets), BLOCK):
        if not np.isfinite(targets[items]).all():
            return None
        part = torch.from_numpy(answers[items].T.copy())
        packed[:, items] = torch.where(part < 0, 0, 2 * part - 1)
    if not bool((packed != 0).any(1).all()):
        return None
    h, x, y = (torch.empty(part.shape, dtype=torch.float64, device="meta") for part in (answers, covariates, targets))
    return PackedData(h, x, y, targets, covariates, scaling, packed)


def _holds(settings: FitSettings) -> bool:
    kind = LIKELIHOODS[settings.likelihood]
    by_hand = settings.inference in BY_HAND and settings.shortcuts and settings.expectation in ("auto", "exact")
    plain = settings.link == "linear" and issubclass(kind, GaussianLikelihood) and settings.error_rates == "symmetric"
    return by_hand and plain and not settings.bayesian


def _array(values: Any) -> NDArray[Any]:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array[:, None] if array.ndim == 1 else array


def _packed(answers: NDArray[Any]) -> Tensor | None:
    """The answers as `PackedData` has them; None if one is not 1, 0 or NaN, or a question has none at all."""
    packed = torch.empty(answers.shape[::-1], dtype=torch.int8)
    for items in blocks_of(len(answers), BLOCK):
        part = torch.from_numpy(np.array(answers[items], dtype=np.float32))
        missing = torch.isnan(part)
        if not bool((missing | (part == 0) | (part == 1)).all()):
            return None
        packed[:, items] = torch.where(missing, 0.0, 2 * part - 1).T.to(torch.int8)
    return packed if bool((packed != 0).any(1).all()) else None


def scaling_of(targets: NDArray[Any] | Chosen, covariates: NDArray[Any] | Chosen, shared: bool) -> Scaling | None:
    """As `Scaling.of` has it; None if a number is missing or infinite, or a target is constant.

    targets: (T, D), covariates: (T, P), in the user's units; shared: `Likelihood.shared_scale`.
    """
    n_items, n_targets = len(targets), targets.shape[1]

    def columns(items: slice) -> FloatArray:
        return np.concatenate([targets[items], covariates[items]], axis=1, dtype=np.float64)

    blocks = blocks_of(n_items, BLOCK)
    with np.errstate(invalid="ignore", over="ignore"):
        centre = sum(columns(items).sum(0) for items in blocks) / n_items
    if not np.isfinite(centre).all():
        return None
    variance = sum(((columns(items) - centre) ** 2).sum(0) for items in blocks) / n_items
    if not (np.isfinite(variance).all() and (variance[:n_targets] > 0).all()):
        return None
    spread = np.sqrt(np.where(variance > 0, variance, 1.0))
    if shared:
        spread[:n_targets] = np.sqrt(variance[:n_targets].mean())
    parts = (part for whole in (centre, spread) for part in (whole[:n_targets].copy(), whole[n_targets:].copy()))
    target_centre, covariate_centre, target_spread, covariate_spread = map(torch.from_numpy, parts)
    return Scaling(target_centre, target_spread, covariate_centre, covariate_spread)
