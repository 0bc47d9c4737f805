"""A search for questions over blocks of items on disk: time, memory, and how it compares with the same in memory.

    python benchmarks/block_search.py                               # 100 000 and 1 000 000 items, chosen on 200 000 of them
    python benchmarks/block_search.py --items 10000000 --workers 2  # Dask with two processes
    python benchmarks/block_search.py --items 200000 --sample 0 --beside   # on all items, and float64 in memory beside it

32 targets in float32, 40 questions all answered, a tenth of the answers wrong, of which 20 tell of the targets; 8 additions,
then the last fit to all items and what metrics.json has, on a tenth as many new items. Processor time and memory are those of all
processes; memory is the most that they held at once, looked at ten times a second.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch

from genz_ppl.inference.blockwise.files import ROWS, block_name, write_block
from genz_ppl.inference.blockwise.measures import measure_blocks
from genz_ppl.inference.blockwise.runners import open_runner
from genz_ppl.inference.blockwise.search import SearchRules, search_blocks
from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, first_state
from genz_ppl.inference.worth.candidates import better_start, rank_candidates
from genz_ppl.models import GaussianLikelihood
from genz_ppl.types import FloatArray

QUESTIONS, TELLING, TARGETS = 40, 20, 32
RULES = SearchRules(add=8, cut=0, cycles=1, max_features=8, refit_steps=5, final_steps=20)


def made(items: int, number: int) -> tuple[FloatArray, FloatArray]:
    """Answers and targets of one block; the effects are those of all blocks."""
    effects = np.random.default_rng(0).normal(size=(TELLING, TARGETS)) * np.linspace(1.0, 0.2, TELLING)[:, None]
    random = np.random.default_rng([1, number])
    z = random.random((items, QUESTIONS)) < np.linspace(0.2, 0.8, QUESTIONS)
    y = z[:, :TELLING] @ effects + random.normal(size=(items, TARGETS))
    return (z ^ (random.random(z.shape) < 0.1)).astype(np.float64), y


def write(folder: Path, items: int, first: int = 0) -> int:
    """Blocks of so many items; their bytes."""
    for number, start in enumerate(range(0, items, ROWS)):
        answers, targets = made(min(ROWS, items - start), first + number)
        write_block(folder / block_name(number), answers, targets.astype(np.float32))
    return sum(file.stat().st_size for file in folder.glob("*.parquet"))


class Watch:
    """Wall and processor seconds of this process and those that it started, and the most memory that they held at once."""

    def __enter__(self) -> Watch:
        self._started, self._spent, self.most, self._over = time.perf_counter(), _processor(), 0, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.wall, self.processor = time.perf_counter() - self._started, _processor() - self._spent

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, sum(map(_resident, _family(os.getpid()))))


def _processor() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _family(process: int) -> list[int]:
    """A process of Linux and all that came of it."""
    try:
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except OSError:
        return []
    return [process, *(one for child in children for one in _family(int(child)))]


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def in_memory(items: int) -> tuple[list[int], float]:
    """The same search with what there is in memory, float64: the questions, and the bound of the last fit."""
    parts = [made(min(ROWS, items - start), number) for number, start in enumerate(range(0, items, ROWS))]
    answers, targets = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
    y, columns = torch.from_numpy(targets), list[int]()
    with isolated(0):
        scaling = Scaling.of(y, torch.zeros(items, 0, dtype=torch.float64), GaussianLikelihood)
        blank = scaling.data(torch.zeros(items, 0, dtype=torch.float64), torch.zeros(items, 0, dtype=torch.float64), y)
        state = first_state(blank, scaling, "linear", "gaussian", (1.0, 9.0))
        refit(state, blank, RULES.refit_steps)
        while len(columns) < 8:
            data, others = blank.with_answers(torch.from_numpy(answers[:, columns])), sorted({*range(QUESTIONS)} - {*columns})
            best = rank_candidates(state, data, [str(k) for k in others], answers[:, others], RULES.refit_steps)[0]
            state, columns = best.state, [*columns, int(best.text)]
            refit(state, blank.with_answers(torch.from_numpy(answers[:, columns])), RULES.refit_steps)
        data = blank.with_answers(torch.from_numpy(answers[:, columns]))
        _, bound = better_start(state, data, RULES.final_steps)
    return columns, bound + float(scaling.density_shift(y).sum())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--workers", type=int, default=0, help="Dask's; 0: this process alone")
    parser.add_argument("--sample", type=int, default=200_000, help="items that questions are chosen on; 0: all")
    parser.add_argument("--beside", action="store_true", help="the same in memory, float64, beside it")
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    print(f"{'':10} {'items':>9} {'wall s':>8} {'processor s':>12} {'a million':>10} {'memory MB':>10}", flush=True)

    def row(name: str, items: int, watch: Watch, more: str = "") -> None:
        a_million = watch.processor / items * 1e6
        print(
            f"{name:10} {items:9d} {watch.wall:8.1f} {watch.processor:12.1f} {a_million:10.1f} {watch.most / 1e6:10.0f}  {more}",
            flush=True,
        )

    for items in options.items:
        with tempfile.TemporaryDirectory(prefix="genz-search-", dir=options.folder) as name:
            folder = Path(name)
            with Watch() as watch:
                size = write(folder / "train", items)
                write(folder / "test", items // 10, first=10**6)
            row("writing", items, watch, f"{size / 1e6:.0f} MB")
            with Watch() as watch, open_runner(*_runner(options.workers)) as runner:
                found = search_blocks(folder / "train", RULES, runner, sample=options.sample or None)
            row("searching", items, watch, f"bound {found.fit.bounds[-1]:.6f}, questions {[*found.fit.features]}")
            with Watch() as watch, open_runner(*_runner(options.workers)) as runner:
                measured = measure_blocks(found.fit, folder / "test", runner, most_drawn=20_000)
            row("measuring", items, watch, f"R2 {measured.r2:.4f}, median absolute error {measured.median_absolute_error:.4f}")
        if options.beside:
            with Watch() as watch:
                columns, bound = in_memory(items)
            row("in memory", items, watch, f"bound {bound:.6f}, questions {columns}")
            print(f"{'':10} relative difference of the bounds {abs(bound / found.fit.bounds[-1] - 1):.1e}", flush=True)


def _runner(workers: int) -> tuple[str, None, int | None]:
    return ("dask", None, workers) if workers else ("here", None, None)


if __name__ == "__main__":
    main()
