"""Several annotators of the same features: Dawid and Skene's model inside the GenZ program.

p_e[k, a] ~ Beta(1 + n m_a, 1 + n (1 - m_a)) as in `FeatureLayer`, z[t, k] ~ Bernoulli(1/2), h[t, k, a] = z[t, k] but for a share
p_e[k, a], y[t] ~ p(y | f(z, x)). With one annotator p(z | h) is eq. 4, so that it is the paper's model; with several the log-odds
of their answers add up.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from genz_ppl.models.genz import GenZ, observed_at


class AnnotatedGenZ(GenZ):
    """The program of a model whose features several annotators have answered; its parts are those of the model given.

    Sites: "p_e" with event shape (A,) in the plate "features"; "z" with event shape (K,), "h" with event shape (K, A) where
    there is an answer, and "y" in the plate "items". An annotator that is never wrong, such as people, has a rate that is held.
    """

    def __init__(self, model: GenZ) -> None:
        super(GenZ, self).__init__()
        self.__dict__.update(model.__dict__)

    def forward(
        self, answers: Tensor, covariates: Tensor, targets: Tensor | None = None, batch_size: int | None = None
    ) -> Tensor:
        """answers: (T, K, A) of 1, 0, NaN; the others as in `GenZ`."""
        a, b = (values.expand(answers.shape[2]) for values in self.features.prior)
        with pyro.plate("features", answers.shape[1]):
            rates = pyro.sample("p_e", dist.Beta(a, b).to_event(1))
        link = self.link.sampled()
        with pyro.plate("items", len(answers), subsample_size=batch_size, dim=-1):
            h, x = pyro.subsample(answers, event_dim=2), pyro.subsample(covariates, event_dim=1)
            given = None if targets is None else pyro.subsample(targets, event_dim=1)
            z = pyro.sample("z", dist.Bernoulli(torch.full_like(h[..., 0], 0.5)).to_event(1))
            there = ~torch.isnan(h)
            yes = (z.unsqueeze(-1) - rates).abs()
            pyro.sample("h", dist.Bernoulli(yes).mask(there).to_event(2), obs=torch.nan_to_num(h))
            observation, observed = observed_at(self.likelihood, link(z, x), given)
            y: Tensor = pyro.sample("y", observation, obs=observed)
            return y
