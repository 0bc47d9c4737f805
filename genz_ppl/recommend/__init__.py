"""Recommenders: profiles fused into a collaborative filter, explained, and proved against shuffled profiles."""

from genz_ppl.recommend.interactions import Interactions, read_interactions
from genz_ppl.recommend.ranking import full_ranking
from genz_ppl.recommend.recommend import recommend
from genz_ppl.recommend.result import Recommendation
from genz_ppl.recommend.settings import RecommendSettings
from genz_ppl.recommend.significance import Paired, paired_t

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
