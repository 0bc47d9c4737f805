"""Settings of runs as the benchmarks' command lines have them."""

from __future__ import annotations

from typing import Any


def setting_value(text: str) -> Any:
    """A number, true, false or none where it is one, several numbers as a tuple ("1,9"), else the text."""
    if "," in text:
        return tuple(setting_value(part) for part in text.split(","))
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text, text)
