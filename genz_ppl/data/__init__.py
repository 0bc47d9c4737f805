"""Items: read from files and DataFrames, checked, split."""

from __future__ import annotations

from genz_ppl.data.columns import Schema
from genz_ppl.data.items import Items
from genz_ppl.data.sources import frame_like, open_like, open_source
from genz_ppl.data.split import Split

__all__ = ["Items", "Schema", "Split", "frame_like", "open_like", "open_source"]
