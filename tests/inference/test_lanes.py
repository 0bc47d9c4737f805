"""Several blocks of items at once: the same numbers as one after the other, and nothing left behind."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from genz_ppl.inference import fit, state
from genz_ppl.inference.engines import blocks
from genz_ppl.inference.engines import sums as linear_gaussian
from genz_ppl.inference.engines.blocks import blocks_of, each_block, lanes_for
from genz_ppl.inference.engines.sums import LinearGaussian
from genz_ppl.inference.isolation import SMALL, allowed_threads, one_thread


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("lanes", [1, 2, 3, 7])
@pytest.mark.parametrize("n_items", [0, 1, 10, 23])
def test_results_are_in_the_order_of_the_blocks(n_items: int, lanes: int) -> None:
    parts = blocks_of(n_items, 5)
    found = each_block(lambda items, lane: (items, lane, torch.get_num_threads()), parts, lanes)
    assert found == [(items, number % lanes, 1) for number, items in enumerate(parts)]


def test_threads_are_those_the_caller_allows() -> None:
    parts, much, little = blocks_of(30, 10), torch.zeros(SMALL), torch.zeros(SMALL - 1)
    with threads(2):
        with one_thread(), one_thread(False), one_thread():
            assert torch.get_num_threads() == 1
            assert allowed_threads() == 2
            assert lanes_for(parts, much) == 2
        assert allowed_threads() == 2
        assert lanes_for(parts, little) == 1
        assert lanes_for(parts, little, little) == 2
        assert lanes_for(parts[:1], much) == 1
    with threads(8), one_thread():
        assert lanes_for(parts, much) == 3
    with threads(1):
        assert lanes_for(parts, much) == 1


@pytest.mark.parametrize("lane", [0, 1])
def test_an_error_arrives_when_no_lane_works_any_more(lane: int) -> None:
    finished = []

    def work(items: slice, mine: int) -> None:
        if mine == lane:
            raise ValueError(f"lane {mine}")
        time.sleep(0.05)
        finished.append(items)

    with pytest.raises(ValueError, match=f"lane {lane}"):
        each_block(work, blocks_of(6, 1), 2)
    assert len(finished) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_process_has_threads_of_its_own() -> None:
    def sums() -> list[int]:
        return each_block(lambda items, lane: sum(range(items.start, items.stop)), blocks_of(20, 5), 3)

    expected = sums()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks in processes with threads
        child = os.fork()
    if child == 0:
        os._exit(0 if sums() == expected else 1)
    deadline = time.monotonic() + 20
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if ended == (0, 0):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended == (child, 0)


@pytest.mark.parametrize("likelihood", ["gaussian", "isotropic"])
def test_lanes_do_not_change_a_bit(likelihood: str, simulate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SMALL", 0)
    monkeypatch.setattr(linear_gaussian, "BLOCK", 70)
    monkeypatch.setattr(state, "BLOCK", 50)
    world = simulate(0, n_items=500, n_features=9, n_covariates=1, missing_answers=0.1)
    results = []
    for number in (1, 2, 3):
        with threads(number):
            results.append(fit(world.answers, world.targets, world.covariates, likelihood=likelihood, steps=14))
    for other in results[1:]:
        assert np.array_equal(results[0].posterior, other.posterior)
        assert np.array_equal(results[0].bounds, other.bounds)
        assert np.array_equal(results[0].parameters["weights"], other.parameters["weights"])


def test_a_large_problem_uses_the_threads_and_its_bound_never_falls(simulate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lanes = []
    original = LinearGaussian.sweep

    def sweep(self: LinearGaussian, current: Any) -> None:
        original(self, current)
        lanes.append(self.lanes)

    monkeypatch.setattr(LinearGaussian, "sweep", sweep)
    world = simulate(1, n_items=14_000, n_features=8, n_targets=8, noise=2.0)
    found = []
    for number in (2, 1):
        with threads(number):
            found.append(fit(world.answers, world.targets, steps=8))
    assert lanes == [2] * 8 + [1] * 8
    assert np.array_equal(found[0].posterior, found[1].posterior)
    assert np.array_equal(found[0].bounds, found[1].bounds)
    # T D squared errors and T K entropies are summed to 2e-16 of their size each; nothing else is rounded.
    assert np.diff(found[0].bounds).min() >= -1e-10 * np.abs(found[0].bounds).max()
