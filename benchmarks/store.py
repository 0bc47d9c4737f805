"""The store of answers when it is large: look-ups, whole calls, and the size of the file.

    python benchmarks/store.py                        # ten million answers, under a minute to build, 0.3 GB
    python benchmarks/store.py --answers 1000000 --folder /var/tmp

Builds a store of `--answers` answers to 50 questions in a temporary folder, and times look-ups of 100 000 pairs (medians of
`--repeats`; cold: in a process of its own, the file dropped from memory where the system allows that; warm: in an open
store), and claim, begin and settle of calls with one and with 80 new pairs, on an empty store and on the large one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.rows import answer_row
from genz_ppl.llm.store.schema import open_store
from genz_ppl.llm.store.store import AnswerStore, Pair, Question, StoredAnswer

QUESTIONS = 50
LOOKED_UP = 100_000
CALL = Spending(calls=1, tokens_in=400, tokens_out=60, cost=1e-4)
ANSWERS = (StoredAnswer(0.0), StoredAnswer(1.0))


def item(number: int) -> bytes:
    """The hash of an item."""
    return sha256(str(number).encode()).digest()


def question(number: int) -> Question:
    """A question as a run would ask it."""
    return Question(f"Is it of kind {number}?", "model", "https://api/v1", "extract_many 1-0123abcd", '{"temperature":null}')


def build(path: Path, answers: int) -> float:
    """Write the answers in the order of the table, past the journal; returns the seconds."""
    started = time.perf_counter()
    AnswerStore(path).close()
    connection = open_store(path)
    connection.execute("PRAGMA synchronous = OFF")
    items = [item(number) for number in range(answers // QUESTIONS)]
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO items VALUES (?, ?)", enumerate(items, 1))
    for number in range(1, QUESTIONS + 1):
        asked = question(number)
        connection.execute("INSERT INTO questions VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (number, asked.digest, *asked.columns))
        rows = (answer_row((number, at), (asked, each), ANSWERS[each[number % 32] % 2], 1) for at, each in enumerate(items, 1))
        connection.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    connection.close()
    return time.perf_counter() - started


def look_up(store: AnswerStore, numbers: Sequence[int], items: Sequence[int]) -> float:
    """Seconds of a look-up; what comes back is checked."""
    questions, names = [question(number) for number in numbers], [item(each) for each in items]
    started = time.perf_counter()
    values, known = store.lookup(questions, names)
    seconds = time.perf_counter() - started
    assert known.all()
    assert np.array_equal(values, [[name[number % 32] % 2 for number in numbers] for name in names])
    return seconds


def fresh_look_up(path: Path, numbers: Sequence[int], items: Sequence[int], queue: Any) -> None:
    """Put the seconds of opening the store and of the look-up into the queue."""
    started = time.perf_counter()
    store = AnswerStore(path)
    opened = time.perf_counter() - started
    queue.put(opened + look_up(store, numbers, items))


def in_own_process(path: Path, numbers: Sequence[int], items: Sequence[int]) -> float:
    """`fresh_look_up` in a process of its own, the file dropped from memory before."""
    if hasattr(os, "posix_fadvise"):
        file = os.open(path, os.O_RDWR)
        os.fsync(file)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=fresh_look_up, args=(path, numbers, items, queue))
    process.start()
    seconds: float = queue.get()
    process.join()
    return seconds


def call(store: AnswerStore, run: int, pairs: Sequence[Pair]) -> tuple[float, float, float]:
    """Seconds of claim, begin and settle of one call."""
    times = [time.perf_counter()]
    mine = store.claim(pairs).mine
    times.append(time.perf_counter())
    attempt = store.begin(run, "extract", "model", CALL)
    times.append(time.perf_counter())
    store.settle(attempt, "done", CALL, dict.fromkeys(mine, ANSWERS[1]))
    times.append(time.perf_counter())
    assert len(mine) == len(pairs)
    return times[1] - times[0], times[2] - times[1], times[3] - times[2]


def calls(store: AnswerStore, first: int, n_items: int, n_questions: int, count: int) -> str:
    """Microseconds a call: the medians of claim, begin and settle, and the mean of all three, on new items."""
    run = store.open_run(None, fresh=True)
    asked = [question(number) for number in range(1, n_questions + 1)]
    groups = [[item(first + at * n_items + each) for each in range(n_items)] for at in range(count)]
    times = [call(store, run, [(each, name) for name in names for each in asked]) for names in groups]
    parts = [statistics.median(part) * 1e6 for part in zip(*times, strict=True)]
    whole = statistics.fmean(sum(each) for each in times) * 1e6
    return f"{parts[0]:.0f} | {parts[1]:.0f} | {parts[2]:.0f} | {whole:.0f}"


def main() -> None:
    """Build, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1000, help="of each kind")
    parser.add_argument("--folder", default=None, help="where the temporary folder is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / "answers.sqlite"
        n_items = arguments.answers // QUESTIONS
        seconds = build(path, arguments.answers)
        size = path.stat().st_size
        print(
            f"{n_items * QUESTIONS} answers: {n_items} items, {QUESTIONS} questions; built in {seconds:.0f} s, "
            f"{size / 1e6:.0f} MB, {size / max(n_items * QUESTIONS, 1):.1f} bytes an answer\n"
        )
        measure_look_ups(path, n_items, arguments.repeats)
        measure_calls(path, Path(folder) / "empty.sqlite", n_items, arguments.calls)


def measure_look_ups(path: Path, n_items: int, repeats: int) -> None:
    """Print the table of look-ups: few items and all questions, many items and few questions."""
    print("| look-up | seconds, cold | seconds, warm |\n|---|---|---|")
    for n_questions in (QUESTIONS, 5, 1):
        numbers, wanted = range(1, n_questions + 1), min(LOOKED_UP // n_questions, n_items)
        samples = [np.random.default_rng(repeat).choice(n_items, wanted, replace=False).tolist() for repeat in range(repeats + 1)]
        cold = statistics.median(in_own_process(path, numbers, sample) for sample in samples[1:])
        with AnswerStore(path) as store:
            look_up(store, numbers, samples[0])
            warm = statistics.median(look_up(store, numbers, sample) for sample in samples[1:])
        print(f"| {wanted} items x {n_questions} questions | {cold:.2f} | {warm:.2f} |", flush=True)


def measure_calls(large: Path, empty: Path, n_items: int, count: int) -> None:
    """Print the table of calls."""
    print("\n| store | pairs a call | claim, µs | begin | settle | all three, mean |\n|---|---|---|---|---|---|")
    for name, path in (("empty", empty), ("large", large)):
        with AnswerStore(path) as store:
            for size, (items, questions) in enumerate(((1, 1), (10, 8))):
                first = n_items * (size + 1) + 10_000_000
                print(f"| {name} | {items} x {questions} | {calls(store, first, items, questions, count)} |", flush=True)


if __name__ == "__main__":
    main()
