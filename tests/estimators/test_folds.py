"""What cross-validation costs with a served model: the answers of all folds are in one store."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fault_server import FaultServer
from replay import Replay

from genz_ppl import GenZRegressor, Items
from genz_ppl.llm.table import TableModel

pytest.importorskip("sklearn")

from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline


@pytest.mark.slow
def test_five_folds_share_their_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    random = np.random.default_rng(5)
    wordings = ["is sweet", "is loud", "is old", *(f"belongs to list {number}" for number in range(15))]
    ids = [f"thing{number}" for number in range(1500)]
    present = random.random((len(ids), len(wordings))) < random.uniform(0.25, 0.6, len(wordings))
    target = present[:, :3] @ np.array([2.0, -1.5, 1.0]) + 0.5 * random.normal(size=len(ids))
    table = pd.DataFrame({"id": ids, "name": [f"The {word}." for word in ids], "y": target})
    file = tmp_path / "wordings.jsonl"
    yes = [[ids[t] for t in np.flatnonzero(column)] for column in present.T]
    lines = [{"question": text, "yes": known} for text, known in zip(wordings, yes, strict=True)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    with FaultServer(Replay(Items.from_frame(table, id="id", target="y"), TableModel(file))) as server:

        def paid(name: str, folds: int) -> int:
            """Answers in a new store after one fit to all rows, or cross-validation."""
            served = {"base_url": server.base_url, "price": (3.0, 15.0), "workers": 2}
            search: dict[str, Any] = {"cycles": 2, "add": 3, "cut": 1, "settings": {"screen": 30, "proposals": 3}}
            model = GenZRegressor("openai:m", model_settings=served, store=str(tmp_path / name), **search)
            if folds:
                steps = make_pipeline(model, LinearRegression())
                assert cross_val_score(steps, table[["name"]], target, cv=folds).min() > 0.8
            else:
                model.fit(table[["name"]], target)
            with sqlite3.connect(tmp_path / name) as store:
                return int(store.execute("select count(*) from answers").fetchone()[0])

        five, one = paid("five.sqlite", 5), paid("one.sqlite", 0)
        assert five <= 1.3 * one, (five, one)  # apart they would be four fits to four fifths of the rows
        calls = len(server.requests)
        assert paid("five.sqlite", 5) == five
        assert len(server.requests) == calls
