"""The folder of a recommender: numpy arrays and parquet tables, written beside its name and moved there whole."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from genz_ppl.errors import RunDirectoryError
from genz_ppl.recommend.calibrate import Placing
from genz_ppl.recommend.factors import Factors
from genz_ppl.recommend.features import ItemFeatures
from genz_ppl.recommend.fill import Fill
from genz_ppl.recommend.models import Model
from genz_ppl.recommend.settings import RecommendSettings

ABOUT_FILE, METRICS_FILE, FORMAT = "recommend.json", "metrics.json", 1


def holds_recommender(folder: Path) -> bool:
    """Whether `genz recommend` wrote it."""
    return (Path(folder) / ABOUT_FILE).is_file()


def check_free(folder: Path) -> None:
    """Raise RunDirectoryError unless the folder can be made."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunDirectoryError(f"{folder}: is there already; choose another --out, or remove it")
    if not folder.absolute().parent.is_dir():
        raise RunDirectoryError(f"{folder}: there is no folder {folder.absolute().parent}; make it first")


def write_folder(
    folder: Path,
    settings: RecommendSettings,
    about: Mapping[str, Any],
    metrics: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Write it whole. Raises RunDirectoryError where it cannot be written."""
    partial = folder.with_name(f"{folder.name}.partial")
    try:
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        for name, table in tables.items():
            table.to_parquet(partial / f"{name}.parquet", index=False)
        (partial / METRICS_FILE).write_text(_json(metrics), encoding="utf-8")
        said = {"format": FORMAT, "settings": asdict(settings), **about}
        (partial / ABOUT_FILE).write_text(_json(said), encoding="utf-8")
        if folder.exists():
            folder.rmdir()
        partial.replace(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise RunDirectoryError(
            f"{folder}: cannot be written ({error.strerror or error}); free some space, or choose another --out"
        ) from None


def read_folder(
    folder: Path,
) -> tuple[RecommendSettings, dict[str, Any], dict[str, Any], dict[str, pd.DataFrame], dict[str, np.ndarray]]:
    """What `write_folder` was given. Raises RunDirectoryError for a folder that is none, is damaged, or of a later form."""
    if not holds_recommender(folder):
        raise RunDirectoryError(f"{folder}: holds no recommender ({ABOUT_FILE} is missing); make one with genz recommend")
    try:
        about = json.loads((folder / ABOUT_FILE).read_text(encoding="utf-8"))
        form = about.pop("format")
        if form > FORMAT:
            raise RunDirectoryError(f"{folder}: is of form {form}, this genz-ppl knows {FORMAT}; upgrade genz-ppl")
        settings = RecommendSettings(**about.pop("settings"))
        metrics = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        tables = {path.stem: pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))}
        arrays = {path.stem: np.load(path, mmap_mode="r", allow_pickle=False) for path in sorted(folder.glob("*.npy"))}
    except RunDirectoryError:
        raise
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RunDirectoryError(f"{folder}: cannot be read ({reason}); take an intact copy, or make it again") from None
    return settings, about, metrics, tables, arrays


def arrays_of(model: Model, seen: sparse.csr_array, features: ItemFeatures | None) -> dict[str, np.ndarray]:
    """The numbers of a model by name."""
    found: dict[str, np.ndarray] = {"items": model.factors.items, "scored": model.factors.scored, "warm": model.warm}
    found |= {"seen_starts": seen.indptr.astype(np.int64), "seen_items": seen.indices.astype(np.int32)}
    if not sparse.issparse(model.factors.users):
        found["users"] = np.asarray(model.factors.users)
    if model.fill is not None:
        found |= {"fill_base": model.fill.base, "fill_slopes": model.fill.slopes}
    if model.placing is not None:
        found |= {"placing_knots": model.placing.knots, "placing_values": model.placing.values}
    if features is not None:
        found |= {"features": features.matrix, "features_said": features.said, "features_means": features.means}
    return found


def model_of(arrays: Mapping[str, np.ndarray], n_users: int, n_items: int) -> tuple[Model, sparse.csr_array]:
    """The model and who has chosen what, from `arrays_of`. Raises KeyError and ValueError for arrays that do not fit."""
    ones = np.ones(len(arrays["seen_items"]), np.float32)
    chosen = np.asarray(arrays["seen_items"]), np.asarray(arrays["seen_starts"])
    seen = sparse.csr_array((ones, *chosen), shape=(n_users, n_items))
    factors = Factors(arrays.get("users", seen), arrays["items"], np.asarray(arrays["scored"]))
    fill = Fill(arrays["fill_base"], arrays["fill_slopes"]) if "fill_base" in arrays else None
    placing = Placing(arrays["placing_knots"], arrays["placing_values"]) if "placing_knots" in arrays else None
    if len(factors.items) != n_items or factors.users.shape[0] != n_users:
        raise ValueError("its tables and arrays are of different sizes")
    return Model(factors, np.asarray(arrays["warm"]), fill, placing), seen


def _json(content: Mapping[str, Any]) -> str:
    """With null for what is not finite."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(name): plain(one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return None if isinstance(value, float) and not np.isfinite(value) else value

    return json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
