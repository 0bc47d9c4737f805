"""The run directory of two sides: its own state after every stage, and a run directory for each search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import pandas as pd
from pydantic import Field

from genz_ppl.discovery.run.folder import AnyDirectory, RunDirectory
from genz_ppl.discovery.run.forms import part
from genz_ppl.discovery.run.record import PairRecord, Whole
from genz_ppl.discovery.run.tables import rate_columns
from genz_ppl.errors import RunDirectoryError
from genz_ppl.settings import PairSettings
from genz_ppl.types import FloatArray

SIDE_NAMES = ("rows", "columns")
_ROW = part(what=str, metric=str, n_row_features=int, n_column_features=int, seconds=float)
#: The plain part of a `PairProgress`.
PAIR_PROGRESS = part(
    stage=Whole,
    scores=dict[str, dict[str, float | None]],
    bounds=list[float],
    links=tuple[str, str],
    curve=Annotated[list[_ROW], Field(min_length=1)],  # type: ignore[valid-type]
    status=str,
)


class PairDirectory(AnyDirectory[PairRecord]):
    """A folder that holds one run on two sides; the searches are in rows-1, columns-1, rows-2 and so on."""

    kind = PairRecord

    def side(self, number: int, round_number: int) -> RunDirectory:
        """Where a side is searched in a round, from 1. Raises RunDirectoryError for a link, which may lead anywhere."""
        path = self.path / f"{SIDE_NAMES[number]}-{round_number}"
        if path.is_symlink():
            raise RunDirectoryError(f"{path}: expected a folder, found a link; put the folder itself there")
        return RunDirectory(path)

    def not_begun(self) -> RunDirectoryError:
        """What to say of a run that has nothing to show yet."""
        return RunDirectoryError(f"{self.path}: the run was stopped before its first stage; start it anew or resume it")

    def features(self) -> pd.DataFrame:
        """`CoOccurrenceRun.features`, without the model. Raises RunDirectoryError as `CoOccurrenceRun.load` does."""
        record = self.record()
        if (found := self.state(PAIR_PROGRESS)) is None:
            raise self.not_begun()
        arrays, plain = found
        searches = {}
        for what, number in fitted_stages(record.settings, record.rounds, plain["stage"]):
            if what in SIDE_NAMES and (folder := self.side(SIDE_NAMES.index(what), number)).path.exists():
                searches[what] = folder.features()
        fits = {name: (arrays[f"{name}_error_rates"], arrays[f"{name}_posterior"].mean(axis=0)) for name in searches}
        return pair_features(searches, fits)


def stages(settings: PairSettings, rounds: int) -> list[tuple[str, int]]:
    """(what, round) in order. A decoupled fit has one round: its embeddings do not change."""
    n_rounds = rounds if settings.fit == "joint" else 1
    each = [(what, number) for number in range(1, n_rounds + 1) for what in (*SIDE_NAMES, "fit")]
    return [("factorise", 0), *each]


def fitted_stages(settings: PairSettings, rounds: int, done: int) -> list[tuple[str, int]]:
    """Those of the first `done` that a fit follows: a search that none has followed yet has other features than the model."""
    found = stages(settings, rounds)[:done]
    while found and found[-1][0] in SIDE_NAMES:
        found.pop()
    return found


def pair_features(searches: Mapping[str, pd.DataFrame], fits: Mapping[str, tuple[FloatArray, FloatArray]]) -> pd.DataFrame:
    """The features of both sides, rows first, with error rates and prevalences as last fitted. searches: tables by side."""
    parts = []
    for name, table in searches.items():
        (rates, prevalence), active = fits[name], table.active.to_numpy()
        if int(active.sum()) == len(rates):
            for column, values in rate_columns(rates, prevalence).items():
                table.loc[active, column] = values
        table.insert(0, "side", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["side", "id", "text"])
