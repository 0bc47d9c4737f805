"""What the ceiling costs: its processor seconds beside those of the run that it ends, imports included.

    python benchmarks/ceiling.py binary made:500 made:60 examples/flats.csv houses:DIR

Every source in a process of its own, as `genz fit` would: scikit-learn is imported once. made:N is a table of N rows.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl import Items, discover
from genz_ppl.data import open_source

ROLES: dict[str, Any] = {"flats.csv": {"id": "flat", "target": ["rent"], "covariates": ["square_metres"]}}


def made(n_rows: int) -> pd.DataFrame:
    """Three numbers, a name and a note; y from two of them."""
    random = np.random.default_rng(0)
    table = pd.DataFrame({f"x{k}": random.normal(size=n_rows).round(2) for k in range(3)})
    table["district"] = random.choice(list("abcdef"), n_rows)
    table["note"] = random.choice(["quiet and sunny", "busy road", "view of a garden", "needs repair"], n_rows)
    table["y"] = table["x0"].gt(0) + 2.0 * table["district"].eq("c") + 0.5 * random.normal(size=n_rows)
    return table


def main() -> None:
    """A line a source."""
    if len(sys.argv) > 2:
        for source in sys.argv[1:]:
            subprocess.run([sys.executable, __file__, source], check=True)
        return
    kind, _, rest = sys.argv[1].partition(":")
    items = Items.from_frame(made(int(rest)), target="y") if kind == "made" else None
    if items is None:
        items = open_source(sys.argv[1], **ROLES.get(Path(sys.argv[1]).name, {}))
    run = discover(items, seed=0, likelihood="student_t" if kind == "houses" else "gaussian")
    before = time.process_time()
    found = run.ceiling
    spent = time.process_time() - before
    print(f"{kind}: {len(items)} items; run {before:.1f} s, ceiling {spent:.2f} s, {spent / before:.1%}; {found}", flush=True)


if __name__ == "__main__":
    main()
