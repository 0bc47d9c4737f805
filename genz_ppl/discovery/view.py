"""What a display, a chart, a report and a warm start read of a run: `Discovery` is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import pandas as pd

from genz_ppl.data import Items, Schema
from genz_ppl.diagnostics.summary import Ceiling, Summary
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.discovery.run.service import Service
from genz_ppl.inference.posterior import FittedItems
from genz_ppl.types import FloatArray


class RunView(Protocol):
    """See `Discovery` for what each is."""

    schema: Schema
    progress: Progress
    directory: RunDirectory | None

    @property
    def record(self) -> RunRecord: ...
    @property
    def status(self) -> str: ...
    @property
    def features(self) -> pd.DataFrame: ...
    @property
    def unit(self) -> str: ...
    @property
    def curve(self) -> pd.DataFrame: ...
    @property
    def items(self) -> Items: ...
    @property
    def summary(self) -> Summary: ...
    @property
    def ceiling(self) -> Ceiling | None: ...
    def service(self, changes: Mapping[str, Any], own_caps: bool = True) -> Service: ...
    def fitted(self, items: Items | None = None, side: str = "train") -> FittedItems: ...
    def effects(
        self, gold: pd.DataFrame | None = None, level: float = 0.95, error_rate_prior: Any = None, items: Items | None = None
    ) -> pd.DataFrame: ...
    def answers(self, items: Any) -> FloatArray: ...
    def predict(self, items: Items, *, progress: bool | None = None) -> pd.DataFrame: ...
