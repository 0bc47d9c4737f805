"""A table of homes whose price three questions explain, for tests that steer a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

QUICK: dict[str, Any] = {"cycles": 1, "add": 3, "cut": 0}
ROLES: dict[str, Any] = {"text": ["colour", "size", "age"], "target": "price"}


def homes() -> pd.DataFrame:
    random = np.random.default_rng(3)
    table = pd.DataFrame(
        {
            "colour": random.choice(["red", "green", "blue"], 120),
            "size": random.choice(["small", "large", "huge"], 120),
            "age": random.choice(["old", "new"], 120),
        }
    )
    table["price"] = 3.0 * (table["colour"] == "red") + 2.0 * (table["size"] == "large") + 1.0 * (table["age"] == "old")
    table["price"] += 0.2 * random.normal(size=120)
    return table
