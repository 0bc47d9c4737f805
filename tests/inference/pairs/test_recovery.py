"""Known features on both sides come back; a joint fit is worth most where pairs are few."""

from __future__ import annotations

import numpy as np
import pytest
from two_sides import World, make_world

from genz_ppl.inference.pairs import fit_cooccurrence

# One answer in twenty is wrong in these worlds.
NOISY = (1.0, 9.0)


def explained(estimated: np.ndarray, true: np.ndarray) -> float:
    """Share of the variance of the true affinities that the estimated ones reproduce; rotations do not matter to either."""
    return 1 - float(((estimated - true) ** 2).sum() / ((true - true.mean()) ** 2).sum())


def fitted(world: World, fit: str) -> tuple[float, float]:
    """The share of the affinities that is explained, and the mean log likelihood of the pairs that were not observed."""
    result = fit_cooccurrence(world.pairs(), *world.answers, fit=fit, dimensions=4, error_rate_prior=NOISY)
    assert result.affinity is not None
    return explained(result.affinity, world.affinity), float(result.log_likelihood(world.pairs(observed=False)).mean())


@pytest.mark.slow
def test_joint_recovers_the_weights_and_beats_decoupled_where_pairs_are_sparse() -> None:
    worlds = [make_world(seed) for seed in range(3)]
    joint, decoupled = ([fitted(world, fit) for world in worlds] for fit in ("joint", "decoupled"))
    assert min(share for share, _ in joint) > 0.9
    better = np.array([one[1] - other[1] for one, other in zip(joint, decoupled, strict=True)])
    assert better.min() > 0
    assert better.mean() > 0.03  # one world alone may be nearer to it than machines agree


@pytest.mark.slow
def test_both_fits_are_as_good_where_pairs_are_dense() -> None:
    world = make_world(0, density=0.7)
    share, density = fitted(world, "joint")
    decoupled_share, decoupled = fitted(world, "decoupled")
    assert min(share, decoupled_share) > 0.95
    assert density == pytest.approx(decoupled, abs=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson"])
def test_affinities_of_other_values(likelihood: str) -> None:
    world = make_world(1, density=0.4, likelihood=likelihood)
    result = fit_cooccurrence(world.pairs(), *world.answers, dimensions=4, likelihood=likelihood, error_rate_prior=NOISY)
    assert result.affinity is not None
    assert np.corrcoef(result.affinity.ravel(), world.affinity.ravel())[0, 1] > 0.9
