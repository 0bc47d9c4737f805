"""What `--posterior nuts` takes on made data, whether its chains have met, and whether it finds the truth.

    python benchmarks/nuts.py                       # 500 training items, 8 features, 1 target
    python benchmarks/nuts.py --items 200 --features 4

Items have traits that move the target; the table says 5 % of them wrong. `genz fit … --inference enumeration --posterior nuts`
makes the run, in a process of its own. Seconds are of the whole command and, from its learning curve, of the last fit, which
is NUTS but for a second or two. R-hat (the largest) and effective sample sizes (the smallest of bulk and tail) are over effects,
error rates and noise; beside them how many true effects and error rates lie inside their 90 % intervals.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl import Discovery, Items
from genz_ppl.diagnostics.inference_data import to_inference_data
from genz_ppl.types import FloatArray

NOISE, WRONG, TEST_ITEMS = 0.5, 0.05, 100


def make(n_items: int, n_features: int, seed: int) -> tuple[pd.DataFrame, FloatArray, FloatArray]:
    """The table, what each trait adds to the target, (K,), and which of the traits of training items are said wrong, (T, K)."""
    random = np.random.default_rng(seed)
    total = n_items + TEST_ITEMS
    truth = random.random((total, n_features)) < random.uniform(0.25, 0.6, n_features)
    weights = random.choice([-1.0, 1.0], n_features) * random.uniform(0.5, 1.5, n_features)
    wrong = random.random(truth.shape) < WRONG
    target = truth @ weights + NOISE * random.normal(size=total)
    said = {f"trait{k}": np.where(truth[:, k] ^ wrong[:, k], "yes", "no") for k in range(n_features)}
    split = ["train"] * n_items + ["test"] * TEST_ITEMS
    frame = pd.DataFrame({"id": [f"i{t}" for t in range(total)], **said, "y": target, "split": split})
    return frame, weights, wrong[:n_items].astype(np.float64)


def fit(table: Path, out: Path, n_features: int, seed: int) -> tuple[float, float]:
    """Seconds, and seconds of the processor, of the command."""
    options = {"--id": "id", "--target": "y", "--split": "split", "--inference": "enumeration", "--posterior": "nuts"}
    options |= {"--max-features": str(n_features), "--seed": str(seed), "--out": str(out)}
    command = [sys.executable, "-m", "genz_ppl.cli.app", "fit", str(table), "--quiet", "--no-ceiling"]
    began, before = time.perf_counter(), _processor()
    subprocess.run([*command, *(part for option in options.items() for part in option)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, _processor() - before


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def inside(draws: Any, truth: FloatArray) -> int:
    """How many true values lie between the 5th and the 95th percentile of their draws, (chains, draws, K)."""
    lower, upper = np.quantile(np.asarray(draws), [0.05, 0.95], axis=(0, 1))
    return int(((lower <= truth) & (truth <= upper)).sum())


def row(frame: pd.DataFrame, weights: FloatArray, wrong: FloatArray, out: Path) -> str:
    """Of a run: seconds of the last fit, features that are traits, R-hat, effective sample size, what is inside the intervals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import arviz

    run = Discovery.load(out)
    fitted = run.fitted(Items.from_frame(frame, id="id", target="y", split="split"))
    posterior = to_inference_data(fitted).posterior
    table = arviz.summary(posterior, var_names=["effect", "p_e", "scale"], round_to="none")
    said = (frame.loc[frame["split"] == "train", [f"trait{k}" for k in range(len(weights))]] == "yes").to_numpy()
    answers = fitted.answers.numpy() == 1
    same = (answers[:, :, None] == said[:, None, :]).mean(0)  # (features, traits): 1 the trait, 0 its opposite
    found = [(k, int(np.abs(row - 0.5).argmax())) for k, row in enumerate(same) if row.max() == 1 or row.min() == 0]
    features, traits = [k for k, _ in found], [trait for _, trait in found]
    signs = np.where(same[features, traits] == 1, 1.0, -1.0)
    effects = inside(posterior["effect"][..., features], signs * weights[traits])
    rates = inside(posterior["p_e"][..., features], wrong[:, traits].mean(0))
    size = table[["ess_bulk", "ess_tail"]].to_numpy().min()
    seconds = run.curve["seconds"].diff().iloc[-1]
    chains = f"{posterior.sizes['chain']} x {posterior.sizes['draw']} | {table['r_hat'].max():.3f} | {size:.0f}"
    return f"| {seconds:.0f} | {len(found)} of {len(weights)} | {chains} | {effects} of {len(found)} | {rates} of {len(found)} |"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("items", 500), ("features", 8), ("seed", 0)):
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default {default}")
    arguments = parser.parse_args()
    frame, weights, wrong = make(arguments.items, arguments.features, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        table, out = Path(folder) / "items.csv", Path(folder) / "run"
        frame.to_csv(table, index=False)
        seconds, processor = fit(table, out, arguments.features, arguments.seed)
        threads = os.environ.get("OMP_NUM_THREADS", f"{os.cpu_count()}")
        print(f"{arguments.items} items, {arguments.features} features, 1 target; seed {arguments.seed}; threads: {threads}\n")
        print("| seconds | of a processor | last fit | traits found | draws | R-hat | ESS | effects inside | p_e inside |")
        print("|---|---|---|---|---|---|---|---|---|")
        print(f"| {seconds:.0f} | {processor:.0f} {row(frame, weights, wrong, out)}")


if __name__ == "__main__":
    main()
