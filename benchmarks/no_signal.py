"""Small tables without a signal, asked about by `rules`: in how many runs is a question kept?

    python benchmarks/no_signal.py --kinds plain yes-no classes auto interaction --seeds 100
    python benchmarks/no_signal.py --other --kinds plain yes-no classes --rows 300 --seeds 100

200 rows: two columns of names, two of whole numbers, a text of three words, a number. y is noise (`plain`; `yes-no`, 40 % yes;
`classes`, three), or noise and half of the number, a covariate (`auto`, and with that link `interaction`); all else defaults.
--other: tables of other columns, a measured number, rooms, years, names of twelve and of four, a text of more words.
"""

from __future__ import annotations

import argparse
import os
import warnings

import numpy as np
import pandas as pd

from genz_ppl import discover

KINDS = ("plain", "yes-no", "classes", "auto", "interaction")
COVARIATE = ("auto", "interaction")
WORDS = ("old", "new", "oak", "pine", "tall", "dark", "soft")
MORE_WORDS = (*WORDS, "warm", "red", "thin", "wide", "cold")


def table(kind: str, seed: int, rows: int) -> pd.DataFrame:
    """One table."""
    random = np.random.default_rng([seed, 77])
    frame = pd.DataFrame(
        {
            "key": [f"k{row}" for row in range(rows)],
            "colour": random.choice(["red", "green", "blue"], rows),
            "size": random.integers(0, 10, rows),
            "shop": random.choice(list("abcdef"), rows),
            "age": random.integers(0, 80, rows),
            "note": [" ".join(random.choice(WORDS, 3)) for _ in range(rows)],
            "area": random.normal(size=rows),
        }
    )
    if kind == "yes-no":
        return frame.assign(y=random.choice(["no", "yes"], rows, p=[0.6, 0.4]))
    if kind == "classes":
        return frame.assign(y=random.choice(["low", "middle", "top"], rows))
    return frame.assign(y=random.normal(size=rows) + (0.5 * frame["area"] if kind in COVARIATE else 0.0))


def other_table(kind: str, seed: int, rows: int) -> pd.DataFrame:
    """One table of other columns, without a covariate."""
    random = np.random.default_rng([seed, 9157])
    frame = pd.DataFrame(
        {
            "key": [f"k{row}" for row in range(rows)],
            "weight": random.gamma(2, 1, rows).round(3),
            "rooms": random.integers(1, 8, rows),
            "year": random.integers(1900, 2020, rows),
            "town": random.choice([f"t{number}" for number in range(12)], rows),
            "make": random.choice(["a", "b", "c", "d"], rows),
            "note": [" ".join(random.choice(MORE_WORDS, 3)) for _ in range(rows)],
        }
    )
    drawn = (random.normal(size=rows), random.choice(["no", "yes"], rows, p=[0.6, 0.4]), random.choice(["a", "b", "c"], rows))
    return frame.assign(y=drawn[("plain", "yes-no", "classes").index(kind)])


def kept(kind: str, seed: int, rows: int, other: bool) -> list[str]:
    """The questions of one run."""
    frame, covariates = (other_table if other else table)(kind, seed, rows), ["area"] if kind in COVARIATE else None
    link = "interaction" if kind == "interaction" else "auto"
    found = discover(frame, id="key", target="y", covariates=covariates, link=link, seed=seed, progress=False).features
    return list(found.loc[found["active"], "text"]) if len(found) else []


def main() -> None:
    """See the text at the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--other", action="store_true", help="tables of other columns, without a covariate")
    options = parser.parse_args()
    if options.other and set(options.kinds) & set(COVARIATE):
        parser.error("--other: expected --kinds of plain, yes-no and classes: these tables have no covariate")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")
    for kind in options.kinds:
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        found = {seed: texts for seed in seeds if (texts := kept(kind, seed, options.rows, options.other))}
        print(f"{kind}: questions kept in {len(found)} of {options.seeds} runs", *found.items(), sep="\n  ", flush=True)


if __name__ == "__main__":
    main()
