"""`isolated` gives a block its own random numbers and parameters and leaves the caller's untouched."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyro
import pytest
import torch

from genz_ppl.inference import fit, isolated


def global_state() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    store = {name: value.detach().clone() for name, value in pyro.get_param_store().items()}
    local = pyro.settings.get("module_local_params")
    return random.getstate(), kind, np.asarray(keys).tolist(), tuple(rest), torch.get_rng_state().tolist(), store, local


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002


@pytest.fixture
def caller() -> Any:
    """A caller with random states, a parameter and a setting of its own."""
    with pyro.get_param_store().scope():
        pyro.param("mine", torch.tensor(3.0))
        draws()
        yield


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("setting", [False, True])
def test_everything_is_put_back(caller: None, fails: bool, setting: bool) -> None:
    def block() -> None:
        with isolated(5):
            assert pyro.settings.get("module_local_params") is True
            assert not list(pyro.get_param_store().keys())
            draws()
            pyro.param("theirs", torch.tensor(1.0))
            if fails:
                raise RuntimeError("inside")

    with pyro.settings.context(module_local_params=setting):
        before = global_state()
        if fails:
            with pytest.raises(RuntimeError, match="inside"):
                block()
        else:
            block()
        assert global_state() == before


def test_seed_decides_all_three_generators() -> None:
    with isolated(7):
        first = draws()
    draws()
    with isolated(7):
        assert draws() == first
    with isolated(8):
        assert all(a != b for a, b in zip(draws(), first, strict=True))


def test_blocks_nest() -> None:
    with isolated(1):
        expected = [draws(), draws()]
    with isolated(1):
        first = draws()
        with isolated(2):
            draws()
        assert [first, draws()] == expected


@pytest.mark.parametrize(
    "options", [{}, {"expectation": "mode"}, {"expectation": "sample"}, {"link": "neural"}], ids=lambda options: str(options)
)
def test_refits_are_bit_identical(options: dict[str, Any], simulate: Any) -> None:
    world = simulate(0, n_items=80, n_features=3, n_targets=2, missing_answers=0.1)
    first = fit(world.answers, world.targets, steps=3, seed=4, **options)
    draws()
    second = fit(world.answers, world.targets, steps=3, seed=4, **options)
    assert np.array_equal(first.posterior, second.posterior)
    assert np.array_equal(first.bounds, second.bounds)
    assert all(np.array_equal(first.parameters[name], second.parameters[name]) for name in first.parameters)


@pytest.mark.parametrize("link", ["linear", "neural"])
def test_fitting_and_predicting_leave_the_caller_untouched(caller: None, link: str, simulate: Any) -> None:
    world = simulate(0, n_items=60, n_features=3, n_targets=2)
    before = global_state()
    result = fit(world.answers, world.targets, link=link, steps=1)
    assert global_state() == before
    result.predict(world.answers)
    result.predict_interval(world.answers)
    result.log_likelihood(world.answers, world.targets)
    assert global_state() == before


def test_one_fit_does_not_reach_into_another(caller: None, simulate: Any) -> None:
    quiet, loud = simulate(0, n_items=100, n_features=3, noise=0.3), simulate(0, n_items=100, n_features=3, noise=3.0)
    first = fit(quiet.answers, quiet.targets, steps=2)
    second = fit(loud.answers, loud.targets, steps=2)
    scale = second.parameters["scale"]
    first.predict(quiet.answers)
    first.log_likelihood(quiet.answers, quiet.targets)
    second.predict(loud.answers)
    second.log_likelihood(loud.answers, loud.targets)
    assert np.array_equal(second.parameters["scale"], scale)
