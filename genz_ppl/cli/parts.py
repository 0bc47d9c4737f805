"""`genz predict` of a folder of parquet parts: one after the other or many at once, each written whole, done ones left alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genz_ppl.cli.vectors import open_to_predict
from genz_ppl.errors import GenzWarning, InputError, OptionError

if TYPE_CHECKING:
    from genz_ppl.discovery.discover import Discovery


@dataclass(frozen=True)
class PartsJob:
    """What is the same for all parts. run, out: folders that all workers see. opening: see `Discovery.load`."""

    run: str
    out: str
    level: float
    predict_with: str
    vectors: str | None
    opening: Mapping[str, Any]

    def __hash__(self) -> int:
        return hash((self.run, self.out))


def parts_of(source: Path, out: Path | None) -> list[str]:
    """The parts of a folder, by name. Raises InputError if there are none, OptionError for an output that is no other folder."""
    parts = sorted(str(part) for part in source.glob("*.parquet"))
    if not parts:
        raise InputError(f"{source}: expected a folder of .parquet files, found none; name a file, or a folder of them")
    if out is None or out.suffix in (".csv", ".jsonl", ".parquet") or out.is_file():
        raise OptionError(
            f"--output: SOURCE is a folder, so expected a folder for its predictions, got {out or 'none'}; name one"
        )
    if out.exists() and out.samefile(source):
        raise OptionError(f"--output {out}: is SOURCE itself; name another folder")
    out.mkdir(parents=True, exist_ok=True)
    return parts


def written(part: str, job: PartsJob) -> Path:
    """Where the predictions of a part go."""
    return Path(job.out) / Path(part).name


def predict_part(part: str, job: PartsJob) -> int:
    """Predict a part and write it down whole; how many items it has. The run is read once by every process."""
    run = _run(job)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GenzWarning)  # each part would say the same
        items = open_to_predict(part, run.asking(job.predict_with).needed, job.vectors, {})
        table = run.predict(items, job.level, predict_with=job.predict_with)
    table.insert(0, "id", items.ids)
    partial = written(part, job).with_suffix(".partial")
    table.to_parquet(partial, index=False)
    partial.replace(written(part, job))
    return len(table)


@lru_cache(maxsize=1)
def _run(job: PartsJob) -> Discovery:
    from genz_ppl.discovery.discover import Discovery

    return Discovery.load(job.run, **job.opening)
