"""`recommend`: pairs and profiles in, a proved recommender out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from genz_ppl.alone import alone
from genz_ppl.errors import InputError, OptionError
from genz_ppl.profiles import Profiles, read_profiles
from genz_ppl.profiles.users import open_histories
from genz_ppl.recommend import folder as folders
from genz_ppl.recommend.features import ItemFeatures, default_features, item_features
from genz_ppl.recommend.interactions import Interactions, read_interactions
from genz_ppl.recommend.models import Model, placed, trained
from genz_ppl.recommend.proof import OnModel, Proof, prove
from genz_ppl.recommend.result import Recommendation
from genz_ppl.recommend.settings import RecommendSettings
from genz_ppl.recommend.splits import hidden_again
from genz_ppl.types import FloatArray, Item

FILL_NOTE = "fill changes lists of new items alone, and this split has none: --split cold tests them"
_COLUMNS = ["against", "stratum", "metric", "by", "n", "mean", "sd", "t", "p", "wilcoxon_p"]


def recommend(
    pairs: str | Path | pd.DataFrame,
    items: str | Path | Profiles | None = None,
    *,
    users: str | Path | Profiles | None = None,
    features: Sequence[str] | None = None,
    out: str | Path | None = None,
    on_model: OnModel | None = None,
    **settings: Any,
) -> Recommendation:
    """Prove on splits whether profiles help, then make a recommender of all pairs.

    pairs: a file or DataFrame of user, item and, maybe, value (see `read_interactions`). items: profiles of items, by their
    ids; those that no liked pair names are new items. users: profiles of users, with fuse concat or align and split column only,
    made from the pairs whose column `split` says train. features: of "vector", "answers" and "q"; None: answers where there are
    questions, else vectors. out: a new folder. on_model: called with (seed, model) before each training of the proof.
    settings: see `RecommendSettings`.

    Raises InputError and OptionError for what cannot be used, RunDirectoryError for `out`, also where another process
    makes one there.
    """
    if items is None:
        settings = {"fuse": "none", **settings}
        if settings["fuse"] != "none" or features or users is not None:
            raise OptionError("items: fusing needs profiles of the items; give --items, or --fuse none")
    chosen = RecommendSettings(**settings)
    fused = chosen.fuse != "none"
    if fused and chosen.control and chosen.seeds < 2:
        raise OptionError("seeds: one seed gives no test against shuffled profiles; give --seeds 2 or more, or --no-control")
    if out is not None:
        folders.check_free(Path(out))
    profiles = _profiles(items, "item") if fused and items is not None else None
    known = read_interactions(pairs, chosen.at_least, chosen.core)
    held = None if profiles is None else item_features(profiles, _kinds(features, profiles), known.items)
    described = None if users is None else _user_features(users, pairs, known, chosen)
    with alone(None if out is None else Path(out)):
        if out is not None:
            folders.check_free(Path(out))  # still
        proof = prove(known, chosen, held, described, on_model)
        made = _served(known, chosen, profiles, features, described, proof)
        if out is not None:
            made.save(out)
    return made


def _served(
    known: Interactions,
    settings: RecommendSettings,
    profiles: Profiles | None,
    features: Sequence[str] | None,
    users: FloatArray | None,
    proof: Proof,
) -> Recommendation:
    """The model of all pairs and all items, new ones too."""
    there = set(known.items)
    new = () if profiles is None else tuple(name for name in profiles.ids if name not in there)
    wide = replace(known, items=(*known.items, *new))
    held = None if profiles is None else item_features(profiles, _kinds(features, profiles), wide.items)
    seen = wide.matrix()
    model = _placed_model(wide, seen, settings, held, users)
    rows = [one.to_dict() for one in proof.comparisons]
    about = {
        "verdict": proof.verdict() + ([FILL_NOTE] if settings.fuse == "fill" and "cold" not in proof.metrics else []),
        "users": len(known.users),
        "items": len(known.items),
        "new_items": len(new),
        "pairs": len(known),
        "left_out": dict(known.left_out),
        "test_pairs_left_out": list(proof.left_out),
        "without_profile": [] if held is None else list(held.missing),
        "features": [] if profiles is None else list(_kinds(features, profiles)),
        "questions": 0 if held is None else len(held.questions),
        "seconds": proof.seconds,
        "models": proof.values,
    }
    paired = pd.DataFrame(rows, columns=_COLUMNS)
    return Recommendation(settings, known.users, wide.items, model, seen, held, about, {proof.split: proof.metrics}, paired)


def _placed_model(
    known: Interactions, seen: sparse.csr_array, settings: RecommendSettings, held: ItemFeatures | None, users: FloatArray | None
) -> Model:
    if held is None:
        return trained(seen, settings, settings.seed)
    model = trained(seen, settings, settings.seed, held.matrix, users)
    if model.warm.all():
        return model
    return placed(model, hidden_again(known, seen, settings.seed), settings, settings.seed, held.matrix, users)


def _profiles(given: str | Path | Profiles, kind: str) -> Profiles:
    found = given if isinstance(given, Profiles) else read_profiles(given)
    if found.about.kind != kind:
        raise InputError(
            f"{found.source}: holds profiles of {found.about.kind}s, not of {kind}s; give it as --{found.about.kind}s"
        )
    return found


def _kinds(features: Sequence[str] | None, profiles: Profiles) -> Sequence[str]:
    return default_features(profiles) if features is None else features


def _user_features(
    given: str | Path | Profiles, pairs: str | Path | pd.DataFrame, known: Interactions, settings: RecommendSettings
) -> FloatArray:
    """(U, D) vectors of users that have seen no pair that is tested; the mean where there is none."""
    if settings.fuse not in ("concat", "align") or settings.split != "column":
        raise OptionError(
            "users: their profiles go with --fuse concat or align, and with --split column, whose training pairs made them"
        )
    if isinstance(pairs, pd.DataFrame):
        raise OptionError("users: need the pairs as a file, the one that their profiles were made of")
    profiles = _profiles(given, "user")
    everything = [Item(name, name) for name in (*known.items, *known.outside)]
    profiles.check_pairs(open_histories(pairs, everything)[1])
    return np.asarray(item_features(profiles, ("vector",), known.users).matrix)
