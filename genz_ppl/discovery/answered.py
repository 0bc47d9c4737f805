"""Questions that are answered already, in parquet files that need not fit into memory: chosen, fitted and written down."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from genz_ppl.alone import alone
from genz_ppl.data.columns import as_names, expanded
from genz_ppl.discovery.run.folder import METRICS_FILE, json_of
from genz_ppl.discovery.run.tables import csv_of
from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.blockwise.files import digest_of, marks_of
from genz_ppl.inference.blockwise.measures import BlockMeasures, measure_blocks
from genz_ppl.inference.blockwise.parts import NAMES_FILE, blocks_from, column_names, parts_in
from genz_ppl.inference.blockwise.runners import Runner
from genz_ppl.inference.blockwise.search import BlockSearch, OnEvent, SearchRules, search_blocks
from genz_ppl.output import in_one_stroke

SEARCH_FILE, PARAMETERS_FILE = "search.json", "parameters.npz"


@dataclass(frozen=True)
class AnsweredColumns:
    """Names or patterns of columns, as everywhere: "y*", "y0:y49". questions: of answers; the others as in `Items`."""

    questions: Sequence[str]
    targets: Sequence[str]
    covariates: Sequence[str] = ()

    def of(self, part: Path) -> AnsweredColumns:
        """By name, as a table has them. Raises OptionError where one would be two things, or none is a question or a target."""
        try:
            columns = pq.read_schema(part).names
        except (OSError, ValueError) as error:
            raise InputError(f"{part}: cannot be read as parquet ({' '.join(str(error).split())})") from None
        found = replace(self, **{name: expanded(as_names(some), columns) for name, some in asdict(self).items()})
        for name in ("questions", "targets"):
            if not getattr(found, name):
                raise OptionError(f"{name}: expected at least one column, got none; name some")
        every = [*found.questions, *found.targets, *found.covariates]
        twice = next((name for name in every if every.count(name) > 1), None)
        if twice is not None:
            raise OptionError(f"{twice!r}: is named twice among questions, targets and covariates; name every column once")
        return found


@dataclass(frozen=True)
class AnsweredSearch:
    """What was found. features: a row for every question; metrics: as in metrics.json; found: the search itself."""

    features: pd.DataFrame
    metrics: dict[str, Any]
    found: BlockSearch


def search_answered(
    source: str | Path,
    out: str | Path,
    columns: AnsweredColumns,
    runner: Runner,
    test: str | Path | None = None,
    rules: SearchRules | None = None,
    sample: int | None = None,
    seed: int = 0,
    error_rate_prior: tuple[float, float] = (1.0, 9.0),
    on_event: OnEvent | None = None,
) -> AnsweredSearch:
    """Choose among answered questions those that explain the targets, and write what was found into a new folder.

    source: a .parquet file, or a folder of them; test: another, of items to test on. out: gets features.csv, curve.csv,
    metrics.json and parameters.npz; beside them, while it works, blocks of what it reads and 16 bytes an item and question for q.
    A search that was stopped goes on when it is called again. The others: see `search_blocks`.
    Raises InputError and OptionError for columns and numbers that cannot be used, and for a folder that holds something else,
    RunDirectoryError while another process works there.
    """
    folder, rules, started = Path(out), rules or SearchRules(), time.monotonic()
    parts = parts_in(source)
    columns = columns.of(parts[0])
    asked = {"columns": asdict(columns), "rules": asdict(rules), "sample": sample, "seed": seed, "prior": error_rate_prior}
    tested = [] if test is None else parts_in(test)
    mark = digest_of([asked, marks_of(parts), marks_of(tested)])
    with alone(folder):
        fresh = _begun(folder, mark)
        try:
            sides = {"train": _blocks(source, folder / "working" / "train", columns)}
            if test is not None:
                sides["test"] = _blocks(test, folder / "working" / "test", columns)
        except InputError:
            if fresh:  # nothing was done: the same folder may be named again
                shutil.rmtree(folder, ignore_errors=True)
            raise
        found = search_blocks(
            sides["train"], rules, runner, folder / "working" / "search", sample, error_rate_prior, on_event, seed
        )
        measured = {side: measure_blocks(found.fit, blocks, runner, seed) for side, blocks in sides.items()}
        features = feature_table(found, column_names(sides["train"]))
        metrics = _metrics(found, measured, time.monotonic() - started)
        curve = pd.DataFrame([asdict(event) for event in found.events], columns=["event", "column", "bound", "gain"])
        curve["question"] = [columns.questions[number] for number in curve.pop("column")]
        written = {"features.csv": csv_of(features).encode(), "curve.csv": csv_of(curve).encode(), METRICS_FILE: json_of(metrics)}
        for name, content in written.items():
            (folder / name).write_bytes(content)
        found.fit.parameters.save(folder / PARAMETERS_FILE)
        _note(folder, mark, "done", asked)
        shutil.rmtree(folder / "working", ignore_errors=True)
    return AnsweredSearch(features, metrics, found)


def feature_table(found: BlockSearch, names: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """A row for every question, in the order of its loss: effect (of a yes, in the target's units), with several targets that on
    the one that it moves most beside its spread, p_e, prevalence and loss. names: see `column_names`."""
    fit = found.fit
    weights, spread = fit.in_units["weights"], fit.parameters.target_spread
    rows = []
    for k, column in enumerate(fit.features):
        most = int(np.argmax(np.abs(weights[k] / spread)))
        rows.append(
            {
                "question": names["answer"][column],
                "target": names["target"][most],
                "effect": float(weights[k, most]),
                "p_e": float(fit.in_units["error_rates"][k]),
                "prevalence": float(found.prevalence[k]),
                "loss": float(found.losses[k]),
            }
        )
    table = pd.DataFrame(rows, columns=["question", "target", "effect", "p_e", "prevalence", "loss"])
    return table.sort_values("loss", ascending=False, kind="stable", ignore_index=True)


def _metrics(found: BlockSearch, measured: Mapping[str, BlockMeasures], seconds: float) -> dict[str, Any]:
    """With None for what is no number, as in metrics.json of a run."""
    sides = {
        side: {name: None if value != value else value for name, value in asdict(one).items()} for side, one in measured.items()
    }
    return {
        **sides,
        "n_features": len(found.fit.features),
        "bound": float(found.fit.bounds[-1]),
        "noise": found.fit.in_units["scale"].tolist(),
        "n_searched": found.n_searched,
        "seconds": round(seconds, 3),
    }


def _blocks(source: str | Path, folder: Path, columns: AnsweredColumns) -> Path:
    """Blocks of a table, made whole or anew: their names are written last."""
    if not (folder / NAMES_FILE).exists():
        shutil.rmtree(folder, ignore_errors=True)
        blocks_from(source, folder, columns.questions, columns.targets, columns.covariates)
    return folder


def _begun(folder: Path, mark: str) -> bool:
    """Begin a folder, True, or go on with one of the same search, False. Raises OptionError for any other."""
    noted = folder / SEARCH_FILE
    if noted.exists():
        try:
            said = json.loads(noted.read_text(encoding="utf-8"))
            known, status = said["mark"], said["status"]
        except (OSError, ValueError, KeyError, TypeError):
            raise OptionError(f"--out {folder}: {SEARCH_FILE} cannot be read; name a new folder") from None
        if known != mark:
            raise OptionError(f"--out {folder}: holds another search, or its files have changed; name a new folder")
        if status == "done":
            raise OptionError(f"--out {folder}: holds this search, done; name a new folder to do it again")
        return False
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"--out {folder}: is a file; name a new folder")
    if folder.exists() and any(folder.iterdir()):
        raise OptionError(f"--out {folder}: is not empty; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    _note(folder, mark, "running", {})
    return True


def _note(folder: Path, mark: str, status: str, asked: dict[str, Any]) -> None:
    with in_one_stroke(folder / SEARCH_FILE) as partial:
        partial.write_bytes(json_of({"mark": mark, "status": status, **asked}))
