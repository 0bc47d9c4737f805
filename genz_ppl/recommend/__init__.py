"""Recommenders: profiles fused into a collaborative filter, explained, and proved against shuffled profiles."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genz_ppl.recommend.interactions import Interactions, read_interactions
    from genz_ppl.recommend.make import recommend
    from genz_ppl.recommend.ranking import full_ranking
    from genz_ppl.recommend.result import Recommendation
    from genz_ppl.recommend.settings import RecommendSettings
    from genz_ppl.recommend.significance import Paired, paired_t

# Imported when first used: the command line reads the settings, which should not load torch.
_HOMES = {
    "Interactions": "interactions",
    "Paired": "significance",
    "RecommendSettings": "settings",
    "Recommendation": "result",
    "full_ranking": "ranking",
    "paired_t": "significance",
    "read_interactions": "interactions",
    "recommend": "make",
}

__all__ = [
    "Interactions",
    "Paired",
    "RecommendSettings",
    "Recommendation",
    "full_ranking",
    "paired_t",
    "read_interactions",
    "recommend",
]


def __getattr__(name: str) -> object:
    """The public name, from where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
