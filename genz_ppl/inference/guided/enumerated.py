"""Pyro's enumeration: the program with one discrete site an item, `TraceEnum_ELBO` over it, and the guide that is exact."""

from __future__ import annotations

from dataclasses import replace

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from torch import Tensor

from genz_ppl.inference.engines.descent import descend, off_their_limits
from genz_ppl.inference.engines.exact import (
    ExactPosterior,
    bit_table,
    check_enumeration,
    chunks,
    exact_posterior,
    log_prior,
    width_of,
)
from genz_ppl.inference.guided.guides import Guide, Items
from genz_ppl.inference.guided.program import scaled_density
from genz_ppl.inference.state import Data, State
from genz_ppl.models import GenZ
from genz_ppl.models.bayesian import free_parameters
from genz_ppl.models.features import SMALLEST_ERROR_RATE

# Of L-BFGS in one M-step.
ITERATIONS = 50


class EnumeratedGenZ(GenZ):
    """The same model with one site for all of an item's features, so that Pyro can sum over it: for a loop of your own.

    Sites: "p_e" (K,) and those of the link as in `GenZ`; "row", the number of the assignment in `bit_table`, marked for parallel
    enumeration; "z" with event shape (K,), deterministic; "y". With a guide that has no "row", `TraceEnum_ELBO` is exact in z;
    `infer_discrete(program, first_available_dim=-2)` draws from the exact posterior. The parts are those of the model given.
    Raises OptionError for more than 12 features.
    """

    def __init__(self, model: GenZ) -> None:
        super(GenZ, self).__init__()
        check_enumeration(0, model.features.n_features)
        # One set of modules, names and parameters for both: Pyro refuses modules that have run under another root.
        self.__dict__.update(model.__dict__)

    def drawn(self, prior: Tensor) -> Tensor:
        """See `GenZ.drawn`. While it is summed over, a row has shape (2^K, 1): the same assignments for all items."""
        bits = bit_table(self.features.n_features)
        row = pyro.sample("row", dist.Categorical(logits=log_prior(bits, prior)), infer={"enumerate": "parallel"})
        z: Tensor = pyro.deterministic("z", bits[row].expand(*row.shape[:-1], len(prior), -1), event_dim=1)
        return z


class ExactGuide(Guide):
    """q(z) = p(z | y, h), the exact posterior under a state: the guide of `EnumeratedGenZ`, with the site "row".

    Called without targets it takes those it was last called with.
    """

    def __init__(self, state: State) -> None:
        super().__init__(state.error_rates)
        self._state = (state,)  # in a tuple: the model's parameters are not the guide's
        self._targets: Tensor | None = None

    def exact(self, items: Items) -> ExactPosterior:
        """p(z | y, h) of these items."""
        self._targets = self._targets if items[2] is None else items[2]
        assert self._targets is not None, "targets: expected values at the first call"
        rates = self.error_rates.detach()
        return exact_posterior(replace(self._state[0], error_rates=rates), Data(items[0], items[1], self._targets))

    def forward(
        self, answers: Tensor, covariates: Tensor, targets: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        """See `Guide.forward`."""
        self._point()
        with pyro.plate("items", answers.shape[0], subsample_size=batch_size, dim=-1) as rows:
            table = self.exact((answers, covariates, targets)).table[rows]
            row: Tensor = pyro.sample("row", dist.Categorical(table))
            return bit_table(self.n_features)[row]

    def posterior_of(self, answers: Tensor, covariates: Tensor, targets: Tensor | None) -> Tensor:
        """See `Guide.posterior_of`."""
        return self.exact((answers, covariates, targets)).marginals


class PointGuide(Guide):
    """p_e alone, a point: with it `TraceEnum_ELBO` of `EnumeratedGenZ` is the log evidence and the log priors."""

    def forward(
        self, answers: Tensor, covariates: Tensor, targets: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        """See `Guide.forward`."""
        return self._point()

    def reached(self) -> Tensor:
        """The rates; one that runs to its smallest value only nears it, and is put there."""
        rates = self.error_rates.detach().clone()
        return torch.where(rates < 3 * SMALLEST_ERROR_RATE, SMALLEST_ERROR_RATE, rates)


def posterior_by_pyro(state: State, data: Data) -> ExactPosterior:
    """`sum_over_assignments` by `TraceEnum_ELBO` on the program itself, for any link and likelihood."""
    elbo, program = TraceEnum_ELBO(max_plate_nesting=1), EnumeratedGenZ(state.model)
    guide, n_rows = PointGuide(state.error_rates), 2 ** len(state.error_rates)
    tables, evidence = [data.targets.new_zeros(0, n_rows)], [data.targets.new_zeros(0)]
    state.model.eval()
    with torch.no_grad(), pyro.validation_enabled(False):
        for rows in chunks(len(data.targets), width_of(state.model, n_rows)):
            part = data.items(rows)
            inputs = (part.answers, part.covariates, part.targets)
            if n_rows > 1:  # there is nothing to sum over otherwise
                table = elbo.compute_marginals(program, guide, *inputs)["row"].probs.reshape(-1, n_rows)
            else:
                table = part.targets.new_ones(len(part.targets), 1)
            # log p(y) = log p(y, z) - log p(z | y), whatever z is: here the most probable one.
            most, best = table.max(1)
            held = poutine.trace(poutine.condition(program, data={"row": best, "p_e": guide.error_rates})).get_trace(*inputs)
            tables.append(table)
            evidence.append(sum(scaled_density(held.nodes[name]) for name in ("row", "y")) - most.log())
    return ExactPosterior(torch.cat(tables), torch.cat(evidence))


def maximise_by_pyro(state: State, data: Data) -> None:
    """Link, likelihood and error rates where `TraceEnum_ELBO` of the program has its maximum, by L-BFGS from where they stand."""
    state.model.eval()
    off_their_limits(state.model.likelihood)
    guide = PointGuide(state.error_rates)
    loss = TraceEnum_ELBO(max_plate_nesting=1)(EnumeratedGenZ(state.model), guide)
    with pyro.validation_enabled(False):
        parameters = [*free_parameters(state.model).values(), *guide.parameters()]
        descend(parameters, lambda: loss(data.answers, data.covariates, data.targets) / data.targets.numel(), ITERATIONS)
    state.error_rates = guide.reached()
    state.model.features.learn_common(state.error_rates)
