"""The `svi` and `structured` strategies: `pyro.infer.SVI` by epochs, on the local-expectation bound by default, with a hook."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Protocol

import pyro
from pyro.infer import SVI, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.optim import PyroOptim
from torch import nn

from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.guided.bayesian import WeightGuide
from genz_ppl.inference.guided.elbo import TraceLocalExpectation_ELBO
from genz_ppl.inference.guided.guides import Guide, MeanFieldGuide, StructuredGuide
from genz_ppl.inference.guided.moments import Moments
from genz_ppl.inference.guided.optimiser import LONGEST_STEP, GuideOptimiser, known_to_svi
from genz_ppl.inference.guided.sampled_bound import mean_field_bound, structured_bound
from genz_ppl.inference.state import Bound, Data, State
from genz_ppl.models.bayesian import free_parameters

# First natural-gradient step of the logits: where gradients have no noise; of a training without end; and for a training of
# n epochs, this number over n. Short steps average over where the other features happen to stand; long ones commit too early.
EXACT_STEP, OPEN_STEP, TOTAL_STEP = 0.3, 0.05, 50.0
# Learning rates, and steps with noise, end at this part of what they start with; steps without noise at the other.
LAST_SHARE, LAST_EXACT_SHARE = 0.01, 0.1


class EpochHook(Protocol):
    """Something that happens between the epochs of a training."""

    def __call__(self, guide: Guide, epoch: int) -> bool | None:
        """Called after every epoch with the guide as it is then and the epochs so far; True ends the training."""


@dataclass(frozen=True)
class TrainingOptions:
    """structured: the last feature's posterior is conditional on the others. bayesian: a guide over link and likelihood.

    batch_size: items in a minibatch; None: all. epochs: over which steps shrink; None: they stay as they are. loss, optim: as
    `pyro.infer.SVI` takes them; None: `TraceLocalExpectation_ELBO` and `GuideOptimiser`. An optimiser of one's own sets all
    of its steps itself, and remembers nothing of them where features change and where a run is resumed.
    """

    structured: bool = False
    bayesian: bool = False
    batch_size: int | None = None
    epochs: int | None = None
    loss: ELBO | None = None
    optim: PyroOptim | None = None


class Training:
    """A model and its guide between two epochs.

    state: what is trained; its model is changed in place, its posterior and error rates by `write_back`. data: the items.
    """

    def __init__(self, state: State, data: Data, options: TrainingOptions) -> None:
        self.options, self.epoch, self.loss = options, 0, float("nan")
        self.go_on_with(state, data)

    def go_on_with(self, state: State, data: Data) -> None:
        """Train another state from here, such as the present one after `State.with_columns` or with other answers."""
        self.state, self.data = state, data
        state.group_covariance = None  # group effects are points, or part of `weights`
        features = state.posterior.shape[1]
        size = self.options.batch_size
        self.batch_size = None if size is None or size >= len(data.targets) else size
        self.batches = 1 if self.batch_size is None else math.ceil(len(data.targets) / self.batch_size)
        self.local: MeanFieldGuide | StructuredGuide
        if self.options.structured and features > 0:
            self.local = StructuredGuide(state.error_rates, state.posterior, model=state.model)
        else:
            self.local = MeanFieldGuide(state.error_rates, state.posterior, sparse=self.batch_size is not None)
        self.weights = WeightGuide(state, self.local, data) if self.options.bayesian else None
        exact = self.state.model.is_quadratic and not self.options.structured
        self.elbo = self.options.loss or TraceLocalExpectation_ELBO(max_plate_nesting=1, others="mean" if exact else "sample")
        self.optimiser = GuideOptimiser(self.parameters(), self.state.model.link.training_plan.learning_rate)
        known_to_svi(self.state.model, self.guide)
        if state.moments is not None:
            state.moments.put(self.parameters(), self.optimiser.adam)

    @property
    def guide(self) -> Guide | WeightGuide:
        """What `pyro.infer.SVI` trains."""
        return self.local if self.weights is None else self.weights

    def parameters(self) -> dict[str, nn.Parameter]:
        """What Adam trains by default, by name: all but the logits of q."""
        guide = {f"guide.{name}": p for name, p in self.local.named_parameters() if name != "logits" and p.numel() > 0}
        if self.weights is not None:
            return guide | {f"weights.{name}": p for name, p in self.weights.weights.named_parameters()}
        return guide | {name: p for name, p in free_parameters(self.state.model).items() if p.numel() > 0}

    def run(self, epochs: int | None, hook: EpochHook | None = None) -> list[float]:
        """Train for so many epochs (None: without end), or until the hook ends it.

        Returns the loss of every epoch: minus the bound, as it was estimated on the way, with constants of the priors.
        """
        losses = []
        with pyro.validation_enabled(False):  # its checks cost more than a small model's densities
            for _ in itertools.count() if epochs is None else range(epochs):
                losses.append(self.run_epoch())
                if hook is not None and hook(self.local, self.epoch):
                    return losses
        self.write_back()
        return losses

    def run_epoch(self) -> float:
        """Every item about once; returns the mean loss of the batches."""
        self.optimiser.pace(self._share(LAST_SHARE), self._natural_step(), self.batches)
        model = self.state.model if self.weights is None else self.weights.model
        svi = SVI(model, self.guide, self.options.optim or self.optimiser, self.elbo)
        given = (self.data.answers, self.data.covariates, self.data.targets, self.batch_size)
        self.state.model.train()
        total = sum(svi.step(*given) for _ in range(self.batches))
        self.state.model.eval()
        self.state.model.features.learn_common(self.local.error_rates.detach())
        self.epoch += 1
        self.loss = total / self.batches
        return self.loss

    def _share(self, last: float) -> float:
        """What is left of a first step: falls from 1 to `last` over the epochs, if their number is known."""
        return 1.0 if self.options.epochs is None else last ** (self.epoch / max(1, self.options.epochs - 1))

    def _natural_step(self) -> float:
        if getattr(self.elbo, "others", "") == "mean" and self.batch_size is None and self.weights is None:
            return EXACT_STEP * self._share(LAST_EXACT_SHARE)
        epochs = self.options.epochs
        first = OPEN_STEP if epochs is None else min(LONGEST_STEP, TOTAL_STEP / epochs)
        return first * self._share(LAST_SHARE)

    def write_back(self) -> State:
        """Bring the state's posterior, error rates, moments and uncertainty up to date and return it."""
        state = self.state
        state.error_rates = self.local.error_rates.detach().clone()
        if self.weights is not None:
            state.uncertainty = self.weights.write_back()
        state.posterior = self.local.posterior_of(self.data.answers, self.data.covariates, self.data.targets)
        if self.weights is None and not self.options.structured and self.options.optim is None:
            state.moments = Moments.of(self.parameters(), self.optimiser.adam)
        return state

    def bound(self) -> Bound:
        """The bound at the last `write_back`; what the parameters' posterior diverges from their prior is in its penalty."""
        if isinstance(self.local, StructuredGuide):
            return structured_bound(self.state, self.data, self.local)
        bound = mean_field_bound(self.state, self.data)
        return bound if self.weights is None else replace(bound, penalty=bound.penalty - self.weights.divergence())


def default_epochs(n_items: int, batch_size: int | None) -> int:
    """1 000 epochs of all items at once; with minibatches enough for 2 000 steps, but at least 20 epochs."""
    if batch_size is None or batch_size >= n_items:
        return 1000
    return max(20, math.ceil(2000 * batch_size / n_items))


def train_guide(state: State, data: Data, options: TrainingOptions, first: bool = True) -> list[Bound]:
    """Fit a state in place; returns the bound after every epoch, as its loss estimated it, and measured at the end.

    first: the state is a starting one, so link and likelihood are first fitted to the posterior as it stands.
    """
    if first:
        engine_for(state.model, data).maximise(state)
    epochs = options.epochs or default_epochs(len(data.targets), options.batch_size)
    training = Training(state, data, replace(options, epochs=epochs))
    losses = training.run(epochs)
    last = training.bound()
    # The loss counts constants of the priors that the bound leaves out; the last epoch tells how much they are.
    earlier = [replace(last, observation=last.observation + losses[-1] - loss) for loss in losses[:-1]]
    return [*earlier, last]


def check_loss(loss: object, optim: object) -> None:
    """Raise OptionError unless both are what `pyro.infer.SVI` takes and right for yes/no values, or None."""
    if not (loss is None or isinstance(loss, ELBO)) or isinstance(loss, TraceMeanField_ELBO):
        raise OptionError(
            f"loss: expected one of Pyro's ELBOs for discrete sites, such as Trace_ELBO(), got {type(loss).__name__}, "
            "whose gradient would be wrong; leave it out for TraceLocalExpectation_ELBO()"
        )
    if not (optim is None or isinstance(optim, PyroOptim)):
        raise OptionError(f'optim: expected an optimiser of pyro.optim, such as Adam({{"lr": 0.02}}), got {type(optim).__name__}')
