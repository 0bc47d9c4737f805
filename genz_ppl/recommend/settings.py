"""The settings of a recommender, each said once; the command's options are made from them."""

from __future__ import annotations

from dataclasses import dataclass

from genz_ppl.errors import OptionError
from genz_ppl.setting_fields import check_fields, documented, setting

BACKBONES = ("ease", "als", "lightgcn", "bpr", "popularity")
FUSIONS = ("fill", "l3", "concat", "align", "project", "none")
LOSSES, GRAPH_FUSIONS = ("softmax", "bpr"), ("concat", "align", "project")
SPLITS = ("random", "cold", "time", "column")
# What goes with what: the others stand on their own, or on any backbone.
NEEDED_BACKBONES = {"l3": ("ease",), **dict.fromkeys(GRAPH_FUSIONS, ("lightgcn", "bpr"))}
MODEL, PROOF, PAIRS = "Model", "Proof", "Pairs"


@documented
@dataclass(frozen=True)
class RecommendSettings:
    """How a recommender is made and proved. Raises OptionError for values out of range and for what does not go together."""

    backbone: str = setting("ease", "{choices}.", MODEL, choices=BACKBONES)
    fuse: str = setting("fill", "How profiles come in: {choices}.", MODEL, choices=FUSIONS)
    split: str = setting("random", "{choices} (column: as the column 'split' of PAIRS says).", PROOF, choices=SPLITS)
    seeds: int = setting(5, "Splits, or trainings where the split is given.", PROOF, low=1)
    control: bool = setting(True, "Whether shuffled profiles are tried, too.", PROOF)
    seed: int = setting(0, "The first seed.", PROOF, low=0, high=2**31)
    at_least: float | None = setting(
        None, "Pairs of a smaller value are not liked; none: all are.", PAIRS, low=-1e300, high=1e300, whole=False
    )
    core: int = setting(5, "Users and items with fewer liked pairs are taken out.", PAIRS, low=1)
    ridge: float = setting(600.0, "EASE's.", MODEL, low=1e-6, whole=False)
    balance: float = setting(0.5, "EASE's users count by their number of pairs to minus this.", MODEL, low=0, high=1, whole=False)
    fill_ridge: float = setting(3.0, "Of the regression that fills in scores.", MODEL, low=1e-6, whole=False)
    pull: float = setting(100.0, "How strongly l3 draws EASE to the profiles' weights.", MODEL, low=0, whole=False)
    feature_ridge: float = setting(3.0, "Of the profiles' weights in l3.", MODEL, low=1e-6, whole=False)
    favour: float = setting(1.0, "In lists of all items, new ones count as so many times as likely.", MODEL, low=0, whole=False)
    dimensions: int = setting(64, "Of als, lightgcn and bpr.", MODEL, low=1, high=4096)
    layers: int = setting(3, "Of lightgcn.", MODEL, low=1, high=10)
    loss: str = setting("softmax", "Of lightgcn: {choices}.", MODEL, choices=LOSSES)
    steps: int = setting(80, "Of lightgcn and bpr, on the whole graph each.", MODEL, low=1)
    align: float = setting(0.01, "The weight of InfoNCE.", MODEL, low=0, whole=False)

    def __post_init__(self) -> None:
        check_fields(self)
        needed = NEEDED_BACKBONES.get(self.fuse)
        if needed is not None and self.backbone not in needed:
            raise OptionError(
                f"fuse: {self.fuse} goes with the backbone {' or '.join(needed)}, not {self.backbone}; name another one"
            )

    @property
    def fixed(self) -> bool:
        """Whether the split is the same for all seeds."""
        return self.split in ("time", "column")
