"""state.safetensors: arrays by name and plain values, with a checksum, since one bit in a weight changes predictions.

It is read without torch, so that tables are shown at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from genz_ppl.discovery.run.forms import part, read_as
from genz_ppl.discovery.run.progress import CURVE, Counters, FeatureRecord, Progress

Arrays = dict[str, NDArray[Any]]
# What reading a file that is no state of this kind of run may raise.
UNREADABLE = (SafetensorError, OSError, LookupError, ValueError, TypeError, RuntimeError)
_CHECKSUM = "sha256"
_FEATURE_NUMBERS = (
    "gain",
    "gain_when_added",
    "searched",
    "searched_alone",
    "effect",
    "effect_lower",
    "effect_upper",
    "strongest_effect",
)
# Of an earlier version features have one gain, and no effects.
_FEATURE = part(
    id=str,
    text=str,
    origin=str,
    added_at=int,
    removed_at=(int | None, None),
    strongest=(str, ""),
    **dict.fromkeys(_FEATURE_NUMBERS, (float, 0.0)),
)
_BEST = part(step=int, ids=list[str], bound=float, judged=float, freedoms=(list[list[float]] | None, None))
#: The plain part of a `Progress`.
PROGRESS = part(
    **{field.name: (type(field.default), field.default) for field in fields(Progress) if isinstance(field.default, int | str)},
    bound=float,
    n_test=int,
    features=list[_FEATURE],  # type: ignore[valid-type]
    curve=Annotated[list[part(**CURVE)], Field(min_length=1)],  # type: ignore[misc]
    counters=Counters,
    pool=list[str],
    test_pool=list[str],
    held_pool=(list[str], []),
    layers=(list[str], []),
    gold=(list[str], []),
    bills=(dict[str, dict[str, float]], {}),
    best=_BEST | None,
    outcome=(dict[str, int | float | str | None], {}),
)


def packed(arrays: Arrays, plain: dict[str, Any]) -> bytes:
    """The content of a state file, the same for the same state."""
    return save(arrays, {"progress": json.dumps({**plain, _CHECKSUM: _checksum(arrays, plain)})})


def unpacked(path: Path, form: type[BaseModel]) -> tuple[Arrays, dict[str, Any]]:
    """The reverse of `packed`. form: of the plain part. Raises one of UNREADABLE for anything else."""
    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        text = (file.metadata() or {})["progress"]
    read_as(form, text)
    plain: dict[str, Any] = json.loads(text)
    if plain.pop(_CHECKSUM, None) not in (None, _checksum(arrays, plain)):  # None: of an earlier version
        raise ValueError("the checksum is wrong: the file is damaged")
    return arrays, plain


def features_of(plain: Mapping[str, Any]) -> list[FeatureRecord]:
    """The features as they were written; an older version had one gain, that of the addition."""
    older = {"gain": float("nan")}
    return [
        FeatureRecord(**(one if "gain_when_added" in one else {**one, "gain_when_added": one["gain"], **older}))
        for one in plain["features"]
    ]


def _checksum(arrays: Arrays, plain: dict[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(plain).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} torch.{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
