from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz_ppl.recommend import RecommendSettings, full_ranking, read_interactions
from genz_ppl.recommend.fill import Fill
from genz_ppl.recommend.linear import ease_factors
from genz_ppl.recommend.splits import split_of

SETTINGS = RecommendSettings()


@pytest.fixture
def ratings(data_folder: Path) -> pd.DataFrame:
    return pd.read_parquet(data_folder / "ml-1m" / "ratings.parquet")[["user", "movie", "rating"]]


@pytest.mark.slow
def test_pairs_are_those_of_the_published_protocol_and_ease_is_as_good(ratings: pd.DataFrame) -> None:
    known = read_interactions(ratings, 4, 5)
    assert (len(known.users), len(known.items)) == (6034, 3125)
    split = split_of(known, "random", 0)
    found = full_ranking(ease_factors(split.train, SETTINGS.ridge, SETTINGS.balance), split.train, split.test)["all"]
    assert found["ndcg@20"] >= 0.329
    assert found["recall@20"] >= 0.293


@pytest.mark.slow
def test_answers_know_new_films_and_shuffled_ones_do_not(ratings: pd.DataFrame, data_folder: Path) -> None:
    lines = [json.loads(line) for line in (data_folder / "ml-1m" / "movie_answers.jsonl").read_text().splitlines()]
    films = pd.read_csv(data_folder / "ml-1m" / "movies_top512.csv")["ml_id"]
    known = read_interactions(ratings[ratings["movie"].isin(films)], 4, 5)
    answers = np.array([[float(int(name) in line["yes"]) for line in lines] for name in known.items])
    split = split_of(known, "cold", 0)
    factors = ease_factors(split.train, SETTINGS.ridge, SETTINGS.balance)
    values = []
    for features in (answers, answers[np.random.RandomState(0).permutation(len(answers))]):
        filled = Fill.of(factors, features, SETTINGS.fill_ridge).filled(factors, features)
        ranked = full_ranking(filled, split.train, split.test, candidates=split.cold, relevant={"cold": split.cold})
        values.append(ranked["cold"]["ndcg@10"])
    assert values[0] > 0.4
    assert values[1] < 0.2
