"""Mining between epochs: a guide goes on learning while its features are added, replaced and pruned."""

from __future__ import annotations

from collections.abc import Callable

import pyro

from genz_ppl.discovery.mine.cycle import Cycle
from genz_ppl.discovery.run.progress import Event, Progress
from genz_ppl.inference.guided.guides import Guide
from genz_ppl.inference.guided.svi import Training
from genz_ppl.inference.strategies import EPOCHS_PER_STEP


class MiningHook:
    """An `EpochHook` that carries out one step of the expand-contract loop: hook(guide, epoch).

    It reads the posterior off the guide, lets `advance` ask the foundation model and change the features, and `settle` mark the
    learning curve. Strategies that are fitted anew after each change call it once a step. In a `training` it acts every so many
    epochs and has the training go on with the changed state: the parameters and the optimiser's moments of features that stay
    are kept, those of a new or reworded feature start afresh, and its answers take their column; the curve is marked when the
    epochs after a change are over, since the objective has changed with it. seed_of: the seed of a step, so that a resumed run
    goes the same way.
    """

    def __init__(
        self,
        progress: Progress,
        cycle: Cycle,
        advance: Callable[[], list[Event]],
        settle: Callable[[list[Event]], None],
        seed_of: Callable[[int], int],
        training: Training | None = None,
    ) -> None:
        self.progress, self.cycle, self.advance, self.settle, self.seed_of = progress, cycle, advance, settle, seed_of
        self.training, self.every = training, cycle.settings.refit_steps * EPOCHS_PER_STEP
        self.events: list[Event] = []

    def __call__(self, guide: Guide, epoch: int) -> bool:
        """See `EpochHook`."""
        if self.training is not None and epoch > 0:
            if epoch % self.every:
                return False
            self.progress.state = self.training.write_back()
            self.progress.bound = self.training.bound().total
            self.settle(self.events)
        return self.change(guide)

    def change(self, guide: Guide) -> bool:
        """Read the guide, carry out the next step and go on with what it leaves; True once the run is over."""
        progress, data = self.progress, self.cycle.training_data(self.progress)
        pyro.set_rng_seed(self.seed_of(progress.step))
        progress.state.posterior = guide.posterior_of(data.answers, data.covariates, data.targets)
        self.events = self.advance()
        over = ("final", "") in self.events
        if self.training is None or over:
            self.settle(self.events)
        else:
            self.training.go_on_with(progress.state, self.cycle.training_data(progress))
        return over
