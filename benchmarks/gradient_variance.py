"""Noise of the gradients of stochastic variational inference: Pyro's score function against local expectations.

At one point of one simulated problem for each likelihood, the total variance (the trace of the covariance) of both estimators'
gradients with one particle, over all parameters: the guide's logits, the error rates p_e, and those of link and likelihood; and
the time that a gradient takes, the two interleaved in one process. The model has the parameters that made the targets; the guide
stands at the prior given the answers, of which --wrong are expected to be wrong.

    python benchmarks/gradient_variance.py

A ratio of variances is the ratio of the draws that are needed for the same precision.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import torch
from pyro.infer import Trace_ELBO
from torch import Tensor, nn

from genz_ppl.inference.guided.elbo import TraceLocalExpectation_ELBO
from genz_ppl.inference.guided.guides import MeanFieldGuide
from genz_ppl.inference.isolation import isolated, one_thread
from genz_ppl.inference.start import build_model
from genz_ppl.inference.state import Data
from genz_ppl.models import GenZ, ScaleMixtureLikelihood
from genz_ppl.models.features import prior_probability

LIKELIHOODS = ("gaussian", "student_t", "poisson", "bernoulli")
SIDES = ("Trace_ELBO", "TraceLocalExpectation_ELBO")
PARTS = ("logits", "p_e", "link", "likelihood")


@dataclass(frozen=True)
class Problem:
    """A model, a guide, what both are called with, and the parameters that are looked at."""

    model: GenZ
    guide: MeanFieldGuide
    data: Data

    def parameters(self) -> dict[str, list[nn.Parameter]]:
        """By the names in PARTS; some likelihoods have none."""
        guide, link = dict(self.guide.named_parameters()), list(self.model.link.parameters())
        groups = ([guide["logits"]], [guide["error_rates_unconstrained"]], link, list(self.model.likelihood.parameters()))
        return dict(zip(PARTS, groups, strict=True))


@dataclass
class Draws:
    """Gradients of one side, and the seconds of each."""

    gradients: dict[str, list[Tensor]] = field(default_factory=lambda: {part: [] for part in PARTS})
    seconds: list[float] = field(default_factory=list)

    def variance(self) -> dict[str, float]:
        """Total variance of each part, and of all of them as "total"."""
        found = {part: float(torch.stack(draws).var(0).sum()) for part, draws in self.gradients.items()}
        return {**found, "total": sum(found.values())}

    def median_seconds(self) -> float:
        """Of one gradient."""
        return sorted(self.seconds)[len(self.seconds) // 2]


@dataclass(frozen=True)
class Comparison:
    """Variances of both sides, in the order of SIDES, by part and "total", and the median seconds of a gradient."""

    likelihood: str
    variances: tuple[dict[str, float], dict[str, float]]
    seconds: tuple[float, float]


@dataclass(frozen=True)
class Sizes:
    """Of a problem; wrong: the share of wrong answers that the guide expects. One in ten is."""

    items: int
    features: int
    targets: int
    wrong: float


def simulate(likelihood: str, sizes: Sizes, seed: int) -> Problem:
    """Answers, one in ten wrong, and targets of the model itself. Call inside `isolated`."""
    n_items, n_features, n_targets = sizes.items, sizes.features, sizes.targets
    generator = torch.Generator().manual_seed(seed)
    truth = (torch.rand(n_items, n_features, generator=generator) < 0.35).double()
    wrong = (torch.rand(n_items, n_features, generator=generator) < 0.1).double()
    answers, covariates = (truth - wrong).abs(), torch.zeros(n_items, 0, dtype=torch.float64)
    model = build_model(n_features, n_targets, 0, likelihood=likelihood)
    with torch.no_grad():
        model.link.weights.copy_(0.7 * torch.randn(n_features, n_targets, generator=generator, dtype=torch.float64))
        if isinstance(model.likelihood, ScaleMixtureLikelihood):
            model.likelihood.scale = torch.full((n_targets,), 0.5, dtype=torch.float64)
        targets = model.likelihood(model.link(truth, covariates)).sample()
    rates = torch.full((n_features,), sizes.wrong, dtype=torch.float64)
    guide = MeanFieldGuide(rates, prior_probability(answers, rates))
    return Problem(model, guide, Data(answers, covariates, targets))


def gradient(elbo: Trace_ELBO | TraceLocalExpectation_ELBO, problem: Problem, draws: Draws) -> None:
    """Add one gradient to the draws."""
    for parameter in (*problem.model.parameters(), *problem.guide.parameters()):
        parameter.grad = None
    data = problem.data
    begun = time.perf_counter()
    elbo.loss_and_grads(problem.model, problem.guide, data.answers, data.covariates, data.targets)
    draws.seconds.append(time.perf_counter() - begun)
    for part, parameters in problem.parameters().items():
        gradients = [parameter.grad.flatten() for parameter in parameters if parameter.grad is not None]
        draws.gradients[part].append(torch.cat([torch.zeros(1), *gradients]))  # never empty


def compare(likelihood: str, sizes: Sizes, draws: int, seed: int) -> Comparison:
    """Draw gradients from both sides, the order changing at every draw."""
    with isolated(seed), one_thread():
        problem = simulate(likelihood, sizes, seed)
        sides = [(Trace_ELBO(), Draws()), (TraceLocalExpectation_ELBO(), Draws())]
        for elbo, _ in sides:
            gradient(elbo, problem, Draws())  # the first call does more
        for draw in range(draws):
            for elbo, found in sides if draw % 2 == 0 else reversed(sides):
                gradient(elbo, problem, found)
    score, local = (found for _, found in sides)
    return Comparison(likelihood, (score.variance(), local.variance()), (score.median_seconds(), local.median_seconds()))


def ratio(first: float, second: float) -> str:
    """How many times less noise the second has."""
    return "no noise left" if second <= 1e-20 * first else f"{first / second:.3g}"


def print_table(comparisons: list[Comparison]) -> None:
    """The comparison as a markdown table."""
    print(f"| likelihood | gradient of | variance, {SIDES[0]} | variance, {SIDES[1]} | ratio |")
    print("|---|---|---|---|---|")
    for found in comparisons:
        score, local = found.variances
        for part in (part for part in (*PARTS, "total") if score[part] > 0):
            print(f"| {found.likelihood} | {part} | {score[part]:.3g} | {local[part]:.3g} | {ratio(score[part], local[part])} |")
    print()
    for found in comparisons:
        score_seconds, local_seconds = found.seconds
        print(f"{found.likelihood}: a gradient takes {local_seconds / score_seconds:.2f} times the seconds of {SIDES[0]}.")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("items", 200), ("features", 6), ("targets", 2), ("draws", 300), ("seed", 0)):
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--wrong", type=float, default=0.1, help="default 0.1; nearer to 0.5 the guide is less sure")
    given = parser.parse_args()
    sizes = Sizes(given.items, given.features, given.targets, given.wrong)
    print(f"{given.items} items, {given.features} features, {given.targets} targets, {given.draws} draws\n")
    print_table([compare(likelihood, sizes, given.draws, given.seed) for likelihood in LIKELIHOODS])


if __name__ == "__main__":
    main()
