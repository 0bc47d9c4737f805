"""Whether a change of the code changed what runs find: the same small runs by two commits on this machine.

    python benchmarks/golden_runs.py --against main~3          # that commit beside the working tree
    python benchmarks/golden_runs.py --against main~3 --data ../shared/data/houses/Houses-dataset

Each run is made twice, by a checkout of the other commit and by the tree at hand, in processes of their own on one thread. Said
for each: whether the state files are equal to the last bit, whether the questions are, and the relative difference of the bounds.
Ends with exit code 1 where questions differ or a bound by more than `--tolerance` (0: any difference of the states counts).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent
LIKELIHOODS = ("gaussian", "student_t", "bernoulli")


def made_frame(n_items: int = 160, seed: int = 0) -> pd.DataFrame:
    """Items with a colour, a size and two words, targets of several kinds, and a group."""
    random = np.random.default_rng(seed)
    colour, size = random.choice(["red", "green", "blue"], n_items), random.integers(1, 9, n_items)
    words = [" ".join(random.choice(["oak", "steel", "glass", "stone", "paper"], 2, replace=False)) for _ in range(n_items)]
    clean = 2.0 * (colour == "red") - 1.5 * (size > 5) + np.array(["oak" in text for text in words])
    value = clean + 0.4 * random.normal(size=n_items)
    return pd.DataFrame(
        {"id": [f"i{t}" for t in range(n_items)], "colour": colour, "size": size, "made_of": words, "y": value}
        | {"other": 0.5 * clean + random.normal(size=n_items), "above": (value > 0).astype(float)}
        | {"x": random.normal(size=n_items), "shop": random.choice(["a", "b", "c", "d"], n_items)}
    )


def plain() -> dict[str, Any]:
    """The paper's model, in commits whose defaults are another."""
    from genz_ppl.settings import DiscoverSettings

    known = DiscoverSettings.__dataclass_fields__
    return {name: value for name, value in (("calibration", 0.0), ("shrinkage", False)) if name in known}


def discovered(**settings: Any) -> Callable[[Path], None]:
    """A discovery run on the made items."""

    def run(folder: Path) -> None:
        from genz_ppl import Items, discover

        columns: dict[str, Any] = {"id": "id", "covariates": ["x"]}
        target = ["above"] if settings.get("likelihood") == "bernoulli" else settings.pop("target", ["y"])
        if settings.pop("varying", False):
            columns["varying"] = "shop"
        frame = made_frame()[["id", "colour", "size", "made_of", "x", "shop", *target]]
        discover(Items.from_frame(frame, target=target, **columns), out=folder, cycles=1, add=3, seed=1, **plain(), **settings)

    return run


def world(folder: Path) -> None:
    """A world of 40 possible features."""
    from worlds import WORLDS, make

    from genz_ppl import discover

    items, oracle, _ = make(WORLDS["40"], 0)
    discover(items, oracle, out=folder, seed=0, cycles=1, **plain())


def pairs(folder: Path) -> None:
    """Two kinds of items."""
    from genz_ppl import Items, cooccur

    random = np.random.default_rng(3)
    rows, columns = (made_frame(60, seed)[["id", "colour", "size", "made_of"]] for seed in (1, 2))
    strength = np.outer(rows["colour"] == "red", columns["size"] > 4) - 0.5 + 0.3 * random.normal(size=(60, 60))
    table = pd.DataFrame(strength, index=rows["id"], columns=columns["id"]).rename_axis(columns="column").stack().reset_index()
    sides = [Items.from_frame(side, id="id", require_target=False) for side in (rows, columns)]
    facts = {"error_rate_prior": (1.0, 1e6), **plain()}
    cooccur(sides[0], sides[1], table, out=folder, dimensions=2, rounds=1, epochs=20, cycles=1, add=2, cut=0, seed=0, **facts)


def houses(folder: Path) -> None:
    """The houses without pictures, where the data are."""
    from genz_ppl import discover
    from genz_ppl.data import open_source

    items = open_source(f"houses:{os.environ['GOLDEN_HOUSES']}")
    discover(items, out=folder, likelihood="student_t", cycles=1, seed=0, **plain())


RUNS: dict[str, Callable[[Path], None]] = {
    f"{inference} {likelihood}": discovered(inference=inference, likelihood=likelihood, **limit)
    for inference, limit in (("coordinate", {}), ("svi", {}), ("enumeration", {"max_features": 4}))
    for likelihood in LIKELIHOODS
}
RUNS |= {
    "structured gaussian": discovered(inference="structured"),
    "interaction laplace": discovered(link="interaction", likelihood="laplace"),
    "neural gaussian": discovered(link="neural"),
    "two targets, groups": discovered(target=["y", "other"], varying=True),
    "world": world,
    "pairs": pairs,
}


def made(name: str, folder: Path) -> None:
    """Make one run and print what it found as JSON."""
    import torch

    torch.set_num_threads(1)
    (RUNS | {"houses": houses})[name](folder)
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.safetensors")):
        digest.update(file.read_bytes())
    curve = pd.read_csv(sorted(folder.rglob("curve.csv"))[-1])
    tables = [pd.read_csv(file) for file in sorted(folder.rglob("features.csv"))]
    texts = [text for table in tables for text in table.loc[table["active"].astype(bool), "text"]]
    print(json.dumps({"state": digest.hexdigest(), "bound": float(curve["bound"].iloc[-1]), "texts": texts}))


def by(tree: Path, name: str) -> dict[str, Any]:
    """The same by the code in a folder."""
    environment = os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'benchmarks'}", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(Path(__file__).resolve()),
            "--make",
            name,
            "--out",
            str(Path(folder) / "run"),
        ]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{name} by {tree}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'failed'}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(against: str, names: list[str], tolerance: float) -> int:
    """Print the table; the number of runs that differ too much."""
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        subprocess.run(["git", "-C", str(REPOSITORY), "worktree", "add", "--detach", "-q", str(other), against], check=True)
        try:
            print("| run | states | questions | bound, relative difference |\n|---|---|---|---|")
            for name in names:
                old, new = by(other, name), by(REPOSITORY, name)
                apart = abs(new["bound"] - old["bound"]) / max(1.0, abs(old["bound"]))
                equal, same = new["state"] == old["state"], new["texts"] == old["texts"]
                wrong += not same or apart > tolerance or (tolerance == 0 and not equal)
                print(
                    f"| {name} | {'equal' if equal else 'differ'} | {'equal' if same else 'differ'} | {apart:.1e} |", flush=True
                )
        finally:
            subprocess.run(["git", "-C", str(REPOSITORY), "worktree", "remove", "--force", str(other)], check=True)
    return wrong


def main() -> None:
    """Compare two commits, or (for its own use) make one run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="a commit")
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--data", help="the folder of the houses, for one run more")
    parser.add_argument("--tolerance", type=float, default=0.0, help="of the bounds, relative; 0: states are equal")
    parser.add_argument("--make", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        made(arguments.make, arguments.out)
        return
    if not arguments.against:
        parser.error("--against: name a commit")
    names = list(arguments.runs)
    if arguments.data:
        os.environ["GOLDEN_HOUSES"] = str(Path(arguments.data).resolve())
        names.append("houses")
    sys.exit(min(1, compare(arguments.against, names, arguments.tolerance)))


if __name__ == "__main__":
    main()
