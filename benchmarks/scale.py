"""How reading, answers and one addition grow with the number of items.

    python benchmarks/scale.py                            # 100 000 items
    python benchmarks/scale.py --items 1000000 --only read rules
    python benchmarks/scale.py --items 10000000 --only known --memory 2GB
    python benchmarks/scale.py --items 200000 --only same

A file has an id, six columns to read (two numbers, a date, three of names and codes), a text of 30 words and a target. A line of
the table is a process of its own: seconds of the processor, the most memory it held beyond what it held before, and what it holds
in the end, both in MB and in bytes an item without the text itself.

read: `Items.from_csv`. table: `TableModel` with 40 questions reads its file and answers all of them about all items. mentions: 20
questions about the words of the text. rules: `discover` with one addition and its last fit, from a file to a run directory.
known: the same of a parquet file with 32 targets and a table of 40 questions, of which 8 move them, with 8 additions.
same: that run in float32, as with millions of items, and in float64; the largest relative differences.
"""

from __future__ import annotations

import argparse
import gc
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from genz_ppl import Discovery, Items, discover
from genz_ppl.data import extract, typed_files
from genz_ppl.data import items as data_items
from genz_ppl.inference import packed
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.llm.table import TableModel

N_WORDS, N_QUESTIONS, VOCABULARY = 30, 40, 3000
N_TARGETS, N_TRUE = 32, 8
# On the files of `make_known`.
ALIKE = ("known", "same")


def make(folder: Path, n_items: int) -> None:
    """Write items.csv and table.csv."""
    random = np.random.default_rng(0)
    words = np.array([f"{first}{second}{third}" for first in "bdfglmnprst" for second in ("ae", "io", "ou") for third in _ends()])
    words = words[:VOCABULARY]
    chance = 1.0 / np.arange(3, len(words) + 3)
    chosen = random.choice(len(words), size=(n_items, N_WORDS), p=chance / chance.sum())
    area, year = np.round(random.gamma(8.0, 15.0, n_items), 1), random.integers(1900, 2024, n_items)
    roof, zipcode = random.choice(["tile", "slate", "flat", "wood"], n_items), random.integers(10_000, 10_400, n_items)
    days = (np.datetime64("2015-01-01") + random.integers(0, 3000, n_items)).astype(str)
    likes = (chosen == 40).any(axis=1)
    target = 0.02 * area + (roof == "slate") + 2.0 * likes + random.normal(size=n_items)
    frame = pd.DataFrame({"key": [f"house-{row}" for row in range(n_items)], "area": area, "built": year, "roof": roof})
    frame["zipcode"], frame["sold"], frame["heating"] = zipcode, days, random.choice(["gas", "oil", "wood", "none"], n_items)
    frame["text"] = [" ".join(row) for row in words[chosen]]
    frame["price"] = np.round(target, 3)
    frame.to_csv(folder / "items.csv", index=False)
    answers = (random.random((n_items, N_QUESTIONS)) < 0.4).astype(np.int8)
    table = pd.DataFrame(answers, columns=[f"has attribute {number}" for number in range(N_QUESTIONS)])
    table.insert(0, "key", frame["key"])
    table.to_csv(folder / "table.csv", index=False)


def make_known(folder: Path, n_items: int) -> None:
    """Write known.parquet and known.csv, a part at a time; three answers in a hundred are wrong."""
    random, texts = np.random.default_rng(0), [f"has attribute {number}" for number in range(N_QUESTIONS)]
    weights = random.normal(size=(N_TRUE, N_TARGETS)) * np.where(random.random((N_TRUE, N_TARGETS)) < 0.4, 0.5, 0.0)
    writer = None
    for start in range(0, n_items, 100_000):
        key = [f"thing-{row}" for row in range(start, min(n_items, start + 100_000))]
        z = (random.random((len(key), N_QUESTIONS)) < 0.4).astype(np.int8)
        y = (z[:, :N_TRUE] @ weights + random.normal(size=(len(key), N_TARGETS))).astype(np.float32)
        kinds = np.array(["a lamp", "a chair", "a table"])[random.integers(0, 3, len(key))]
        part = pyarrow.table({"key": key, "kind": kinds, **{f"y{number}": column for number, column in enumerate(y.T)}})
        writer = pyarrow.parquet.ParquetWriter(folder / "known.parquet", part.schema) if writer is None else writer
        writer.write_table(part)
        answers = pd.DataFrame(np.where(random.random(z.shape) < 0.03, 1 - z, z), columns=texts)
        answers.insert(0, "key", key)
        answers.to_csv(folder / "known.csv", index=False, mode="a", header=start == 0)
    if writer is not None:
        writer.close()


def _ends() -> list[str]:
    return [one + other + last for one in "bdgklmnprst" for other in "aeiou" for last in ("l", "n", "r")]


def read(folder: Path) -> Items:
    """Items of the file."""
    return Items.from_csv(folder / "items.csv", id="key", target="price")


def table(folder: Path) -> object:
    """Answers of a table to all of its questions."""
    items, model = read(folder), TableModel(folder / "table.csv")
    return model.answer(items, list(model.texts))


def mentions(folder: Path) -> object:
    """Answers of the rules to questions about words."""
    words = [f"text mentions '{first}ae{last}'" for first in "bdfgl" for last in ("bal", "ban", "bar", "bel")]
    return RulesModel().answer(read(folder), words)


def rules(folder: Path) -> object:
    """One addition of a run."""
    with tempfile.TemporaryDirectory() as out:
        run = discover(read(folder), "rules", add=1, cycles=1, cut=0, out=Path(out) / "run", progress=False)
        for file in sorted((Path(out) / "run").iterdir()):
            print(f"    {file.name}: {file.stat().st_size / 1e6:.2f} MB", file=sys.stderr)
    print("   ", run.features[["text", "gain"]].to_string(header=False, index=False), file=sys.stderr)
    return run


def known(folder: Path, **more: Any) -> Discovery:
    """Eight additions of a run on a table of answers. more: settings."""
    items = Items.from_parquet(folder / "known.parquet", id="key", target="y*", memory=MEMORY)
    with tempfile.TemporaryDirectory() as out:
        options: dict[str, Any] = {"link": "linear", "likelihood": "gaussian", "combine": 1, "add": N_TRUE, "cycles": 1, "cut": 0}
        run = discover(items, f"table:{folder / 'known.csv'}", out=Path(out) / "run", progress=False, **options | more)
    print("   ", run.features[["text", "gain", "effect"]].to_string(header=False, index=False), file=sys.stderr)
    return run


def same(folder: Path) -> object:
    """The known run in float64 and in float32."""
    runs = []
    for large in (sys.maxsize, 0):
        for module in (data_items, extract, typed_files, packed):
            module.LARGE = large  # type: ignore[attr-defined]
        runs.append(known(folder, sample=20_000))
    usual, narrow = runs
    assert list(usual.features["text"]) == list(narrow.features["text"])
    for name in ("gain", "effect", "effect_lower", "effect_upper", "p_e", "prevalence"):
        print(f"    {name}: {_apart(usual.features[name], narrow.features[name]):.1e}", flush=True)
    for side in ("test", "r2", "improvement"):
        print(f"    {side}: {_apart(usual.progress.outcome[side], narrow.progress.outcome[side]):.1e}", flush=True)
    q = np.abs(usual.posterior.to_numpy() - narrow.posterior.to_numpy()).max()
    print(f"    posterior, absolute: {q:.1e}", flush=True)
    return runs


def _apart(one: Any, other: Any) -> float:
    """The largest relative difference."""
    return float(np.max(np.abs(np.asarray(other) / np.asarray(one) - 1)))


WHAT: dict[str, Callable[[Path], object]] = {
    **{"read": read, "table": table, "mentions": mentions, "rules": rules, "known": known, "same": same}
}
# Of `Items.from_parquet`, by --memory.
MEMORY: str | None = None


def measure(what: str, folder: Path, n_items: int) -> None:
    """Print a line of the table."""
    text = 0 if what in ALIKE else int(pd.read_csv(folder / "items.csv", usecols=["text"])["text"].str.len().sum())
    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    held_before = held()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    begun = time.process_time()
    found = WHAT[what](folder)
    seconds, peak = time.process_time() - begun, most_held()
    gc.collect()
    pyarrow.default_memory_pool().release_unused()
    beyond = [value - held_before for value in (peak, held())]
    each = " | ".join(f"{value / 1e6:.0f} | {(value - text) / n_items:.0f}" for value in beyond)
    print(f"| {what} | {n_items} | {seconds:.1f} | {1e6 * seconds / n_items:.1f} | {each} |", flush=True)
    del found


def held() -> int:
    """The bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def most_held() -> int:
    """The most bytes since the peak was set back."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000, help="default 100000")
    parser.add_argument("--only", nargs="*", choices=list(WHAT), default=list(WHAT), help="default: all")
    parser.add_argument("--folder", type=Path, help="where the files are, or are made; default: a folder that is thrown away")
    parser.add_argument("--memory", help="such as 2GB: see Items.from_file")
    parser.add_argument("--alone", choices=list(WHAT), help=argparse.SUPPRESS)
    options = parser.parse_args()
    global MEMORY
    MEMORY = options.memory
    if options.alone is not None:
        measure(options.alone, options.folder, options.items)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "table.csv").exists() and not {*options.only} <= {*ALIKE}:
            make(folder, options.items)
        if not (folder / "known.csv").exists() and {*options.only} & {*ALIKE}:
            make_known(folder, options.items)
        print("| what | items | seconds | µs an item | most MB | bytes an item | MB in the end | bytes an item |")
        print("|---|---|---|---|---|---|---|---|")
        for what in options.only:
            command = [sys.executable, __file__, "--items", str(options.items), "--folder", str(folder), "--alone", what]
            command += ["--memory", options.memory] if options.memory else []
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
