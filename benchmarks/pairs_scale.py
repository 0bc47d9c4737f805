"""One epoch of the two-item model on many pairs: time and memory, and whether twice the pairs take twice the time.

    python benchmarks/pairs_scale.py                              # 20 000 x 6 000 items, 5 and 10 million pairs

The pairs are made (16 dimensions, noise 0.5); each number of pairs runs in a process of its own, on one thread. Seconds are of
the processor, which other work on the machine changes little; memory is the most the process ever held, making the pairs too.
"""

from __future__ import annotations

import argparse
import resource
import time
from multiprocessing import get_context

import numpy as np
import torch

from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.fit import factorise, train, with_features
from genz_ppl.inference.pairs.training import PairTensors
from genz_ppl.settings import PairSettings

NOISE = 0.5
CHUNK = 1 << 20


def made(n_pairs: int, n_rows: int, n_columns: int, dimensions: int) -> tuple[PairTensors, list[torch.Tensor]]:
    """Pairs of random items, and answers of 10 row and 10 column features that the embeddings partly follow."""
    random = np.random.default_rng(0)
    answers = [torch.from_numpy((random.random((n, 10)) < 0.3).astype(np.float64)) for n in (n_rows, n_columns)]
    y = [h @ torch.from_numpy(0.3 * random.normal(size=(10, dimensions))) for h in answers]
    y = [one + torch.from_numpy(0.3 * random.normal(size=tuple(one.shape))) for one in y]
    rows, columns = (torch.from_numpy(random.integers(0, n, n_pairs)) for n in (n_rows, n_columns))
    values = torch.from_numpy(NOISE * random.standard_normal((n_pairs, 1)))
    for start in range(0, n_pairs, CHUNK):
        chosen = slice(start, start + CHUNK)
        values[chosen, 0] += (y[0][rows[chosen]] * y[1][columns[chosen]]).sum(1)
    return PairTensors(rows, columns, values, n_rows, n_columns), answers


def run(case: tuple[int, int, int, int, int]) -> tuple[list[float], float, float]:
    """Processor seconds of each joint epoch, megabytes, and the noise that was found."""
    n_pairs, n_rows, n_columns, dimensions, epochs = case
    torch.set_num_threads(1)
    pairs, answers = made(n_pairs, n_rows, n_columns, dimensions)
    settings = PairSettings(dimensions=dimensions, epochs=epochs)
    times: list[float] = []
    with isolated(0):
        state = factorise(pairs, PairSettings(dimensions=dimensions, epochs=1))
        nothing = [torch.zeros(len(h), 0, dtype=torch.float64) for h in answers]
        state = with_features(state, (answers[0], answers[1]), (nothing[0], nothing[1]), settings)
        times.append(time.process_time())
        train(state, pairs, settings, lambda *_: times.append(time.process_time()))
        noise = float(state.model.likelihood.scale.detach())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return np.diff(times).tolist(), peak, noise


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", type=int, default=[5_000_000, 10_000_000])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--columns", type=int, default=6_000)
    parser.add_argument("--dimensions", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    print("| pairs | seconds an epoch | MB | noise found (0.5) |")
    print("|---|---|---|---|")
    for n_pairs in given.pairs:
        case = (n_pairs, given.rows, given.columns, given.dimensions, given.epochs)
        with get_context("spawn").Pool(1) as pool:
            (seconds, peak, noise) = pool.map(run, [case])[0]
        print(f"| {n_pairs} | {', '.join(f'{one:.1f}' for one in seconds)} | {peak:.0f} | {noise:.3f} |", flush=True)


if __name__ == "__main__":
    main()
