"""A guide over the parameters of link and likelihood, next to one over the features."""

from __future__ import annotations

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoMultivariateNormal, AutoNormal, init_to_value
from pyro.nn import PyroModule
from torch import Tensor

from genz_ppl.inference.guided.guides import Guide
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.uncertainty import MOST_CORRELATED, Uncertainty, set_parameters
from genz_ppl.inference.weight_posterior import add_uncertainty
from genz_ppl.models import BayesianGenZ
from genz_ppl.models.bayesian import flattened

START_SPREAD, SMALLEST_SPREAD = 0.02, 1e-4


class WeightGuide(PyroModule):  # type: ignore[misc]
    """q(z, p_e) q(parameters): an autoguide, normal with all correlations (up to 500 parameters) or without, beside `local`.

    It starts at the Gaussian that fits the state's q(z) (without correlations: at the state's parameters, narrow): by gradients
    alone, widths would take thousands of steps. data: what model and guide are called with. Build it inside `isolated`.
    """

    def __init__(self, state: State, local: Guide, data: Data) -> None:
        super().__init__()
        self._held = (BayesianGenZ(state.model),)
        values = flattened(state.model)
        kind = AutoMultivariateNormal if len(values) <= MOST_CORRELATED else AutoNormal
        blocked = poutine.block(self.model, expose=["link_and_noise"])
        self.local = local
        self.weights = kind(blocked, init_loc_fn=init_to_value(values={"link_and_noise": values}), init_scale=START_SPREAD)
        self.weights(data.answers, data.covariates, data.targets)  # its parameters are made at the first call
        if isinstance(self.weights, AutoMultivariateNormal):
            start = state.copy()
            add_uncertainty(start, data, seed=0)
            assert start.uncertainty is not None
            root = start.uncertainty.root
            spread = root.diagonal().clamp(min=SMALLEST_SPREAD)
            self.weights.loc = torch.nn.Parameter(flattened(start.model))
            self.weights.scale = spread.clone()
            self.weights.scale_tril = torch.tril(root, -1) / spread.unsqueeze(1) + torch.eye(len(root), dtype=root.dtype)

    @property
    def model(self) -> BayesianGenZ:
        """The model to train with this guide."""
        return self._held[0]

    def forward(self, answers: Tensor, covariates: Tensor, targets: Tensor | None = None, batch_size: int | None = None) -> None:
        """The arguments of `GenZ.forward`."""
        self.weights(answers, covariates, targets, batch_size)
        self.local(answers, covariates, targets, batch_size)

    @torch.no_grad()
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean (N,) of the parameters and root of their covariance, (N, N), or their standard deviations, (N,)."""
        if isinstance(self.weights, AutoMultivariateNormal):
            posterior = self.weights.get_posterior()
            return posterior.loc.clone(), posterior.scale_tril.clone()
        return self.weights.locs.link_and_noise.detach().clone(), self.weights.scales.link_and_noise.detach().clone()

    def write_back(self) -> Uncertainty:
        """Put the mean into the model and return what is uncertain around it."""
        mean, root = self.moments()
        set_parameters(self.model.model, mean)
        return Uncertainty(root)

    def divergence(self) -> float:
        """KL(q(parameters) || p(parameters)), in nats."""
        mean, root = self.moments()
        variance = root**2 if root.dim() == 1 else (root**2).sum(1)
        log_det = 2 * torch.log(root if root.dim() == 1 else root.diagonal()).sum()
        spread = self.model.spread**2
        terms = (variance + (mean - self.model.centre) ** 2) / spread - 1 + torch.log(spread)
        return float(0.5 * (terms.sum() - log_det))
