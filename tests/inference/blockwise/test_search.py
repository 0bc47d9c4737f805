"""Ranking, cuts and whole searches over blocks: what `genz_ppl.inference.worth` finds in memory, whoever works on the blocks."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from genz_ppl.errors import OptionError
from genz_ppl.inference.blockwise.files import blocks_in, write_blocks
from genz_ppl.inference.blockwise.fitting import BlockState, Fitting
from genz_ppl.inference.blockwise.moments import agreement_of, joined_agreement
from genz_ppl.inference.blockwise.runners import Here, OnDask
from genz_ppl.inference.blockwise.sample import sampled
from genz_ppl.inference.blockwise.scores import quick_gains, removal_losses, scores
from genz_ppl.inference.blockwise.search import BlockEvent, BlockSearch, Search, SearchRules, Stand, search_blocks
from genz_ppl.inference.blockwise.trials import Trials
from genz_ppl.inference.engines.coordinate import coordinate, refit
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, first_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth import candidates as in_memory
from genz_ppl.inference.worth.chance import chance_gain
from genz_ppl.inference.worth.prune import least_useful
from genz_ppl.inference.worth.prune import removal_losses as losses_in_memory
from genz_ppl.models import GaussianLikelihood
from genz_ppl.types import FloatArray
from tests.inference.blockwise.conftest import World, made

STEPS = 4
RULES = SearchRules(add=3, cut=1, cycles=2, refit_steps=STEPS, final_steps=8)


@dataclass
class Memory:
    """The same items in memory: the paper's model, standardised."""

    answers: FloatArray
    data: Data
    scaling: Scaling
    shift: float

    @classmethod
    def of(cls, h: FloatArray, y: FloatArray, x: FloatArray) -> Memory:
        targets, covariates = torch.from_numpy(y), torch.from_numpy(x)
        scaling = Scaling.of(targets, covariates, GaussianLikelihood)
        data = scaling.data(torch.zeros(len(h), 0, dtype=torch.float64), covariates, targets)
        return cls(h, data, scaling, float(scaling.density_shift(targets).sum()))

    def blank(self) -> State:
        return first_state(self.data, self.scaling, "linear", "gaussian", (1.0, 9.0))

    def of_columns(self, columns: list[int]) -> Data:
        return self.data.with_answers(torch.from_numpy(self.answers[:, columns]))

    def fitted(self, columns: list[int], steps: int = STEPS) -> State:
        data = self.of_columns(columns)
        state = first_state(data, self.scaling, "linear", "gaussian", (1.0, 9.0))
        coordinate(state, data, steps)
        return state


@pytest.fixture(autouse=True)
def _alone() -> Iterator[None]:
    with isolated(0):
        yield


@pytest.fixture
def many() -> World:
    """Ten questions of which four tell of the targets; the eighth is the opposite of the first, the ninth nearly the second."""
    h, y, x = made(800, 10, 2, seed=4, n_telling=4)
    h[:, 7] = 1 - h[:, 0]
    h[:, 8] = h[:, 1]
    h[:4, 8] = 1 - h[:4, 8]
    return h, y, x


@pytest.fixture
def blocks(many: World, tmp_path: Path) -> Path:
    h, y, x = many
    write_blocks(tmp_path / "blocks", h, y, x, rows=190)
    return tmp_path / "blocks"


def begun(blocks: Path, place: Path, columns: list[int]) -> tuple[Fitting, BlockState]:
    fitting = Fitting(blocks_in(blocks), Here(), (1.0, 9.0))
    return fitting, fitting.refit(fitting.blank(columns), columns, place, STEPS)


@pytest.mark.parametrize("columns", [[], [2], [0, 3, 5]])
def test_quick_gains_and_losses_are_those_in_memory(many: World, blocks: Path, tmp_path: Path, columns: list[int]) -> None:
    memory, others = Memory.of(*many), [k for k in range(10) if k not in columns]
    state = memory.fitted(columns)
    fitting, stand = begun(blocks, tmp_path / "fit", columns)
    sums = scores(fitting, stand, others)
    expected = in_memory.quick_gains(state, memory.of_columns(columns), memory.answers[:, others])
    np.testing.assert_allclose(quick_gains(fitting, stand, sums), expected, rtol=1e-6, atol=1e-6)
    losses = losses_in_memory(state, memory.of_columns(columns))
    assert losses is not None
    # Posteriors agree to 1e-6 where both stop; of a loss near 0 that is more of it.
    np.testing.assert_allclose(removal_losses(fitting, stand, sums), losses.numpy(), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("columns", [[], [0, 1]])
def test_the_best_question_is_the_one_in_memory(many: World, blocks: Path, tmp_path: Path, columns: list[int]) -> None:
    memory, others = Memory.of(*many), [k for k in range(10) if k not in columns]
    ranked = in_memory.rank_candidates(
        memory.fitted(columns), memory.of_columns(columns), [str(k) for k in others], memory.answers[:, others], STEPS
    )
    fitting, stand = begun(blocks, tmp_path / "fit", columns)
    agreement = fitting.runner.joined(agreement_of, fitting.files, joined_agreement)
    best = Trials(fitting, tmp_path / "trials", STEPS).best(stand, others, agreement)
    assert best is not None
    assert str(best.column) == ranked[0].text
    assert best.gain == pytest.approx(ranked[0].gain, rel=1e-6)
    np.testing.assert_allclose(best.state.parameters.error_rates, ranked[0].state.error_rates, atol=1e-6)
    assert [path.name for path in (tmp_path / "trials").iterdir()] == [Path(best.state.task.folder).name]  # no other is kept


def test_nothing_is_left_where_all_answer_like_those_in_use(blocks: Path, tmp_path: Path) -> None:
    fitting, stand = begun(blocks, tmp_path / "fit", [0, 1])
    agreement = fitting.runner.joined(agreement_of, fitting.files, joined_agreement)
    assert Trials(fitting, tmp_path / "trials", STEPS).best(stand, [7, 8], agreement) is None


@pytest.mark.parametrize("columns", [[3, 0, 1], [0, 1, 2, 3, 4, 5, 6]])
def test_the_cut_is_the_one_in_memory(many: World, blocks: Path, tmp_path: Path, columns: list[int]) -> None:
    memory, state = Memory.of(*many), Memory.of(*many).fitted(columns)
    fitting, stand = begun(blocks, tmp_path / "fit", columns)
    saved = torch.zeros(len(columns), dtype=torch.float64)
    for _ in range(2):
        expected = least_useful(state, memory.of_columns(columns), STEPS, prices=saved)
        place, without = Trials(fitting, tmp_path / "trials", STEPS).least_useful(stand, saved.numpy())
        assert place == expected.feature
        assert without.bound == pytest.approx(expected.bound + memory.shift, rel=1e-6)
        saved[place] = float("-inf")  # that one is to stay


def in_turn(memory: Memory, rules: SearchRules) -> tuple[list[tuple[str, int, float]], list[int], float]:
    """`search_blocks` with what there is in memory: events, columns in the end, and the bound of the last fit."""
    steps, n_targets = rules.refit_steps, memory.data.targets.shape[1]
    state, columns = memory.blank(), list[int]()
    bound = refit(state, memory.data, steps).total
    best, events, cut = (bound, state, columns), list[tuple[str, int, float]](), set[int]()

    def price(number: int) -> float:
        return chance_gain(memory.answers.shape[1], n_targets, number == 0)

    def after(event: str, column: int) -> None:
        events.append((event, column, bound + memory.shift))

    def cost(some: list[int]) -> float:
        return sum(price(number) for number in range(len(some)))

    for cycle in range(rules.cycles):
        before, added = set(columns), 0
        while added < rules.add:
            others = [k for k in range(memory.answers.shape[1]) if k not in columns]
            texts = [str(k) for k in others]
            found = in_memory.rank_candidates(state, memory.of_columns(columns), texts, memory.answers[:, others], steps)
            if not found or found[0].gain <= price(len(columns)):
                break
            state, columns, added = found[0].state, [*columns, int(found[0].text)], added + 1
            bound = refit(state, memory.of_columns(columns), steps).total
            after("add", columns[-1])
            best = max(best, (bound, state.copy(), columns), key=lambda one: one[0] - cost(one[2]))
        for _ in range(rules.cut if added and len(columns) > 1 else 0):
            saved = [float("-inf") if column in cut else 0.0 for column in columns]
            if max(saved) < 0:
                break
            removal = least_useful(state, memory.of_columns(columns), steps, prices=torch.tensor(saved, dtype=torch.float64))
            cut.add(columns[removal.feature])
            event = ("cut", columns[removal.feature])
            state, bound, columns = removal.state, removal.bound, [k for k in columns if k != columns[removal.feature]]
            after(*event)
            best = max(best, (bound, state.copy(), columns), key=lambda one: one[0] - cost(one[2]))
        if added == 0 or (cycle > 0 and set(columns) == before):
            break
    bound, state, columns = best
    _, last = in_memory.better_start(state, memory.of_columns(columns), rules.final_steps)
    return events, columns, last + memory.shift


def test_a_whole_search_is_the_one_in_memory(many: World, blocks: Path) -> None:
    found = search_blocks(blocks, RULES)
    events, columns, bound = in_turn(Memory.of(*many), RULES)
    assert [(one.event, one.column) for one in found.events] == [(name, column) for name, column, _ in events]
    np.testing.assert_allclose([one.bound for one in found.events], [bound for *_, bound in events], rtol=1e-6)
    assert list(found.fit.features) == columns
    assert sorted(columns)[:3] == [0, 1, 2]
    assert float(found.fit.bounds[-1]) == pytest.approx(bound, rel=1e-6)
    assert found.n_searched == 800


def test_what_is_not_worth_its_price_goes_in_the_end(blocks: Path, tmp_path: Path) -> None:
    fitting, state = begun(blocks, tmp_path / "fit", [5, 0, 1, 6, 2])
    search = Search(fitting, blocks_in(blocks), tmp_path / "search", RULES, None)
    stand = Stand(state, state, settled=True)
    while search._moved(stand):
        pass
    assert {(one.event, one.column) for one in stand.events} == {("prune", 5), ("prune", 6)}
    assert stand.state.features == (0, 1, 2)


@pytest.mark.slow
def test_rules_bound_what_is_found(blocks: Path) -> None:
    greedy = SearchRules(add=6, cut=0, cycles=1, refit_steps=STEPS, final_steps=4, smallest_gain=-1e9, smallest_worth=0)
    assert len(search_blocks(blocks, greedy, work=blocks.parent / "greedy").fit.features) == 6
    strict = replace(greedy, smallest_worth=100)
    assert len(search_blocks(blocks, strict, work=blocks.parent / "strict").fit.features) < 6
    few = replace(greedy, max_features=2)
    assert len(search_blocks(blocks, few, work=blocks.parent / "two").fit.features) == 2
    choosy = replace(greedy, smallest_gain=1e9)
    assert search_blocks(blocks, choosy, work=blocks.parent / "none").fit.features == ()


def alike(one: BlockSearch, other: BlockSearch) -> None:
    assert one.events == other.events
    assert one.fit.features == other.fit.features
    np.testing.assert_array_equal(one.fit.bounds, other.fit.bounds)
    for name, value in one.fit.in_units.items():
        np.testing.assert_array_equal(other.fit.in_units[name], value)


@pytest.mark.slow
def test_killed_workers_cost_nothing_but_time(blocks: Path, tmp_path: Path, dask: OnDask) -> None:
    here = search_blocks(blocks, RULES, work=tmp_path / "here")
    killed: list[int] = []

    def kill(event: BlockEvent) -> None:
        if event.event == "add" and len(killed) < 3:
            pids = list(dask._client.run(os.getpid).values())
            threading.Timer(0.05 * (1 + len(killed)), os.kill, (pids[0], signal.SIGKILL)).start()  # amid ranking, a cut, a trial
            killed.append(pids[0])

    alike(here, search_blocks(blocks, RULES, dask, work=tmp_path / "dask", on_event=kill))
    assert len(killed) == 3


@pytest.mark.slow
def test_a_search_that_was_stopped_goes_on(blocks: Path, tmp_path: Path) -> None:
    whole = search_blocks(blocks, RULES, work=tmp_path / "whole")
    told: list[BlockEvent] = []

    def stop(event: BlockEvent) -> None:
        told.append(event)
        if len(told) in (2, 4):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            search_blocks(blocks, RULES, work=tmp_path / "work", on_event=stop)
    alike(whole, search_blocks(blocks, RULES, work=tmp_path / "work", on_event=stop))
    # The change that it was stopped in is made again, those before it are not.
    assert [one.column for one in told] == [whole.events[n].column for n in (0, 1, 1, 2, *range(2, len(whole.events)))]
    before = len(told)
    alike(whole, search_blocks(blocks, RULES, work=tmp_path / "work", on_event=stop))
    assert len(told) == before


def test_questions_chosen_on_a_sample_are_fitted_to_all(blocks: Path, tmp_path: Path) -> None:
    found = search_blocks(blocks, RULES, work=tmp_path / "work", sample=400)
    assert 330 < found.n_searched < 470
    assert found.fit.n_items == 800
    assert set(found.fit.features) >= {0, 1, 2} or set(found.fit.features) >= {7, 8, 2}
    files = sampled(blocks_in(blocks), tmp_path / "again", 400, 0, rows=120)
    rows = [pq.read_table(file) for file in files]
    assert sum(map(len, rows)) == found.n_searched
    assert len(files) > 2
    written = {file: file.stat().st_mtime_ns for file in files}
    assert {file: file.stat().st_mtime_ns for file in sampled(blocks_in(blocks), tmp_path / "again", 400, 0, rows=120)} == written
    assert sampled(blocks_in(blocks), tmp_path / "all", 800, 0) == blocks_in(blocks)


@pytest.mark.slow
def test_float32_targets_change_nothing_that_matters(many: World, blocks: Path, tmp_path: Path) -> None:
    h, y, x = many
    write_blocks(tmp_path / "single", h, y.astype(np.float32), x.astype(np.float32), rows=190)
    double, single = (search_blocks(each, RULES) for each in (blocks, tmp_path / "single"))
    assert [(one.event, one.column) for one in double.events] == [(one.event, one.column) for one in single.events]
    np.testing.assert_allclose(single.fit.bounds, double.fit.bounds, rtol=1e-5)
    np.testing.assert_allclose(single.fit.in_units["weights"], double.fit.in_units["weights"], rtol=1e-4, atol=1e-4)


def test_rules_that_cannot_be_are_refused() -> None:
    with pytest.raises(OptionError, match="add: expected"):
        SearchRules(add=0)
    with pytest.raises(OptionError, match="cut: expected"):
        SearchRules(cut=-1)
