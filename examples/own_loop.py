"""Plain Pyro: the model, a guide and the local-expectation bound in a training loop of your own, in minibatches.

python examples/own_loop.py
"""

from __future__ import annotations

import numpy as np
import pyro
import torch
from pyro.infer import SVI
from pyro.optim import Adam

from genz_ppl.inference import MeanFieldGuide, TraceLocalExpectation_ELBO
from genz_ppl.models import FeatureLayer, GenZ, LinearLink, PoissonLikelihood

random = np.random.default_rng(0)
truth = (random.random((400, 3)) < 0.4).astype(float)
answers = torch.tensor(np.where(random.random(truth.shape) < 0.1, 1 - truth, truth))
visits = torch.tensor(random.poisson(np.exp(truth @ np.array([1.5, -1.0, 0.7]) + 1.5)).astype(float))[:, None]
covariates = torch.zeros(400, 0, dtype=torch.float64)

pyro.set_rng_seed(0)
model = GenZ(FeatureLayer(n_features=3), LinearLink(n_features=3, n_targets=1), PoissonLikelihood(n_targets=1))
model.likelihood.start(visits, ~torch.isnan(visits))
guide = MeanFieldGuide(error_rates=torch.full((3,), 0.1, dtype=torch.float64), posterior=None)
svi = SVI(model, guide, Adam({"lr": 0.05}), TraceLocalExpectation_ELBO())
for epoch in range(60):
    loss = np.mean([svi.step(answers, covariates, visits, batch_size=100) for _ in range(4)])
    if epoch % 20 == 19:
        print(f"epoch {epoch + 1}: bound {-loss:.0f}")

found = (guide.posterior.numpy() > 0.5).astype(float)
print("weights", model.link.weights.detach()[:, 0].numpy().round(2))
print(f"wrong: {np.mean(answers.numpy() != truth):.3f} of the answers, {np.mean(found != truth):.3f} of the posterior's")
