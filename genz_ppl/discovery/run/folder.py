"""The run directory: written so that a kill at any moment leaves it readable and the run resumable.

`state.safetensors` is the truth about a run's progress and is replaced in one stroke after every step; the tables beside
it are views of it. Times are kept in the views only, so that equal runs have equal states.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from genz_ppl.discovery.run import own_runs
from genz_ppl.discovery.run.records import CURVE, Counters, FeatureRecord, Progress, Snapshot
from genz_ppl.discovery.run.run_file import PROGRESS, RUN, checked
from genz_ppl.errors import RunDirectoryError, RunNotSavedError
from genz_ppl.inference.guided.moments import Moments
from genz_ppl.inference.state import State
from genz_ppl.inference.uncertainty import Uncertainty
from genz_ppl.models import GenZ
from genz_ppl.output import in_one_stroke, quoted

#: The columns of the feature table with their types.
FEATURE_COLUMNS = {
    "id": "str",
    "text": "str",
    "effect": "float64",
    "effect_lower": "float64",
    "effect_upper": "float64",
    "origin": "str",
    "p_e": "float64",
    "prevalence": "float64",
    "gain": "float64",
    "added_at": "int64",
    "removed_at": "Int64",
    "active": "bool",
    "gain_when_added": "float64",
    "strongest": "str",
    "strongest_effect": "float64",
}
RUN_FILE, STATE_FILE, ITEMS_FILE = "run.json", "state.safetensors", "items.parquet"
# What reading a file that is no state of this kind of run may raise.
UNREADABLE = (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError)
_CHECKSUM = "sha256"
# Of a `Progress`, what JSON holds as it is.
_PLAIN = ("bound", "n_test", "outcome", *(each.name for each in fields(Progress) if isinstance(each.default, int | str)))


@dataclass(frozen=True)
class RunDirectory:
    """A folder that holds one run."""

    path: Path
    #: What run.json must hold.
    form: ClassVar[Any] = RUN

    def create(self, record: dict[str, Any]) -> None:
        """Make the folder and write run.json. Raises RunDirectoryError if the folder holds anything."""
        self.check_free()
        own_runs.note(record)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunDirectoryError(f"--out {self.path}: cannot be made: {error.strerror}; choose another folder") from None
        self.write_record(record)

    def check_free(self) -> None:
        """Raise RunDirectoryError unless a new run can be put here."""
        if (self.path / RUN_FILE).exists():
            raise RunDirectoryError(
                f"--out {self.path}: holds another run; go on with it by 'genz resume {self.path}', or choose another folder"
            )
        if self.path.exists() and not self.path.is_dir():
            raise RunDirectoryError(f"--out {self.path}: expected a folder, found a file; choose another name")
        if self.path.exists() and any(not entry.name.endswith(".partial") for entry in self.path.iterdir()):
            raise RunDirectoryError(f"--out {self.path}: the folder is not empty; choose another one")

    def record(self) -> dict[str, Any]:
        """run.json."""
        try:
            content = (self.path / RUN_FILE).read_bytes()
        except FileNotFoundError:
            raise RunDirectoryError(
                f"{self.path}: expected a run directory, found no {RUN_FILE}; give the folder of --out"
            ) from None
        except NotADirectoryError:
            raise RunDirectoryError(f"{self.path}: expected a run directory, found a file; give the folder of --out") from None
        except OSError as error:
            raise RunDirectoryError(f"{self.path / RUN_FILE}: cannot be read: {error}") from None
        try:
            record = checked(content, self.form)
        except ValueError as error:
            said = f"not written by genz-ppl, or by another version ({error}); give the folder of a run"
            raise RunDirectoryError(f"{self.path / RUN_FILE}: {said}") from None
        own_runs.check_likelihood(record, self.path)
        return record

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace run.json."""
        self.replace(RUN_FILE, _json(record))

    def set_status(self, status: str) -> None:
        """Change the status in run.json."""
        self.write_record({**self.record(), "status": status})

    def save(self, progress: Progress, metrics: dict[str, Any]) -> None:
        """Write a step boundary: first the state, then its views."""
        self.replace(STATE_FILE, packed(_tensors(progress), _plain(progress)))
        self.replace("features.csv", csv_of(feature_table(progress)).encode())
        self.replace("curve.csv", csv_of(curve_table(progress)).encode())
        self.replace("metrics.json", _json(metrics))

    def note(self, name: str, value: Any) -> None:
        """Add an entry to metrics.json."""
        path = self.path / "metrics.json"
        content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.replace("metrics.json", _json({**content, name: value}))

    def noted(self, name: str) -> Any:
        """An entry of metrics.json; None where there is none."""
        try:
            content = json.loads((self.path / "metrics.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return content.get(name) if isinstance(content, dict) else None

    def load(self, model: GenZ) -> Progress | None:
        """The last step boundary, or None if the run was stopped before its first. model: of the same kind, any size."""
        if not (self.path / STATE_FILE).exists():
            return None
        split = self.record()["split"]
        try:
            progress = _progress(model, *unpacked(self.path / STATE_FILE, PROGRESS))
            _check_sizes(progress, len(split["train"]), len(split["test"]))
        except UNREADABLE as error:
            raise self.unreadable(error) from None
        self._restore_times(progress)
        return progress

    def unreadable(self, error: Exception) -> RunDirectoryError:
        """What to say of a state file that is none."""
        reason = " ".join(str(error).split())[:200]
        return RunDirectoryError(f"{self.path / STATE_FILE}: cannot be read: {reason}; take an intact copy of the folder")

    def _restore_times(self, progress: Progress) -> None:
        try:
            seconds = [float(value) for value in pd.read_csv(self.path / "curve.csv")["seconds"]]
        except (OSError, KeyError, ValueError):
            seconds = []
        seconds += [seconds[-1] if seconds else 0.0] * len(progress.curve)
        for row, value in zip(progress.curve, seconds, strict=False):
            row["seconds"] = value
        progress.seconds = progress.curve[-1]["seconds"] if progress.curve else 0.0

    def replace(self, name: str, content: bytes) -> None:
        """Write a file in one stroke. Raises RunNotSavedError where there is a run to go on with, else RunDirectoryError."""
        begun = (self.path / RUN_FILE).exists()
        try:
            with in_one_stroke(self.path / name) as partial, partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            said = f"{self.path / name}: cannot be written: {error.strerror}; "
            if begun:
                raise RunNotSavedError(f"{said}what was saved before is intact, free some space or set the permissions") from None
            raise RunDirectoryError(f"{said}free some space, set the permissions, or choose another folder") from None


def feature_table(progress: Progress) -> pd.DataFrame:
    """`Discovery.features`: one row a feature, removed ones included. Effects, p_e and prevalence are known for active ones."""
    rates = progress.state.error_rates.cpu().numpy()
    prevalence = progress.state.posterior.mean(0).cpu().numpy()
    position = {record.id: k for k, record in enumerate(progress.active)}
    rows = []
    for record in progress.features:
        k = position.get(record.id)
        row = {**asdict(record), "active": record.active}
        row["p_e"] = float("nan") if k is None else float(rates[k])
        row["prevalence"] = float("nan") if k is None else float(prevalence[k])
        rows.append(row)
    return pd.DataFrame(rows, columns=list(FEATURE_COLUMNS)).astype(FEATURE_COLUMNS)


def curve_table(progress: Progress) -> pd.DataFrame:
    """`Discovery.curve`: one row an event."""
    return pd.DataFrame(progress.curve, columns=list(CURVE))


def _tensors(progress: Progress) -> dict[str, torch.Tensor]:
    tensors = state_tensors("model", progress.state)
    if progress.best is not None:
        tensors |= state_tensors("best", progress.best.state)
    for name in ("pool", "test_pool"):
        columns = list(getattr(progress, name).values())
        tensors[name] = torch.from_numpy(np.stack(columns) if columns else np.zeros((0, 0), dtype=np.int8))
    return tensors


def state_tensors(prefix: str, state: State) -> dict[str, torch.Tensor]:
    """A state as tensors whose names start with the prefix."""
    tensors = {f"{prefix}.{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"{prefix}_error_rates": state.error_rates, f"{prefix}_posterior": state.posterior}
    if state.uncertainty is not None:
        tensors[f"{prefix}_uncertainty"] = state.uncertainty.root
        if state.uncertainty.draws is not None:
            tensors[f"{prefix}_draws"] = state.uncertainty.draws
    if state.effects is not None:
        tensors[f"{prefix}_effects"] = state.effects
    if state.moments is not None:
        tensors |= {f"{prefix}_moments.{name}": value for name, value in state.moments.tensors().items()}
    # A tensor may be a view with any strides and on any device; the file holds plain rows.
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}


def _plain(progress: Progress) -> dict[str, Any]:
    best = progress.best
    return {
        **{name: getattr(progress, name) for name in _PLAIN},
        "features": [asdict(record) for record in progress.features],
        "curve": [{**row, "seconds": 0.0} for row in progress.curve],
        "counters": asdict(progress.counters),
        "pool": list(progress.pool),
        "test_pool": list(progress.test_pool),
        "best": None if best is None else {name: getattr(best, name) for name in ("step", "ids", "bound", "judged", "freedoms")},
    }


def _progress(model: GenZ, tensors: dict[str, torch.Tensor], plain: dict[str, Any]) -> Progress:
    best = None
    if plain["best"] is not None:
        best = Snapshot(state=state_from("best", model, tensors), **plain["best"])
    return Progress(
        state=state_from("model", model, tensors),
        features=[_feature(record) for record in plain["features"]],
        curve=plain["curve"],
        counters=Counters(**plain["counters"]),
        pool=dict(zip(plain["pool"], tensors["pool"].numpy(), strict=True)),
        test_pool=dict(zip(plain["test_pool"], tensors["test_pool"].numpy(), strict=True)),
        best=best,
        **{name: plain[name] for name in _PLAIN if name in plain},  # what an older version did not note has its default
    )


def _feature(record: dict[str, Any]) -> FeatureRecord:
    """A feature as it was written; an older version had one gain, that of its addition."""
    if "gain_when_added" not in record:
        record = {**record, "gain_when_added": record["gain"], "gain": float("nan")}
    return FeatureRecord(**record)


def state_from(prefix: str, blank: GenZ, tensors: dict[str, torch.Tensor]) -> State:
    """The inverse of `state_tensors`. blank: a model of the same kind, any number of features."""
    model, rates = copy.deepcopy(blank), tensors[f"{prefix}_error_rates"]
    model.features.n_features = len(rates)
    model.link = model.link.with_columns([], len(rates))
    start = len(prefix) + 1
    model.load_state_dict({name[start:]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")})
    root = tensors.get(f"{prefix}_uncertainty")
    start = len(f"{prefix}_moments.")
    moments = {name[start:]: value for name, value in tensors.items() if name.startswith(f"{prefix}_moments.")}
    return State(
        model,
        rates,
        tensors[f"{prefix}_posterior"],
        None if root is None else Uncertainty(root, tensors.get(f"{prefix}_draws")),
        Moments.from_tensors(moments) if moments else None,
        tensors.get(f"{prefix}_effects"),
    )


def _check_sizes(progress: Progress, n_train: int, n_test: int) -> None:
    """Raise ValueError unless features, answers and states of a run on so many items belong together."""
    known, best = {record.id for record in progress.features}, [] if progress.best is None else [progress.best]
    agreed = progress.n_test == n_test and len(known) == len(progress.features) and all(known >= {*each.ids} for each in best)
    for state, n_features in [(progress.state, len(progress.active)), *((each.state, len(each.ids)) for each in best)]:
        rates, posterior = state.error_rates, state.posterior
        agreed &= rates.shape == (n_features,) and posterior.shape == (n_train, n_features)
        agreed &= rates.dtype == posterior.dtype == torch.float64 and bool(((posterior >= 0) & (posterior <= 1)).all())
        agreed &= bool(((rates > 0) & (rates < 1)).all())
    for pool, n_items in ((progress.pool, n_train), (progress.test_pool, n_test)):
        agreed &= all(column.shape == (n_items,) and column.dtype == np.int8 for column in pool.values())
        agreed &= pool.keys() >= {record.text for record in progress.active}
    if not agreed:
        raise ValueError("its parts do not belong together, or not to these items")


def packed(tensors: dict[str, torch.Tensor], plain: dict[str, Any]) -> bytes:
    """The content of a state file, the same for the same state, with a checksum: one bit in a weight changes predictions."""
    return save(tensors, {"progress": json.dumps({**plain, _CHECKSUM: _checksum(tensors, plain)})})


def unpacked(path: Path, form: Any) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The reverse of `packed`. form: of the plain part. Raises one of UNREADABLE for anything else."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = (file.metadata() or {})["progress"]
    plain = checked(text, form)
    if plain.pop(_CHECKSUM, None) not in (None, _checksum(tensors, plain)):  # None: of an earlier version
        raise ValueError("the checksum is wrong: the file is damaged")
    return tensors, plain


def _checksum(tensors: Mapping[str, torch.Tensor], plain: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(plain).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()


def csv_of(table: pd.DataFrame, raw: bool = False, float_format: str | None = None) -> str:
    """The table as csv, texts and names of columns as spreadsheets take them for texts (see `quoted`), unless raw."""
    if not raw:
        table = table.rename(columns=_quoted)
        for place, kind in enumerate(table.dtypes):
            if not pd.api.types.is_numeric_dtype(kind):
                table.isetitem(place, table.iloc[:, place].map(_quoted).to_numpy())
    return str(table.to_csv(index=False, lineterminator="\n", float_format=float_format))


def _quoted(cell: Any) -> Any:
    return quoted(cell) if isinstance(cell, str) else cell
