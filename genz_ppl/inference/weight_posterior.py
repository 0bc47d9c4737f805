"""A Gaussian posterior over the parameters of link and likelihood of a fitted state, for the q(z) that it holds."""

from __future__ import annotations

from collections.abc import Iterator

import pyro
import torch
from torch import Tensor
from torch.func import functional_call

from genz_ppl.inference.guided.observation import Observation
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.uncertainty import MOST_CORRELATED, Uncertainty, set_parameters
from genz_ppl.models import BayesianGenZ
from genz_ppl.models.bayesian import flattened, free_parameters, shaped

# Pairs of opposite draws of the parameters, and draws of every item's features beside each pair, that fix the mean.
PAIRS, DRAWS = 8, 8
# Items times draws of their features that fix the covariance: many items make up for few draws.
ROWS, FEWEST_DRAWS = 2**14, 4
# Entries of z held at once (8 MB).
CHUNK = 2**20
ROUNDS, NEWTON_STEPS, HALVINGS = 2, 4, 6
# The change of the gradient is taken over so many standard deviations: a kink, as in Laplace noise, needs a wide view.
STEP = 2.0
# Directions among the likelihood's parameters that the data fix no better than this many times the prior's precision are held:
# often nothing depends on them, as on a rotation of the factor of a low-rank covariance, and a Gaussian there is none.
HELD = 4.0
# The mean is reached where a Newton step gains less than this, in nats.
SMALLEST_GAIN = 1e-4


# Training of a factorised Gaussian: steps of Adam, its first learning rates for means and for logarithms of the standard
# deviations (both end at a hundredth of that), items in a batch, and the standard deviation it starts with.
STEPS, MEAN_RATE, SPREAD_RATE, LAST_SHARE = 3000, 3e-3, 2e-2, 0.01
BATCH, START_SPREAD = 1024, 0.05


def add_uncertainty(state: State, data: Data, seed: int) -> None:
    """Put a Gaussian q(w) around the parameters w of a state's link and likelihood, and its mean into the model.

    With q(z) as the state holds it and the priors of `BayesianGenZ`, the log joint density is

        J(w) = sum_t E_q log p(y_t | z_t, x_t, w) + log p(w).

    Up to 500 parameters q(w) has all correlations (see `newton`); a network's is factorised (see `train_factorised`).
    Changes `state.model` and `state.uncertainty`, nothing else. Call inside `isolated`.
    """
    state.model.eval()
    fit = newton if len(flattened(state.model)) <= MOST_CORRELATED else train_factorised
    fit(state, data, seed)


@torch.no_grad()
def newton(state: State, data: Data, seed: int) -> None:
    """Newton steps to the best Gaussian, without noise: features and parameters are averaged over the same few draws throughout.

    The mean is where the gradient of J, averaged over q(w), is zero, as it is at the best Gaussian. The precision is minus the
    second derivative of J at the mean, taken as the change of the gradient over two standard deviations to either side,
    so that it has a meaning for densities with kinks, too; no direction is less certain than the prior has it. Exact for a link
    linear in z and Gaussian noise, but for the noise's own spread, whose logarithm is only nearly normal. What the data do
    not tell about the noise is held at its value.
    """
    density = ExpectedDensity(state, data, seed)
    mean = density.tied(flattened(state.model))
    step = torch.full_like(mean, max(len(data.targets), 1) ** -0.5)
    root = torch.zeros(len(mean), len(mean), dtype=mean.dtype)
    for _ in range(ROUNDS):
        root, step = density.root(mean, step)
        mean = newton_mean(density, mean, root)
    set_parameters(state.model, density.untied(mean))
    state.uncertainty = Uncertainty(density.untied_root(root))


class ExpectedDensity:
    """J as a function of the tied parameters, (n,): where targets share one scale, its D copies are one parameter."""

    def __init__(self, state: State, data: Data, seed: int) -> None:
        self.data, self.model, self.observation = data, state.model, Observation(state.model)
        self.prior, self.given_answers = state.prior(data.answers), Observation(state.model, state.model.marginal)
        few = min(max(ROWS // max(len(data.targets), 1), FEWEST_DRAWS), PAIRS * DRAWS)
        self.many, self.few = (balanced_draws(state.posterior, n, seed) for n in (PAIRS * DRAWS, few))
        self.position = _tied_positions(state)
        links = sum(parameter.numel() for parameter in state.model.link.parameters())
        self.of_likelihood = slice(links, None)
        prior = BayesianGenZ(state.model)
        self.centre, self.spread = self.tied(prior.centre), self.tied(prior.spread)
        generator = torch.Generator().manual_seed(seed + 1)
        self.noise = torch.randn(PAIRS, len(self.centre), generator=generator, dtype=torch.float64)

    def tied(self, values: Tensor) -> Tensor:
        """(n,) from (N,)."""
        n = int(self.position.max()) + 1
        count = torch.zeros(n, dtype=values.dtype).index_add(0, self.position, torch.ones_like(values))
        return torch.zeros(n, dtype=values.dtype).index_add(0, self.position, values) / count

    def untied(self, values: Tensor) -> Tensor:
        """(N,) from (n,)."""
        return values[self.position]

    def untied_root(self, root: Tensor) -> Tensor:
        """(N, N) from (n, n), lower triangular."""
        n_all, n = len(self.position), len(root)
        return torch.cat([root[self.position], root.new_zeros(n_all, n_all - n)], dim=1)

    def value(self, values: Tensor, draws: Tensor) -> float:
        """J, up to a constant. draws: of the features, (M, T, K)."""
        return sum(float(part) for part in self._parts(values, draws))

    @torch.enable_grad()
    def gradient(self, values: Tensor, draws: Tensor) -> Tensor:
        """Gradient of J, (n,)."""
        moving = values.detach().clone().requires_grad_(True)
        gradient = torch.zeros_like(values)
        for part in self._parts(moving, draws):
            gradient += torch.autograd.grad(part, moving)[0]
        return gradient

    def around(self, mean: Tensor, root: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Draws of the parameters, (n,), with root root' as their covariance, each with draws of the features."""
        for noise, draws in zip(self.noise, torch.split(self.many, DRAWS), strict=True):
            for sign in (1.0, -1.0):
                yield mean + sign * (root @ noise), draws

    def root(self, mean: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """A root of the covariance, (n, n) lower triangular, and the standard deviations given all other parameters, (n,).

        The precision is minus the change of the gradient over two of these, (n,), to either side.
        """
        columns = []
        for shift in torch.diag(STEP * step):
            change = self.gradient(mean - shift, self.few) - self.gradient(mean + shift, self.few)
            columns.append(change / (2 * shift.sum()))
        rough = torch.stack(columns) * torch.outer(self.spread, self.spread)  # 1 is the prior's precision
        lengths, directions = torch.linalg.eigh(0.5 * (rough + rough.T))
        lengths = lengths.clamp(min=1.0)
        conditional = self.spread * (directions**2 @ lengths) ** -0.5
        of_likelihood = (directions[self.of_likelihood] ** 2).sum(0) > 0.5
        deviations = torch.where(of_likelihood & (lengths < HELD), 0.0, lengths**-0.5)
        root = self.spread.unsqueeze(1) * directions * deviations
        triangle = torch.linalg.qr(root.T).R.T
        return triangle * torch.where(triangle.diagonal() < 0, -1.0, 1.0), conditional

    def _parts(self, values: Tensor, draws: Tensor) -> Iterator[Tensor]:
        yield -0.5 * (((values - self.centre) / self.spread) ** 2).sum()
        if self.model.marginal is not None:
            yield (1 - self.model.share) * self._given_answers(values)
        size = max(1, CHUNK // (len(draws) * (draws.shape[2] + self.model.likelihood.n_locations)))
        with pyro.validation_enabled(False):
            for start in range(0, len(self.data.targets), size):
                rows = slice(start, start + size)
                part = self.data.items(rows)
                parameters = {f"model.{name}": value for name, value in shaped(self.model, self.untied(values)).items()}
                density = functional_call(self.observation, parameters, (draws[:, rows], part.covariates, part.targets))
                yield self.model.share * density.mean(0).sum()

    def _given_answers(self, values: Tensor) -> Tensor:
        """log p(y | f(E[z | h], x)) at these parameters of the link, the noise of it held."""
        parameters = {f"model.{name}": value for name, value in shaped(self.model, self.untied(values)).items()}
        inputs = (self.prior.unsqueeze(0), self.data.covariates, self.data.targets)
        with pyro.validation_enabled(False):
            density: Tensor = functional_call(self.given_answers, parameters, inputs).sum()
        return density


def newton_mean(density: ExpectedDensity, mean: Tensor, root: Tensor) -> Tensor:
    """Newton steps of the mean with a fixed covariance, root root', each halved until it gains; returns where they end, (n,)."""

    def value(mean: Tensor) -> float:
        return sum(density.value(*point) for point in density.around(mean, root)) / (2 * PAIRS)

    present = value(mean)
    for _ in range(NEWTON_STEPS):
        gradient = torch.stack([density.gradient(*point) for point in density.around(mean, root)]).mean(0)
        move = root @ (root.T @ gradient)
        if float(move @ gradient) < 2 * SMALLEST_GAIN:
            break
        for _ in range(HALVINGS):
            reached = value(mean + move)
            if reached > present:
                mean, present = mean + move, reached
                break
            move = 0.5 * move
        else:
            break
    return mean


def train_factorised(state: State, data: Data, seed: int) -> None:
    """Independent normals by stochastic gradients of E J + entropy: too many parameters for a covariance.

    A network has many functions that fit as well, and a factorised q(w) has to be wide or narrow for all of them together:
    it is a rougher answer than `newton`, most often too wide, and its mean may leave the fitted network.
    """
    generator = torch.Generator().manual_seed(seed)
    prior, observation, n_items = BayesianGenZ(state.model), Observation(state.model), len(data.targets)
    mean = flattened(state.model).clone().requires_grad_(True)
    log_spread = torch.full_like(mean, START_SPREAD).log().requires_grad_(True)
    optimiser = torch.optim.Adam([{"params": [mean], "lr": MEAN_RATE}, {"params": [log_spread], "lr": SPREAD_RATE}], fused=True)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, LAST_SHARE ** (1 / STEPS))
    for _ in range(STEPS):
        rows = torch.randperm(n_items, generator=generator)[:BATCH]
        q, covariates, targets = state.posterior[rows], data.covariates[rows], data.targets[rows]
        values = mean + log_spread.exp() * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        z = (torch.rand(q.shape, generator=generator, dtype=q.dtype) < q).to(q)
        parameters = {f"model.{name}": value for name, value in shaped(state.model, values).items()}
        with pyro.validation_enabled(False):
            density = functional_call(observation, parameters, (z, covariates, targets)).mean() * n_items
        squared = (torch.exp(2 * log_spread) + (mean - prior.centre) ** 2) / prior.spread**2
        loss = (0.5 * squared - log_spread).sum() - density
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    set_parameters(state.model, mean.detach())
    state.uncertainty = Uncertainty(log_spread.detach().exp())


def balanced_draws(posterior: Tensor, n: int, seed: int) -> Tensor:
    """n draws of every item's features, (n, T, K); each feature is true in n q of them, give or take less than one."""
    generator = torch.Generator().manual_seed(seed)
    shape = (n, *posterior.shape)
    order = torch.rand(shape, generator=generator, dtype=posterior.dtype).argsort(0)
    uniform = (order + torch.rand(shape, generator=generator, dtype=posterior.dtype)) / n
    return (uniform < posterior).to(posterior)


def _tied_positions(state: State) -> Tensor:
    positions, place = [], 0
    for name, parameter in free_parameters(state.model).items():
        shared = name.startswith("likelihood.scale") and state.model.likelihood.shared_scale
        size = parameter.numel()
        positions.append(place + (torch.zeros(size, dtype=torch.int64) if shared else torch.arange(size)))
        place += min(size, 1) if shared else size
    return torch.cat(positions)
