"""The paper's model: what a fit is without calibration and without a prior of the weights."""

from __future__ import annotations

from typing import Any

PLAIN: dict[str, Any] = {"calibration": 0.0, "shrinkage": False}
