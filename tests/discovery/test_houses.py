"""The main job on the paper's house data, where they are at hand; benchmarks/houses.py has the whole comparison."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from genz_ppl import Discovery, Items, discover
from genz_ppl.data import open_source
from genz_ppl.llm.combined import parts_of
from genz_ppl.types import FloatArray

SEEDS = (0, 1, 2)


def ridge_error(items: Items, seed: int) -> float:
    """Test median absolute error of ridge regression on area, bedrooms, bathrooms, their logarithms and zip dummies."""
    assert items.targets is not None
    zips = pd.get_dummies(pd.Series([str(item.fields["zipcode"]) for item in items.items])).to_numpy(dtype=np.float64)
    inputs = np.column_stack([items.covariates, np.log(items.covariates), zips])
    order = np.random.RandomState(seed).permutation(len(items))
    train, test = np.split(order, [round(0.8 * len(items))])
    scaler = StandardScaler().fit(inputs[train])
    model = RidgeCV(np.logspace(-2, 4, 25)).fit(scaler.transform(inputs[train]), items.targets[train, 0])
    return float(np.median(np.abs(model.predict(scaler.transform(inputs[test])) - items.targets[test, 0])))


def wordings_answered(run: Discovery) -> float:
    """How many wordings the answers asked for were about since the run began, the last time: 428 a wording, 107 more for one that
    was kept at some time, alone or as a part."""
    asked: FloatArray = run.curve["answers_asked"].to_numpy(dtype=np.float64)
    return float(asked[-1] - asked[0] - 107 * len({part for text in run.features["text"] for part in parts_of(text)})) / 428


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:houses. [0-9]+ of:genz_ppl.errors.GenzWarning")
def test_houses_with_annotations_beat_ridge_with_zip_dummies(data_folder: Path) -> None:
    items = open_source(f"houses:{data_folder / 'houses'}")
    runs = [discover(items, seed=seed) for seed in SEEDS]
    assert mean(run.curve["test_error"].iloc[-1] for run in runs) < mean(ridge_error(items, seed) for seed in SEEDS)
    for run in runs:
        assert any(text.startswith("zipcode") for text in run.features.loc[run.features["active"], "text"])
        assert wordings_answered(run).is_integer()
