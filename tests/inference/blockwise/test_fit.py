"""Fits in blocks: equal to the usual steps, equal whoever makes them, and none the worse for workers that die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference import fit
from genz_ppl.inference.blockwise import moments
from genz_ppl.inference.blockwise.files import blocks_in, read_block, write_blocks
from genz_ppl.inference.blockwise.fit import BlockFit, fit_blocks
from genz_ppl.inference.blockwise.runners import BRANCHES, Here, OnDask, open_runner
from genz_ppl.inference.blockwise.steps import Parameters
from tests.inference.blockwise.conftest import World, made


def same(one: BlockFit, other: BlockFit, most: float = 0.0) -> None:
    assert np.abs(one.bounds - other.bounds).max() <= most * abs(one.bounds[-1])
    for name, value in one.in_units.items():
        np.testing.assert_allclose(other.in_units[name], value, rtol=most, atol=most)


@pytest.mark.parametrize(("n_features", "n_targets", "noise"), [(5, 3, 0.5), (6, 1, 0.2), (3, 1, 1e-7)])
def test_the_steps_are_those_of_a_fit_in_memory(tmp_path: Path, n_features: int, n_targets: int, noise: float) -> None:
    h, y, x = made(1500, n_features, n_targets, seed=n_features, noise=noise)
    write_blocks(tmp_path, h, y, x, rows=400)
    found = fit_blocks(tmp_path, 13)  # two features of an item move at once in three of them
    usual = fit(h, y, x, inference="coordinate", steps=13, calibration=0.0, shrinkage=False)
    np.testing.assert_allclose(found.bounds, usual.bounds, rtol=1e-6)
    np.testing.assert_allclose(found.in_units["error_rates"], usual.error_rates, atol=1e-6)
    for name in ("weights", "covariate_weights", "intercept", "scale"):
        np.testing.assert_allclose(found.in_units[name], usual.parameters[name], atol=1e-5)
    np.testing.assert_allclose(found.posterior(), usual.posterior, atol=1e-4)


def test_no_step_lowers_the_bound(folder: Path) -> None:
    assert np.diff(fit_blocks(folder, 12).bounds).min() > -1e-6


def test_items_make_no_difference_to_how_they_are_cut(world: World, folder: Path, tmp_path: Path) -> None:
    h, y, x = world
    write_blocks(tmp_path / "one", h, y, x)
    same(fit_blocks(folder, 6), fit_blocks(tmp_path / "one", 6), most=1e-9)


@pytest.mark.parametrize("sweeps", [None, 3])
def test_workers_find_the_same_to_the_last_digit(folder: Path, tmp_path: Path, dask: OnDask, sweeps: int | None) -> None:
    here = fit_blocks(folder, 5, work=tmp_path / "here", sweeps=sweeps)
    there = fit_blocks(folder, 5, dask, work=tmp_path / "dask", sweeps=sweeps)
    same(here, there)
    np.testing.assert_array_equal(here.posterior(), there.posterior(dask))


def test_a_killed_worker_costs_its_blocks_and_nothing_else(folder: Path, tmp_path: Path, dask: OnDask) -> None:
    here = fit_blocks(folder, 8, work=tmp_path / "here")
    killed: list[int] = []

    def kill(step: int, _: float) -> None:
        if step in (2, 5):
            pids = list(dask._client.run(os.getpid).values())
            threading.Timer(0.02, os.kill, (pids[0], signal.SIGKILL)).start()  # amid the next step
            killed.append(pids[0])

    there = fit_blocks(folder, 8, dask, work=tmp_path / "dask", on_step=kill)
    assert len(killed) == 2
    same(here, there)


def test_a_fit_that_was_stopped_goes_on(folder: Path, tmp_path: Path) -> None:
    whole = fit_blocks(folder, 6, work=tmp_path / "whole")
    told: list[int] = []

    def stop(step: int, _: float) -> None:
        told.append(step)
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_blocks(folder, 6, work=tmp_path / "work", on_step=stop)
    same(whole, fit_blocks(folder, 6, work=tmp_path / "work", on_step=stop))
    assert told == [1, 2, 3, 4, 5, 6]
    same(whole, fit_blocks(folder, 6, work=tmp_path / "work", on_step=stop))
    assert len(told) == 6
    for block in blocks_in(folder)[:1]:  # other data: it begins anew
        os.utime(block, (1, 1))
    fit_blocks(folder, 2, work=tmp_path / "work", on_step=lambda step, _: told.append(step))
    assert told[6:] == [1, 2]


def test_a_task_can_be_done_again(folder: Path, tmp_path: Path) -> None:
    class Twice(Here):
        """Does every task twice, as a scheduler does that took a worker for dead."""

        def joined(self, function: Callable[..., Any], tasks: Sequence[str], join: Callable[..., Any], *arguments: Any) -> Any:
            for task in tasks:
                function(task, *arguments)
            return super().joined(function, tasks, join, *arguments)

    same(fit_blocks(folder, 4, work=tmp_path / "a"), fit_blocks(folder, 4, Twice(), work=tmp_path / "b"))


@pytest.mark.parametrize("n", [1, 2, BRANCHES, BRANCHES + 1, BRANCHES**2, BRANCHES**2 + BRANCHES + 3])
def test_the_tree_depends_on_the_number_of_tasks_alone(n: int) -> None:
    def tree(parts: list[str]) -> str:
        while len(parts) > 1:
            groups = [parts[start : start + BRANCHES] for start in range(0, len(parts), BRANCHES)]
            parts = [group[0] if len(group) == 1 else f"({' '.join(group)})" for group in groups]
        return parts[0]

    tasks = [str(number) for number in range(n)]
    assert Here().joined(lambda task: task, tasks, lambda parts: f"({' '.join(parts)})") == tree(tasks)


def test_parameters_come_back(tmp_path: Path) -> None:
    made_up = Parameters(*(np.arange(3.0) + number for number in range(9)))
    made_up.save(tmp_path / "p.npz")
    np.testing.assert_array_equal(Parameters.load(tmp_path / "p.npz").error_rates, made_up.error_rates)
    assert [path.name for path in tmp_path.iterdir()] == ["p.npz"]


def test_moments_do_not_lose_digits_far_from_zero(tmp_path: Path) -> None:
    h, y, x = made(1000, 2, 1)
    write_blocks(tmp_path, h, y + 1e9, x, rows=90)
    found = Here().joined(moments.moments_of, [str(file) for file in blocks_in(tmp_path)], moments.joined_moments)
    np.testing.assert_allclose(np.sqrt(found.squares[0] / found.n), (y + 1e9).std(), rtol=1e-9)


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("target_0", None, "column 'target_0', row 1: expected a number, found none"),
        ("covariate_0", float("nan"), "column 'covariate_0', row 1: expected a number"),
        ("answer_0", 3, "column 'answer_0', row 1: expected 1, 0 or nothing, got 3"),
    ],
)
def test_blocks_that_cannot_be_used_are_named(tmp_path: Path, column: str, value: float | None, expected: str) -> None:
    values: dict[str, list[Any]] = {"answer_0": [1, 0, None], "target_0": [1.0, 2.0, 4.0], "covariate_0": [1.0, 0.0, 1.0]}
    values[column][1] = value
    pq.write_table(pa.table(values), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=expected):
        read_block(str(tmp_path / "a.parquet"))


def test_folders_that_cannot_be_used_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match=r"expected a folder of \.parquet files, one a block, found none"):
        fit_blocks(tmp_path)
    with pytest.raises(OptionError, match="holds blocks already"):
        write_blocks(folder, np.ones((2, 1)), np.ones((2, 1)))
    pq.write_table(pa.table({"answer_0": [1], "target_0": [1.0]}), folder / "zz.parquet")
    with pytest.raises(InputError, match=r"expected the columns of block-000000\.parquet, found others"):
        fit_blocks(folder)
    (folder / "zz.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        fit_blocks(folder)
    h, y, _ = made(40, 3, 1)
    h[:, 1] = np.nan
    write_blocks(tmp_path / "free", h, y)
    with pytest.raises(InputError, match="column answer_1: expected answers, found none in any block"):
        fit_blocks(tmp_path / "free")


def test_runners_that_cannot_be_had() -> None:
    with pytest.raises(OptionError, match="expected here or dask, got 'spark'"), open_runner("spark"):
        pass
    with pytest.raises(OptionError, match="goes with engine dask"), open_runner("here", "tcp://127.0.0.1:1"):
        pass
    pytest.importorskip("distributed")
    started = time.monotonic()
    with pytest.raises(OptionError, match="no Dask scheduler at tcp://127"), open_runner("dask", "tcp://127.0.0.1:1"):
        pass
    assert time.monotonic() - started < 60
