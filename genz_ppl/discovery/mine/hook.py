"""Mining between epochs: a guide goes on learning while its features are added, replaced and pruned."""

from __future__ import annotations

from collections.abc import Callable

import pyro

from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.run.progress import Event, Progress
from genz_ppl.inference.guided.svi import Training
from genz_ppl.inference.strategies import EPOCHS_PER_STEP


class MiningHook:
    """An `EpochHook` that carries out one step of the expand-contract loop every so many epochs.

    It reads the guide's posterior, lets `advance` ask the foundation model and change the features, and has the training go on
    with the changed state: the parameters and the optimiser's moments of features that stay are kept, those of a new or
    reworded feature start afresh, and its answers take their column. `settle` marks the learning curve when the epochs after a
    change are over, since the objective has changed with it. seed_of: the seed of a step, so that a resumed run goes the
    same way.
    """

    def __init__(
        self,
        progress: Progress,
        cycle: Cycle,
        advance: Callable[[], list[Event]],
        settle: Callable[[list[Event]], None],
        seed_of: Callable[[int], int],
    ) -> None:
        self.progress, self.cycle, self.advance, self.settle, self.seed_of = progress, cycle, advance, settle, seed_of
        self.every = cycle.settings.refit_steps * EPOCHS_PER_STEP
        self.events: list[Event] = []

    def change(self, training: Training) -> bool:
        """Carry out the next step and go on with what it leaves; True once the run is over."""
        progress = self.progress
        pyro.set_rng_seed(self.seed_of(progress.step))
        self.events = self.advance()
        if ("final", "") in self.events:
            self.settle(self.events)
            return True
        training.go_on_with(progress.state, self.cycle.training_data(progress))
        return False

    def after_epoch(self, training: Training) -> bool:
        """See `EpochHook.after_epoch`."""
        if training.epoch % self.every:
            return False
        self.progress.state = training.write_back()
        self.progress.bound = training.bound().total
        self.settle(self.events)
        return self.change(training)
