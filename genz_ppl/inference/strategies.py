"""One model, several strategies: what `--inference` chooses between."""

from __future__ import annotations

from dataclasses import dataclass

from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.coordinate import coordinate, refit
from genz_ppl.inference.engines.enumeration import check_enumeration, enumerate_fit, refit_exactly
from genz_ppl.inference.guided.svi import TrainingOptions, train_guide
from genz_ppl.inference.state import Bound, Data, State
from genz_ppl.settings import GUIDED, DiscoverSettings, FitSettings

# E- and M-steps, if the user names no number.
STEPS = 50
# An epoch moves a guide less than an E-step moves a posterior: so many epochs stand for one step of a refit.
EPOCHS_PER_STEP = 10


@dataclass(frozen=True)
class Strategy:
    """How states are fitted; the options are those of `FitSettings`."""

    name: str = "coordinate"
    expectation: str = "auto"
    joint_moves: bool = True
    bayesian: bool = False
    batch_size: int | None = None

    @classmethod
    def of(cls, settings: FitSettings) -> Strategy:
        """The strategy that the settings ask for."""
        return cls(settings.inference, settings.expectation, settings.joint_moves, settings.bayesian, settings.batch_size)

    @classmethod
    def of_run(cls, settings: DiscoverSettings) -> Strategy:
        """The strategy of a discovery run."""
        return cls(settings.inference, bayesian=settings.bayesian, batch_size=settings.batch_size)

    @property
    def trains(self) -> bool:
        """Whether a guide is trained by epochs."""
        return self.name in GUIDED

    def check(self, n_items: int, n_features: int) -> None:
        """Raise OptionError if the strategy cannot take so many items or features."""
        if self.batch_size is not None and self.batch_size > n_items:
            raise OptionError(
                f"batch_size: expected at most the {n_items} items there are to fit, got {self.batch_size}; "
                "choose a smaller one or leave it out"
            )
        if self.name == "enumeration":
            check_enumeration(n_items, n_features)

    def fit(self, state: State, data: Data, steps: int | None = None) -> list[Bound]:
        """Fit a starting state in place; returns the bound after every step or epoch."""
        if self.trains:
            return train_guide(state, data, self.training_options(steps))
        if self.name == "enumeration":
            return enumerate_fit(state, data, steps or STEPS)
        return coordinate(state, data, steps or STEPS, self.expectation, joint_moves=self.joint_moves)

    def refit(self, state: State, data: Data, steps: int) -> Bound:
        """Fit `state` in place from where it stands and return the bound at the end only."""
        if self.trains:
            return train_guide(state, data, self.training_options(steps * EPOCHS_PER_STEP), first=False)[-1]
        if self.name == "enumeration":
            return refit_exactly(state, data, steps)
        return refit(state, data, steps, self.expectation)

    def fit_anew(self, state: State, data: Data, steps: int) -> Bound:
        """Fit a starting state in place with E- and M-steps (a guide: its usual epochs) and return the bound at the end."""
        return self.fit(state, data, None if self.trains else steps)[-1]

    def training_options(self, epochs: int | None = None) -> TrainingOptions:
        """For a guide that is trained for so many epochs; None: see `default_epochs`."""
        return TrainingOptions(self.name == "structured", self.bayesian, self.batch_size, epochs)

    def endless(self) -> TrainingOptions:
        """For a training that a hook ends; parameters stay points in it."""
        return TrainingOptions(self.name == "structured", False, self.batch_size, None)
