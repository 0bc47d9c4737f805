"""Settings that are no such thing are refused, whichever class they are of."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from genz_ppl.errors import OptionError
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.setting_fields import settings_of
from genz_ppl.settings import DiscoverSettings, FitSettings, PairSettings

KINDS = (DiscoverSettings, FitSettings, PairSettings, ModelSettings)


def switches(kind: type) -> list[str]:
    known = settings_of(kind)
    return [one.name for one in fields(kind) if one.name in known and "bool" in str(one.type)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", ["false", "no", 0, 1.0])
def test_a_switch_is_true_or_false(kind: Any, value: object) -> None:
    """Any other value counts as true in an if: "false" would switch on what it is to switch off."""
    names = switches(kind)
    assert names
    for name in names:
        with pytest.raises(OptionError, match=f"{name}: expected True or False, got "):
            kind(**{"model": "m", name: value} if kind is ModelSettings else {name: value})
