"""Links and likelihoods one by one; what all of them must do is in the loops over LINKS and LIKELIHOODS."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from genz_ppl.inference import isolated
from genz_ppl.models import LIKELIHOODS, LINKS, GaussianLikelihood, IsotropicLikelihood, LinearLink, NeuralLink
from genz_ppl.models.likelihoods import SMALLEST_VARIANCE, Likelihood
from genz_ppl.models.links import Link


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def randomised(link: Link) -> Link:
    with torch.no_grad():
        for position, parameter in enumerate(link.parameters()):
            parameter.copy_(numbers(*parameter.shape, seed=position))
    return link


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("n_covariates", [0, 2])
def test_link_keeps_leading_dimensions(name: str, n_covariates: int) -> None:
    with isolated(0):
        link = randomised(LINKS[name](3, 2, n_covariates)).eval()
        z, x = (numbers(5, 6, 3) > 0).double(), numbers(6, n_covariates, seed=1)
        together = link(z, x)
        assert together.shape == (5, 6, 2)
        assert together.dtype == torch.float64
        torch.testing.assert_close(together[3], link(z[3], x))
        torch.testing.assert_close(link.function()(z, x), together)


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("kept", [[], [2], [2, 0]])
@pytest.mark.parametrize("n_added", [0, 1, 2])
def test_added_columns_have_no_effect_and_kept_ones_keep_theirs(name: str, kept: list[int], n_added: int) -> None:
    with isolated(0):
        link = randomised(LINKS[name](3, 2, 2)).eval()
        changed = link.with_columns(kept, n_added).eval()
        assert changed.n_features == len(kept) + n_added
        z, x = (numbers(6, 3) > 0).double(), numbers(6, 2, seed=1)
        # A removed column counts as its neutral value, which is one half for the neural link and zero for the linear one.
        neutral = torch.full_like(z, 0.5 if name == "neural" else 0.0)
        neutral[:, kept] = z[:, kept]
        for fill in (0.0, 1.0):
            added = torch.full((6, n_added), fill, dtype=torch.float64)
            torch.testing.assert_close(changed(torch.cat([z[:, kept], added], dim=1), x), link(neutral, x))
        before = changed(torch.cat([z[:, kept], added], dim=1), x).detach().clone()
        with torch.no_grad():
            for parameter in link.parameters():
                parameter.add_(1.0)
        torch.testing.assert_close(changed(torch.cat([z[:, kept], added], dim=1), x), before)


def test_linear_link_by_hand() -> None:
    with isolated(0):
        link = LinearLink(2, 1, 1)
        with torch.no_grad():
            link.weights.copy_(torch.tensor([[2.0], [3.0]]))
            link.intercept.fill_(10.0)
            link.covariate_weights.fill_(100.0)
        z, x = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double(), torch.tensor([[0.5], [-1.0]]).double()
        assert link(z, x).flatten().tolist() == [62.0, -85.0]


def test_dropout_only_while_training() -> None:
    with isolated(0):
        link = NeuralLink(3, 2)
        z, x = (numbers(50, 3) > 0).double(), torch.zeros(50, 0, dtype=torch.float64)
        link.train()
        assert not torch.equal(link(z, x), link(z, x))
        link.eval()
        assert torch.equal(link(z, x), link(z, x))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihood_contract(name: str) -> None:
    with isolated(0):
        likelihood = LIKELIHOODS[name](3)
        targets, observed = numbers(40, 3), numbers(40, 3, seed=1) > -1
        likelihood.start(targets, observed)
        observation = likelihood(numbers(2, 40, 3, seed=2))
        assert observation.batch_shape == (2, 40, 3)
        assert observation.event_shape == ()
        assert bool(torch.isfinite(observation.log_prob(targets)).all())
        assert likelihood.name == name


def test_noise_is_the_mean_squared_error_of_what_is_there() -> None:
    squared, observed = numbers(30, 2, seed=1) ** 2, numbers(30, 2, seed=2) > 0
    with isolated(0):
        diagonal, shared = GaussianLikelihood(2), IsotropicLikelihood(2)
        assert diagonal.update(squared, observed)
        assert shared.update(squared, observed)
        for column in range(2):
            expected = float(squared[observed[:, column], column].mean()) ** 0.5
            assert float(diagonal.scale.detach()[column]) == pytest.approx(expected)
            assert float(shared.scale.detach()[column]) == pytest.approx(float(squared[observed].mean()) ** 0.5)


@pytest.mark.parametrize("kind", [GaussianLikelihood, IsotropicLikelihood])
def test_a_perfect_fit_leaves_a_little_noise(kind: type[GaussianLikelihood]) -> None:
    with isolated(0):
        likelihood = kind(2)
        likelihood.update(torch.zeros(5, 2, dtype=torch.float64), torch.ones(5, 2, dtype=torch.bool))
        assert likelihood.scale.detach().tolist() == pytest.approx([SMALLEST_VARIANCE**0.5] * 2)


def test_half_written_plug_ins_say_what_is_missing() -> None:
    class Empty(Likelihood):
        pass

    class Blank(Link):
        pass

    value = torch.zeros(2, 1, dtype=torch.float64)
    with pytest.raises(TypeError, match=r"Empty must define forward\(loc\) -> Distribution"):
        Empty(1)(value)
    with pytest.raises(TypeError, match=r"Empty must define start\(targets, observed\)"):
        Empty(1).start(value, value > 0)
    with pytest.raises(TypeError, match=r"Blank must define forward\(z, covariates\)"):
        Blank(1, 1)(value, value)
    with pytest.raises(TypeError, match=r"Blank must define with_columns\(kept, n_added\)"):
        Blank(1, 1).with_columns([], 1)
    assert Empty(1).update(value, value > 0) is False
