"""One model, several strategies: what `--inference` chooses between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

from pyro.infer.elbo import ELBO
from pyro.optim import PyroOptim
from torch import Tensor

from genz_ppl.errors import OptionError
from genz_ppl.inference.blockwise.last_fit import fit_in_blocks
from genz_ppl.inference.engines.coordinate import coordinate, refit
from genz_ppl.inference.engines.descent import CONTINUED
from genz_ppl.inference.engines.enumeration import enumerate_fit
from genz_ppl.inference.engines.exact import MOST_FEATURES, check_enumeration
from genz_ppl.inference.guided.enumerated import EnumeratedGenZ, ExactGuide
from genz_ppl.inference.guided.guides import CERTAIN, Guide, MeanFieldGuide, StructuredGuide
from genz_ppl.inference.guided.svi import TrainingOptions, check_loss, train_guide
from genz_ppl.inference.state import Bound, Data, State
from genz_ppl.models import GenZ
from genz_ppl.models.annotators import AnnotatedGenZ
from genz_ppl.settings import AUTO, BY_HAND, CALIBRATION, GUIDED, DiscoverSettings, FitSettings

LastFit = Callable[[State, Data, int], tuple[State, float]]
# E- and M-steps, if the user names no number.
STEPS = 50
# An epoch moves a guide less than an E-step moves a posterior: so many epochs stand for one step of a refit.
EPOCHS_PER_STEP = 10
# Combinations of features of all items beyond which counts are not enumerated unasked: some seconds a step.
MOST_COMBINATIONS = 2**20
# Of a fit by `auto`: the last steps, which have near-exact posteriors, and the combinations of all items that one goes through.
LAST_STEPS, COMBINATIONS = 20, 2.0**19
# Those of `enumeration` with more than 12 features, where that is all of them.
THOROUGH = 2.0**25


class Strategy(Protocol):
    """How states are fitted."""

    def check(self, n_items: int, n_features: int) -> None:
        """Raise OptionError if the strategy cannot take so many items or features."""

    def fit(self, state: State, data: Data, steps: int | None = None) -> list[Bound]:
        """Fit a starting state in place; returns the bound after every step or epoch. steps: None for as many as it likes."""

    def refit(self, state: State, data: Data, steps: int) -> Bound:
        """Fit `state` in place from where it stands and return the bound at the end only."""

    def conclude(self, state: State, data: Data, steps: int) -> Bound:
        """`refit` at the end of a run, as well as the strategy can."""

    def program(self, state: State) -> GenZ:
        """The Pyro program that the guide is for, with the state's parameters."""

    def guide(self, state: State, data: Data) -> Guide:
        """The guide at this state: what `pyro.infer` takes, and what mining reads posteriors off."""

    def split(self, state: State, data: Data, steps: int) -> tuple[float, Tensor]:
        """Fit a state that ends with a free feature; the bound, and what the guide has of it, (T,): the mining signal."""

    def adopts_trials(self, model: GenZ) -> bool:
        """Whether trial states, fitted by exact coordinate updates, are states that this strategy would have made."""

    @property
    def training(self) -> TrainingOptions | None:
        """For a guide that is trained by epochs, without end; None where none is."""

    @property
    def last_fit(self) -> LastFit | None:
        """How a run ends, where it `adopts_trials`: a state and its data to a fitted one and its bound; None for the usual."""


@dataclass(frozen=True)
class Coordinate:
    """Eq. 11 as a fixed point, with M-steps in between; see `engine_for` for the options."""

    expectation: str = "auto"
    joint_moves: bool = True
    last_fit: LastFit | None = None
    training: ClassVar[TrainingOptions | None] = None

    def check(self, n_items: int, n_features: int) -> None:
        """Takes any number of either."""

    def fit(self, state: State, data: Data, steps: int | None = None) -> list[Bound]:
        """See `Strategy.fit`."""
        return coordinate(state, data, steps or STEPS, self.expectation, joint_moves=self.joint_moves)

    def refit(self, state: State, data: Data, steps: int) -> Bound:
        """See `Strategy.refit`."""
        return refit(state, data, steps, self.expectation)

    def conclude(self, state: State, data: Data, steps: int) -> Bound:
        """See `Strategy.conclude`."""
        return self.refit(state, data, steps)

    def program(self, state: State) -> GenZ:
        """The model itself, of several annotators the program of their answers."""
        return AnnotatedGenZ(state.model) if state.model.features.annotators else state.model

    def guide(self, state: State, data: Data) -> Guide:
        """Mean-field: its parameters are q and the error rates."""
        return MeanFieldGuide(state.error_rates, state.posterior, largest=CERTAIN)

    def split(self, state: State, data: Data, steps: int) -> tuple[float, Tensor]:
        """See `Strategy.split`."""
        bound = self.refit(state, data, steps).total
        return bound, last_posterior(self.guide(state, data), data)

    def adopts_trials(self, model: GenZ) -> bool:
        """Where eq. 11 is taken in exact expectation."""
        return model.is_mixture


@dataclass(frozen=True)
class Automatic(Coordinate):
    """`Coordinate` where many models are compared; the last steps of the last fit have near-exact posteriors.

    Without closed forms, and where there is nothing to enumerate, it is `Coordinate`.
    """

    def fit(self, state: State, data: Data, steps: int | None = None) -> list[Bound]:
        """See `Strategy.fit`."""
        steps = steps or STEPS
        near = min(LAST_STEPS, steps - 1)
        bounds = coordinate(state, data, steps - near, self.expectation, joint_moves=self.joint_moves)
        return bounds + self._near_exact(state, data, near)

    def conclude(self, state: State, data: Data, steps: int) -> Bound:
        """See `Strategy.conclude`."""
        near = min(LAST_STEPS, steps - 1)
        before = refit(state, data, steps - near, self.expectation)
        return self._near_exact(state, data, near)[-1] if near else before

    def _near_exact(self, state: State, data: Data, steps: int) -> list[Bound]:
        if steps == 0:
            return []
        if self.expectation == "auto" and data.answers.dim() == 2 and enumerates_counts(state.model, *data.answers.shape[:2]):
            return enumerate_fit(state, data, steps, CONTINUED)
        most = COMBINATIONS if state.model.has_closed_form else 0.0
        options: dict[str, Any] = {"first": False, "joint_moves": self.joint_moves, "combinations": most}
        return coordinate(state, data, steps, self.expectation, **options)


def last_posterior_of(model: GenZ, n_items: int, n_features: int) -> str:
    """What the features' posterior is after the last fit of `auto`, in words."""
    if model.has_closed_form:
        return "near exact in the last fit"
    return "exact in the last fit" if enumerates_counts(model, n_items, n_features) else "factorised"


def enumerates_counts(model: GenZ, n_items: int, n_features: int) -> bool:
    """Whether `auto` ends with `enumeration`: for counts, if that is not too much.

    With Gaussian noise and its like steps have closed forms. Answers about classes can hardly be put right by the classes
    (`benchmarks/counts_and_classes.py`), and networks would have to be trained on every combination.
    """
    few = n_features <= MOST_FEATURES and n_items * 2**n_features <= MOST_COMBINATIONS
    return few and model.shortcuts and model.link.adds_up and model.likelihood.unit == "log rate"


@dataclass(frozen=True)
class Enumerated:
    """Exact posteriors of up to 12 features, near-exact ones of more."""

    last_fit: LastFit | None = None
    training: ClassVar[TrainingOptions | None] = None

    def check(self, n_items: int, n_features: int) -> None:
        """See `check_enumeration`; of more features the memory is that of the combinations of some."""
        if n_features <= MOST_FEATURES:
            check_enumeration(n_items, n_features)

    def fit(self, state: State, data: Data, steps: int | None = None) -> list[Bound]:
        """See `Strategy.fit`."""
        return self._fitted(state, data, steps or STEPS, first=True)

    def refit(self, state: State, data: Data, steps: int) -> Bound:
        """See `Strategy.refit`."""
        return self._fitted(state, data, steps, first=False)[-1]

    def _fitted(self, state: State, data: Data, steps: int, first: bool) -> list[Bound]:
        n_items, n_features = data.answers.shape
        if n_features <= MOST_FEATURES:
            return enumerate_fit(state, data, steps, 1.0 if first else CONTINUED)
        most = THOROUGH if 2.0**n_features * n_items <= THOROUGH else COMBINATIONS
        return coordinate(state, data, steps, first=first, combinations=most)

    def conclude(self, state: State, data: Data, steps: int) -> Bound:
        """See `Strategy.conclude`."""
        return self.refit(state, data, steps)

    def program(self, state: State) -> GenZ:
        """With one site for all of an item's features, where there are few."""
        return EnumeratedGenZ(state.model) if len(state.error_rates) <= MOST_FEATURES else state.model

    def guide(self, state: State, data: Data) -> Guide:
        """The exact posterior; of many features the marginals that the fit has found."""
        return ExactGuide(state) if len(state.error_rates) <= MOST_FEATURES else Coordinate().guide(state, data)

    def split(self, state: State, data: Data, steps: int) -> tuple[float, Tensor]:
        """See `Strategy.split`."""
        bound = self.refit(state, data, steps).total
        return bound, last_posterior(self.guide(state, data), data)

    def adopts_trials(self, model: GenZ) -> bool:
        """Never: trial states have factorised posteriors."""
        return False


@dataclass(frozen=True)
class Guided:
    """A guide trained by epochs. structured: the last feature's posterior is exact given the others. See `TrainingOptions`."""

    structured: bool = False
    bayesian: bool = False
    batch_size: int | None = None
    loss: ELBO | None = None
    optim: PyroOptim | None = None
    last_fit: LastFit | None = None

    def check(self, n_items: int, n_features: int) -> None:
        """See `Strategy.check`."""
        if self.batch_size is not None and self.batch_size > n_items:
            raise OptionError(
                f"batch_size: expected at most the {n_items} items there are to fit, got {self.batch_size}; "
                "choose a smaller one or leave it out"
            )

    def fit(self, state: State, data: Data, steps: int | None = None) -> list[Bound]:
        """See `Strategy.fit`; steps: epochs."""
        return train_guide(state, data, self._options(steps))

    def refit(self, state: State, data: Data, steps: int) -> Bound:
        """See `Strategy.refit`."""
        return train_guide(state, data, self._options(steps * EPOCHS_PER_STEP), first=False)[-1]

    def conclude(self, state: State, data: Data, steps: int) -> Bound:
        """See `Strategy.conclude`."""
        return self.refit(state, data, steps)

    def program(self, state: State) -> GenZ:
        """The model itself."""
        return state.model

    def guide(self, state: State, data: Data) -> Guide:
        """Mean-field or structured, where the training left it."""
        if not self.structured or state.posterior.shape[1] == 0:
            return MeanFieldGuide(state.error_rates, state.posterior, largest=CERTAIN)
        guide = StructuredGuide(state.error_rates, state.posterior, model=state.model)
        guide.see(data.answers, data.covariates, data.targets)
        return guide

    def split(self, state: State, data: Data, steps: int) -> tuple[float, Tensor]:
        """See `Strategy.split`; structured: given the modes of the others, exact under the model.

        The fixed point of the guide's natural-gradient steps is that of coordinate updates, which take it in fewer of them.
        """
        bound = (refit if state.model.shortcuts else self.refit)(state, data, steps).total
        guide = self.guide(state, data)
        if isinstance(guide, StructuredGuide):
            return bound, guide.conditional((state.posterior > 0.5).to(state.posterior))
        return bound, last_posterior(guide, data)

    def adopts_trials(self, model: GenZ) -> bool:
        """Never: a guide in training learns on by itself."""
        return False

    @property
    def training(self) -> TrainingOptions:
        """For a training that a hook ends; parameters stay points in it."""
        return TrainingOptions(self.structured, False, self.batch_size, None, self.loss, self.optim)

    def _options(self, epochs: int | None) -> TrainingOptions:
        return TrainingOptions(self.structured, self.bayesian, self.batch_size, epochs, self.loss, self.optim)


def last_posterior(guide: Guide, data: Data) -> Tensor:
    """What a guide has of the last feature, (T,)."""
    return guide.posterior_of(data.answers, data.covariates, data.targets)[:, -1]


def model_options(settings: FitSettings | DiscoverSettings, n_targets: int) -> dict[str, Any]:
    """What of settings a model of so many targets is made with, as options of `build_model`.

    A posterior that a guide or enumeration has is the program's, whose weights are points; only steps derived by hand have the
    posterior of weights, and a calibrated bound.
    """
    by_hand = settings.inference in BY_HAND and settings.shortcuts
    if isinstance(settings, FitSettings) and settings.expectation not in ("auto", "exact"):
        by_hand = False
    several = n_targets > 1
    calibration = CALIBRATION * several if settings.calibration is None else settings.calibration
    shrinkage = several if settings.shrinkage is None else settings.shrinkage
    return {
        "shortcuts": settings.shortcuts,
        "calibration": calibration if by_hand else 0.0,
        "shrinkage": shrinkage and by_hand,
        "asymmetric": settings.error_rates == "asymmetric",
    }


def strategy_of(settings: FitSettings | DiscoverSettings, loss: ELBO | None = None, optim: PyroOptim | None = None) -> Strategy:
    """The strategy that settings of a fit or of a run ask for by `inference` and its options. loss, optim: see `TrainingOptions`.

    Raises OptionError for a loss or an optimiser that no guide can be trained with.
    """
    check_loss(loss, optim)
    if settings.inference in GUIDED:
        return Guided(settings.inference == "structured", settings.bayesian, settings.batch_size, loss, optim)
    if loss is not None or optim is not None:
        raise OptionError(
            f"loss, optim: {settings.inference} trains no guide; choose inference svi or structured, or leave them out"
        )
    if settings.inference == "enumeration":
        return Enumerated()
    kind = Automatic if settings.inference == AUTO else Coordinate
    if isinstance(settings, FitSettings):
        return kind(settings.expectation, settings.joint_moves)
    if settings.engine != "here":
        where = settings.scheduler, settings.blocks
        return Coordinate(last_fit=partial(fit_in_blocks, engine=settings.engine, scheduler=where[0], shared=where[1]))
    return kind()
