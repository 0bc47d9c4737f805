"""What a run comes to, in words: the final line, its interval, and the ceiling."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from genz_ppl.diagnostics.report.words import worth
from genz_ppl.diagnostics.summary import Ceiling, Summary
from genz_ppl.discovery.reporting import gather

FOUND = Summary(3, "median_absolute_error", 10.0, 9.0, 40.0, 50.0, 0.9, 0.75, 0.6, 0.8)


def test_the_line_has_the_errors_without_questions_and_of_guessing() -> None:
    assert FOUND.line() == (
        "3 features; median absolute error 10 on test items, 9 on training items; on test items 40 without questions "
        "(75 % less, 90 % interval 60 to 80 %), 50 by guessing; R2 0.9"
    )
    assert FOUND.helps
    one = replace(FOUND, n_features=1, metric="cosine", improvement=0.125, lower=-0.05, upper=0.3)
    assert one.line().startswith("1 feature; cosine similarity 10 on")
    assert "(+0.125, 90 % interval -0.050 to +0.300)" in one.line()


def test_what_is_worse_is_said_to_be() -> None:
    worse = replace(FOUND, r2=-0.45, improvement=-0.19, lower=-0.4, upper=0.05)
    assert "(19 % more, 90 % interval -5 to 40 %), 50 by guessing; R2 -0.45" in worse.line()
    assert not worse.helps
    assert not replace(FOUND, improvement=0.0).helps


def test_a_median_that_gets_worse_says_little_where_most_predictions_get_better() -> None:
    ratings = replace(FOUND, r2=0.16, r2_without=0.0, improvement=-0.27)
    assert ratings.helps
    assert not replace(ratings, r2=-0.01).helps
    assert not replace(ratings, r2=-0.08, r2_without=-0.1).helps  # both worse than the mean of these items
    assert not replace(ratings, r2_without=math.nan).helps


def test_what_is_not_known_is_left_out() -> None:
    bare = Summary(0, "log_loss", 0.5, 0.4)
    assert bare.line() == "0 features; log loss 0.5 on test items, 0.4 on training items"
    assert replace(FOUND, n_features=0).line().endswith("items; on test items 50 by guessing; R2 0.9")
    kept = bare.to_dict()
    assert (kept["without"], kept["test"]) == (None, 0.5)
    assert math.isnan(Summary.from_dict(kept).without)
    assert Summary.from_dict(FOUND.to_dict()) == FOUND


@pytest.mark.parametrize(
    ("best", "ours", "said"),
    [
        (0.8, 0.6, "these 4 questions explain 75 % of what boosting does (0.6 of 0.8)"),
        (0.01, 0.5, "these 4 questions explain 0.5 on test items, where boosting finds nothing"),
        (-0.2, -0.1, "boosting explains next to nothing of the test items either (-0.20)"),
        (0.7, -0.3, "boosting explains 70 % on test items; these questions nothing"),
    ],
)
def test_the_ceiling_in_words(best: float, ours: float, said: str) -> None:
    assert Ceiling("boosting", best, ours).line(4) == said
    assert Ceiling("boosting", 0.8, 0.8).line(1) == "this question explains 100 % of what boosting does (0.8 of 0.8)"


def test_what_is_moved_most_is_a_target_that_is_explained(explained: Any) -> None:
    run, items = explained("many", add=1, cut=0)
    data = gather(run, items)
    explained_ones = [column.name for column in data.columns if column.r2("test") > 0]
    assert set(run.features["strongest"]) <= set(explained_ones)
    unexplained = next(place for place, column in enumerate(data.columns) if not column.r2("test") > 0)
    name = data.columns[unexplained].name
    changes = [9.0 if place == unexplained else 1.0 for place in range(len(data.columns))]
    for sign, verb in ((1, "raises"), (-1, "lowers")):
        feature = replace(data.features[0], changes=tuple(sign * change for change in changes))
        assert worth(data, feature).startswith(verb)
        assert name not in worth(data, feature)


def test_of_0_and_1_the_probability_is_that_of_1(explained: Any) -> None:
    run, items = explained("bernoulli", add=1, cut=0)
    named = gather(run, items)
    assert "the probability that y is yes by" in worth(named, named.features[0])
    data = replace(named, columns=(replace(named.columns[0], name="y"),))
    assert "the probability that y is 1 by" in worth(data, data.features[0])
