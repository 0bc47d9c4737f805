"""The store of answers under contention: a file of this host, and PostgreSQL, which hosts share.

    python benchmarks/fleet.py                               # 4 processes of 16 threads on the same 20 000 pairs, ten runs
    python benchmarks/fleet.py --runs 1 --pairs 2000

Every thread wants all pairs, 40 a claim, in an order of its own; what it is told to ask it settles, until all is known. Counted
is what was paid twice, times of single claims, and answers a second. Needs PostgreSQL's initdb. fsync: as a database has it by
default, a write waits for the disk; without, for programs alone.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from postgres_server import PostgresServer, missing

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.places import open_answers
from genz_ppl.llm.store.rows import Question, StoredAnswer

ASKED = Question("Is it red?", "m", "http://localhost/v1", "extract_one 1-abc", "{}")
A_CALL = 40


def worker(place: str, pairs: int, threads: int, seed: int, results: Any) -> None:
    """One process; puts (answers settled, seconds of each claim) into the queue."""
    settled, claims = [0] * threads, [list[float]() for _ in range(threads)]
    with open_answers(place) as store:
        run = store.open_run("run", fresh=False)

        def work(number: int) -> None:
            settled[number] = asked(store, run, pairs, random.Random(f"{seed} {number}"), claims[number])

        crew = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for one in crew:
            one.start()
        for one in crew:
            one.join()
    results.put((sum(settled), [seconds for each in claims for seconds in each]))


def asked(store: Store, run: int, pairs: int, order: random.Random, claims: list[float]) -> int:
    """One thread: claim and settle until all pairs are known; how many it was told to ask."""
    left = [sha256(str(number).encode()).digest() for number in range(pairs)]
    order.shuffle(left)
    paid = 0
    while left:
        wanted, left = left[:A_CALL], left[A_CALL:]
        started = time.perf_counter()
        claim = store.claim([(ASKED, item) for item in wanted])
        claims.append(time.perf_counter() - started)
        if claim.mine:
            attempt = store.begin(run, "extract", "m", Spending(1, 400, 60, 1e-4))
            store.settle(attempt, "done", Spending(1, 400, 60, 1e-4), {pair: StoredAnswer(1.0) for pair in claim.mine})
            paid += len(claim.mine)
        left += [item for _, item in claim.theirs]
    return paid


def contend(place: str, pairs: int, processes: int, threads: int, seed: int) -> tuple[int, list[float], float]:
    """Answers paid for, seconds of each claim, and seconds in all."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    crew = [context.Process(target=worker, args=(place, pairs, threads, seed * 100 + n, results)) for n in range(processes)]
    started = time.perf_counter()
    for one in crew:
        one.start()
    found = [results.get() for _ in crew]
    seconds = time.perf_counter() - started
    for one in crew:
        one.join()
    return sum(paid for paid, _ in found), [each for _, claims in found for each in claims], seconds


def measure(name: str, new: Callable[[int], str], options: argparse.Namespace) -> None:
    """Print a row of the table."""
    twice, claims, rates = [], [], []
    for run in range(options.runs):
        paid, times, seconds = contend(new(run), options.pairs, options.processes, options.threads, run)
        twice.append(paid - options.pairs)
        claims += times
        rates.append(options.pairs / seconds)
    median, late = np.quantile(claims, [0.5, 0.99]) * 1e3
    counted = f"{sum(twice):12} of {options.runs * options.pairs:8}"
    print(f"{name:24} {options.runs:4} {counted} {len(claims):8} {median:9.1f} {late:9.1f} {np.median(rates):10.0f}", flush=True)


def main() -> None:
    """Measure both stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=16)
    options = parser.parse_args()
    print(f"{'store':24} {'runs':>4} {'paid twice':>12} {'':11} {'claims':>8} {'median ms':>9} {'p99 ms':>9} {'answers/s':>10}")
    with tempfile.TemporaryDirectory(prefix="genz-fleet-") as folder:
        measure("file (SQLite)", lambda run: str(Path(folder, f"{run}.sqlite")), options)
    if why := missing():
        sys.exit(why)
    for name, how in (("PostgreSQL", ("-c", "fsync=on")), ("PostgreSQL, no fsync", ())):
        with PostgresServer(*how) as server:
            measure(name, lambda run: server.database(f"run{run}"), options)


if __name__ == "__main__":
    main()
