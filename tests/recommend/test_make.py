from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from liked_pairs import QUESTIONS, liked_pairs

from genz_ppl.errors import InputError, OptionError
from genz_ppl.profiles import Profiles
from genz_ppl.profiles.table import About
from genz_ppl.recommend import Recommendation, recommend

SMALL: dict[str, Any] = {"at_least": 4, "core": 3, "seeds": 3, "ridge": 20.0}


@pytest.fixture(scope="module")
def made() -> Recommendation:
    return recommend(*liked_pairs(), split="cold", **SMALL)


def test_profiles_that_say_what_is_liked_beat_shuffled_ones_on_new_items(made: Recommendation) -> None:
    table = made.paired
    found = table[(table["against"] == "shuffled") & (table["stratum"] == "cold") & (table["metric"] == "ndcg@10")]
    assert found["mean"].item() > 0.2
    assert found["p"].item() < 0.05
    assert any(sentence.startswith("new items: a gain over shuffled profiles") for sentence in made.verdict)


def test_shuffled_profiles_gain_nothing() -> None:
    pairs, profiles = liked_pairs()
    order = np.random.default_rng(1).permutation(len(profiles))
    dealt = [replace(row, answers=profiles.rows[at].answers) for row, at in zip(profiles.rows, order, strict=True)]
    made = recommend(pairs, Profiles(dealt, profiles.about), split="cold", **{**SMALL, "seeds": 6})
    said = next(one for one in made.verdict if one.startswith("new items") and "shuffled" in one)
    assert said.startswith("new items: no gain over shuffled profiles, p = ")


def test_score_of_a_new_item_is_the_sum_of_weight_times_answer(made: Recommendation) -> None:
    lists = made.top(["u3", "u7"], 5, new=True)
    for row in lists.itertuples():
        table = made.explain(row.user, row.item)
        assert np.allclose(table["value"] * table["weight"], table["adds"])
        assert table["adds"].sum() == pytest.approx(row.score, abs=1e-5)
        assert list(table["reason"][1:]) == list(QUESTIONS)
    weights = made.weights.loc["u3"]
    first = made.explain("u3", "i60").set_index("reason")["weight"]
    assert np.allclose(weights[list(QUESTIONS)], first[list(QUESTIONS)])


def test_reasons_name_the_answers_yes_that_add_most(made: Recommendation) -> None:
    row = made.top(["u3"], 1, why=1, new=True).iloc[0]
    table = made.explain("u3", row["item"]).iloc[1:]
    best = table.iloc[int(np.argmax(table["adds"]))]
    assert row["why"] == f"{best['reason']} ({best['adds']:+.2g})"


def test_reasons_of_known_items_are_what_the_user_chose(made: Recommendation) -> None:
    lists = made.top(["u3"], 20)
    row = lists[~lists["new"]].iloc[0]
    table = made.explain("u3", row["item"])
    assert table["adds"].sum() == pytest.approx(row["score"], abs=1e-5)
    assert table["reason"].str.startswith("chosen: i").all()


def test_lists_hold_nothing_that_was_chosen_and_are_sorted(made: Recommendation) -> None:
    lists = made.top(n=10)
    pairs, _ = liked_pairs()
    chosen = set(zip(pairs["user"][pairs["rating"] == 5], pairs["item"][pairs["rating"] == 5], strict=True))
    assert not chosen & set(zip(lists["user"], lists["item"], strict=True))
    assert (lists.groupby("user")["score"].diff().dropna() <= 0).all()
    assert lists.groupby("user").size().eq(10).all()


def test_favoured_new_items_come_higher() -> None:
    counts = []
    for favour in (0.0, 1.0, 5.0):
        made = recommend(*liked_pairs(), favour=favour, **SMALL)
        counts.append(int(made.top(n=10)["new"].sum()))
    assert counts[0] < counts[1] < counts[2]


def test_split_without_new_items_says_what_it_cannot_test() -> None:
    made = recommend(*liked_pairs(), **SMALL)
    assert made.verdict[0].startswith("all items: no difference from no profiles, so there is nothing to test")
    assert made.verdict[-1] == "fill changes lists of new items alone, and this split has none: --split cold tests them"


def test_placed_scores_rise_with_their_own(made: Recommendation) -> None:
    placing = made.model.placing
    assert placing is not None
    moved = placing(np.linspace(-1, 2, 500))
    assert (np.diff(moved) >= 0).all()


def test_folder_gives_back_all_of_it(made: Recommendation, tmp_path: Path) -> None:
    made.save(tmp_path / "r")
    back = Recommendation.load(tmp_path / "r")
    assert back.settings == made.settings
    assert back.metrics == made.metrics
    assert back.verdict == made.verdict
    assert back.top(n=5, why=2).equals(made.top(n=5, why=2))
    assert back.paired.equals(made.paired)
    assert back.explain("u1", "i60").equals(made.explain("u1", "i60"))


def test_items_without_a_profile_are_named_and_stay() -> None:
    pairs, profiles = liked_pairs()
    fewer = Profiles(profiles.rows[3:], profiles.about)
    made = recommend(pairs, fewer, **SMALL)
    assert set(made.about["without_profile"]) == {"i0", "i1", "i2"}
    assert {"i0", "i1", "i2"} <= set(made.items)


def test_fixed_split_is_paired_by_users() -> None:
    pairs, profiles = liked_pairs()
    pairs["split"] = np.where(np.random.default_rng(0).random(len(pairs)) < 0.2, "test", "train")
    pairs.loc[pairs["item"].isin(["i3", "i4", "i5"]), "split"] = "test"
    made = recommend(pairs, profiles, split="column", **{**SMALL, "seeds": 2})
    assert set(made.paired["by"]) == {"user"}
    assert made.paired["n"].min() > 20


@pytest.mark.parametrize("fuse", ["concat", "align", "project"])
def test_graph_fusions_rank_new_items(fuse: str) -> None:
    made = recommend(
        *liked_pairs(), backbone="lightgcn", fuse=fuse, split="cold", steps=30, dimensions=8, **{**SMALL, "seeds": 2}
    )
    values = made.about["models"]
    assert np.mean(values["fused"]["cold"]["ndcg@10"]) > np.mean(values["none"]["cold"]["ndcg@10"]) + 0.3
    assert made.top(["u1"], 3, new=True)["new"].all()


@pytest.mark.parametrize("backbone", ["als", "bpr", "popularity"])
def test_any_backbone_can_be_filled(backbone: str) -> None:
    made = recommend(*liked_pairs(), backbone=backbone, split="cold", dimensions=8, steps=40, **{**SMALL, "seeds": 2})
    assert np.mean(made.metrics["cold"]["cold"]["ndcg@10"]) > 0.4


def test_vectors_are_one_reason() -> None:
    made = recommend(*liked_pairs(), features=("vector", "answers"), **SMALL)
    table = made.explain("u3", "i60")
    assert table["reason"].iloc[1] == "the text of its profile"
    score = made.top(["u3"], 5, new=True).set_index("item").loc["i60", "score"]
    assert table["adds"].sum() == pytest.approx(score, abs=1e-5)


def test_profiles_of_users_need_their_training_pairs() -> None:
    pairs, profiles = liked_pairs()
    users = Profiles(profiles.rows, About(kind="user", pairs="0" * 64))
    with pytest.raises(OptionError, match="users: their profiles go with --fuse concat or align, and with --split column"):
        recommend(pairs, profiles, users=users, **SMALL)
    with pytest.raises(InputError, match="holds profiles of users, not of items"):
        recommend(pairs, users, **SMALL)


def test_profiles_of_users_that_saw_other_pairs_are_refused(tmp_path: Path) -> None:
    pairs, profiles = liked_pairs()
    pairs["split"] = np.where(np.random.default_rng(0).random(len(pairs)) < 0.2, "test", "train")
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    named = [replace(row, id=f"u{at}") for at, row in enumerate(profiles.rows)]
    given: dict[str, Any] = {"split": "column", "backbone": "lightgcn", "fuse": "align", "steps": 3, "dimensions": 4, **SMALL}
    with pytest.raises(InputError, match="users were described by other pairs"):
        recommend(tmp_path / "pairs.csv", profiles, users=Profiles(named, About(kind="user", pairs="0" * 64)), **given)
    from genz_ppl.profiles.users import open_histories
    from genz_ppl.types import Item

    items = [Item(name, name) for name in pd.unique(pairs["item"])]
    right = Profiles(named, About(kind="user", pairs=open_histories(tmp_path / "pairs.csv", items)[1]))
    assert recommend(tmp_path / "pairs.csv", profiles, users=right, **given).metrics["column"]["all"]["ndcg@10"]


def test_profiles_of_other_items_are_refused() -> None:
    pairs, profiles = liked_pairs()
    strange = Profiles([replace(row, id=f"x{at}") for at, row in enumerate(profiles.rows)], profiles.about)
    with pytest.raises(OptionError, match="has a profile of none of the 60 items"):
        recommend(pairs, strange, **SMALL)
