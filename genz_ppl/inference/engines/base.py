"""What an engine is: the E- and M-step of one kind of model on one set of data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Protocol

from torch import Tensor

from genz_ppl.inference.engines.least_squares import root_of_inverse
from genz_ppl.inference.engines.rates import update_error_rates
from genz_ppl.inference.state import Data, State, entropy_of


class Engine(Protocol):
    """How expectations under the factorised q are taken; `engine_for` chooses one for a model and its data.

    Engines know links and likelihoods by their types, so that nothing else in the package has to.
    """

    data: Data
    #: Whether expectations are exact, so that no step lowers the bound's total.
    exact: ClassVar[bool]
    #: Whether steps take milliseconds: torch's threads, which wait for each other, then cost more than they bring.
    short: ClassVar[bool]

    def sweep(self, state: State) -> None:
        """E-step: eq. 11 for every feature in turn; updates state.posterior."""

    def maximise(self, state: State) -> None:
        """M-step for link and likelihood."""

    def error_rates(self, state: State) -> None:
        """M-step for the error rates: eq. 14."""
        update_error_rates(state, self.data)

    def observation(self, state: State) -> float:
        """The observation term of the bound, E_q log p(y | z), summed over items."""

    def entropy(self, state: State) -> float:
        """Entropy of q(z), summed over items."""
        return entropy_of(state.posterior)

    def marginal(self, state: State) -> float:
        """log p(y | f(E[z | h])) of a calibrated model, summed over items; 0 of others: only models with closed forms are."""
        return 0.0

    def information(self, state: State, of_density: bool = False) -> Iterator[Tensor] | None:
        """Minus the second derivative of the bound by coefficients, intercept and slopes of each target, (N, N).

        of_density: the density's own in place of the bound's. They differ where noise is a mixture of Gaussians: the bound takes
        the precision of every entry for known, and promises more than the data tell (of Laplace noise several times as much).
        None where that is not known, so that only refits and draws tell what these quantities are worth.
        """
        return None

    def group_covariance(self, state: State) -> Tensor | None:
        """That of the effects of groups, (G, D, 1 + P, 1 + P), by the density's own information; None where these are points."""
        return state.group_covariance

    def coefficient_roots(self, state: State, of_density: bool = False) -> Iterator[Tensor] | None:
        """Of each target R, (K, M, N), whose R_k R_k' is the covariance of feature k's coefficients, all else unknown, too.

        of_density: see `information`.
        """
        information, size = self.information(state, of_density), (state.posterior.shape[1], state.model.link.n_modifiers)
        if information is None:
            return None
        return (root_of_inverse(one)[: size[0] * size[1]].view(*size, len(one)) for one in information)
