"""The report of a run on two sides: what it says, that nothing in it can act or load, that it is the same every time."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pages import Parsed, parsed

from genz_ppl.data import Items
from genz_ppl.diagnostics.report.pair_facts import PairReportData
from genz_ppl.diagnostics.report.pair_write import render_pairs
from genz_ppl.diagnostics.report.words import number
from genz_ppl.discovery.pairs.reporting import gather_pairs
from genz_ppl.discovery.pairs.result import CoOccurrenceRun
from genz_ppl.discovery.pairs.watch import PairWatchers
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import Pairs

Crossing = tuple[CoOccurrenceRun, tuple[Any, Any], Pairs]
Crossed = Callable[..., Crossing]


def data_of(run: CoOccurrenceRun, sides: tuple[Any, Any] = (None, None)) -> PairReportData:
    known = tuple(side if isinstance(side, Items) else None for side in sides)
    return gather_pairs(run, (known[0], known[1]), run._problem)


def page_of(run: CoOccurrenceRun, sides: tuple[Any, Any] = (None, None)) -> Parsed:
    return parsed(render_pairs(data_of(run, sides)))


@pytest.fixture(scope="module")
def gaussian(crossed: Crossed) -> Crossing:
    return crossed()


@pytest.mark.slow
def test_it_says_what_was_found(gaussian: Crossing) -> None:
    run, sides, _ = gaussian
    page = page_of(run, sides)
    held_out = run.scores["held_out"]
    assert held_out["rmse"] is not None
    assert held_out["guess_rmse"] is not None
    for said in (
        "What explains the pairs of rows.csv and columns.csv?",
        "Two yes/no questions about the rows and two yes/no questions about the columns explain",
        "pairs between 50 rows and 40 columns.",
        f"the root mean squared error of the predictions is {number(held_out['rmse'])}; always guessing the mean gives "
        f"{number(held_out['guess_rmse'])}, so this is",
        "pairs of a new row and a new column (guessing",
        "50 rows (10 kept aside) × 40 columns (8 kept aside)",
        "Row R1: is it c0?Column C1: is it c0?",
        "Where both are true, the value is higher by",
        "Surest yes",
        "row number",
        "column number",
        "dimensions",
        "genz-ppl",
    ):
        assert said in page.words, said
    assert not re.search(r"\b(nan|inf|None|undefined)\b", page.words)


def test_affinities_are_those_of_the_run(gaussian: Crossing) -> None:
    run, sides, _ = gaussian
    data = data_of(run, sides)
    (trace,) = page_of(run, sides).data["charts"]["affinity"]["traces"]
    known = run.affinity
    strongest = float(known.to_numpy().max())
    for i, row in enumerate(data.rows.features):
        for j, column in enumerate(data.columns.features):
            assert trace["z"][i][j] == pytest.approx(known.loc[row.text, column.text], rel=1e-4)
    # The location is 1.5 s s' for the first fields of both sides, with signs s: yes with yes moves it by 4 x 1.5.
    assert strongest == known.loc["is it c0?", "is it c0?"] == pytest.approx(6, rel=0.25)
    assert f"the value is higher by {number(strongest)} than" in page_of(run, sides).words
    assert max(abs(value) for row in trace["z"] for value in row) == pytest.approx(trace["zmax"], rel=1e-4)
    assert trace["zmin"] == -trace["zmax"]
    assert trace["texttemplate"] == "%{text}"
    for texts, values in zip(trace["text"], trace["z"], strict=True):
        for text, value in zip(texts, values, strict=True):
            assert float(text.replace("−", "-")) == pytest.approx(value, abs=0.051)


def test_what_a_yes_adds_is_what_predictions_of_new_rows_differ_by(gaussian: Crossing) -> None:
    run, sides, _ = gaussian
    feature = next(one for one in data_of(run, sides).rows.features if one.text == "is it c0?")
    assert feature.error_rate < 1e-3  # an answer is the truth
    table = pd.DataFrame({"key": ["yes", "no"], "c0": [1, 0], "c1": [1, 1], "c2": [0, 0], "note": ["new", "new"]})
    new = Items.from_frame(table, id="key", text=["c0", "c1", "c2", "note"], require_target=False)
    means = [run.predict([(name, column) for column in run.ids[1]], rows=new)["mean"] for name in ("yes", "no")]
    assert feature.average == pytest.approx(float((means[0] - means[1]).mean()), abs=0.01)
    assert feature.spread == pytest.approx(float((means[0] - means[1]).std(ddof=0)), rel=0.01)


def test_guesses_are_the_mean_of_the_training_pairs(gaussian: Crossing) -> None:
    run, _, pairs = gaussian
    assert run._problem is not None
    parts = run._problem.split.parts()
    mean = pairs.values[parts["train"]].mean()
    for name, chosen in parts.items():
        expected = np.sqrt(np.mean((pairs.values[chosen] - mean) ** 2))
        assert run.scores[name]["guess_rmse"] == pytest.approx(expected)
    assert set(data_of(run).scores) == {"train", "held_out", "new_rows", "new_columns", "new_both"}


def test_points_are_predictions(gaussian: Crossing) -> None:
    run = gaussian[0]
    points = data_of(run).points["held_out"]
    assert np.sqrt(np.mean((points.actual - points.predicted) ** 2)) == pytest.approx(run.scores["held_out"]["rmse"])
    assert len(points.actual) == run.scores["held_out"]["n_pairs"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("likelihood", "words"),
    [
        ("bernoulli", ("log-odds of a one are", "the odds times")),
        ("poisson", ("logarithm of the expected count is", "count times")),
    ],
)
def test_other_values(crossed: Crossed, likelihood: str, words: tuple[str, ...]) -> None:
    run, sides, _ = crossed(likelihood)
    page = page_of(run, sides)
    for said in words:
        assert said in page.words, said
    charts = page.data["charts"]
    assert set(charts) == {"affinity", "stages", "predictions", "cost"}
    for option in charts["predictions"]["options"]:
        kinds = [trace["name"] for trace in option["traces"]]
        assert ("pairs" in kinds) == (likelihood == "poisson")
        assert all(len(trace["x"]) == len(trace["y"]) for trace in option["traces"])
    assert not re.search(r"\b(nan|inf|None|undefined)\b", page.words)


def test_an_undescribed_side_has_no_features(crossed: Crossed) -> None:
    run, sides, _ = crossed(described=(True, False))
    data = data_of(run, sides)
    assert (data.rows.state, data.columns.state) == ("found", "undescribed")
    assert data.affinity is None
    page = page_of(run, sides)
    assert "The columns are undescribed" in page.words
    assert "it takes features on both sides, and the columns have none" in page.words
    assert "affinity" not in page.data["charts"]
    assert "of new columns" not in page.words.partition("How well it predicts")[2].partition("Guess:")[0]


@pytest.mark.slow
def test_a_link_that_is_not_linear_has_no_affinity(crossed: Crossed) -> None:
    run, sides, _ = crossed(link="interaction")
    page = page_of(run, sides)
    assert "There is no matrix of affinities: with the link 'interaction'" in page.words
    assert "affinity" not in page.data["charts"]
    assert "is it c0?" in page.words
    assert "Own bias" not in page.words
    assert not re.search(r"\b(nan|inf|None|undefined)\b", page.words)


@pytest.mark.slow
def test_nothing_found(crossed: Crossed, asker: Any) -> None:
    run, sides, _ = crossed(model=asker({}))
    page = page_of(run, sides)
    assert "No yes/no question explains the" in page.words
    assert "No yes/no question about the columns was found" in page.words


@pytest.mark.slow
def test_hostile_texts_stay_texts(crossed: Crossed) -> None:
    run, sides, _ = crossed(hostile=True)
    text = render_pairs(data_of(run, sides))
    page = parsed(text)
    kinds = Counter(tag for tag, _ in page.tags)
    assert kinds["script"] == 3
    assert kinds["img"] == 0
    assert "b" not in kinds
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert '<img src=x onerror="document.documentElement.dataset.hacked=1">' in page.words
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
    for character in "<>&":
        assert character not in page.scripts["report-data"]
    (trace,) = page.data["charts"]["affinity"]["traces"]
    assert not re.search(r"<(?!br>)", json.dumps(trace["customdata"]))  # plotly reads some HTML
    assert len(text) < 3_000_000
    for position, (tag, attributes) in enumerate(page.tags):
        if tag == "bdi":
            assert attributes.get("dir") == "auto", position


@pytest.mark.slow
def test_it_loads_nothing(gaussian: Crossing) -> None:
    text = render_pairs(data_of(gaussian[0], gaussian[1]))
    page = parsed(text)
    shown = text.replace(page.scripts["plotly-source"], "")
    assert not re.search(r"(?<!www\.w3\.)https?:", shown)
    assert "url(" not in shown
    assert "@import" not in shown
    for tag, attributes in page.tags:
        assert "src" not in attributes
        assert tag not in ("link", "iframe", "object", "embed")
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = (a["content"] for tag, a in page.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in str(policy)


def test_it_can_be_used_without_seeing_or_pointing(gaussian: Crossing) -> None:
    page = page_of(gaussian[0], gaussian[1])
    attributes = {str(a["id"]): (tag, a) for tag, a in page.tags if "id" in a}
    assert len(attributes) == len([1 for _, a in page.tags if "id" in a]), "an id is there twice"
    for name in page.data["charts"]:
        _, of = attributes[f"chart-{name}"]
        assert of["role"] == "img"
        assert len(str(of["aria-label"])) > 30
    for tag, a in page.tags:
        if tag == "a":
            assert str(a["href"]).removeprefix("#") in attributes
    tables = sum(1 for tag, a in page.tags if tag == "details" and a.get("class") == "behind")
    assert tables == len(page.data["charts"]) + 2  # settings and versions
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))


@pytest.mark.slow
def test_a_loaded_run_gives_the_same_file(crossed: Crossed, tmp_path: Path) -> None:
    run, (rows, columns), pairs = crossed(out=tmp_path / "run")
    run.report(tmp_path / "a.html")
    loaded = CoOccurrenceRun.load(tmp_path / "run")
    loaded.report(tmp_path / "b.html", rows, columns, pairs)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.html").stat().st_size < 6_000_000
    loaded.report(tmp_path / "c.html")
    page = parsed((tmp_path / "c.html").read_text(encoding="utf-8"))
    assert "What explains the pairs of rows and columns?" in page.words
    assert set(page.data["charts"]) == {"affinity", "stages", "cost"}
    assert "row number" not in page.words
    assert "always guessing the mean gives" in page.words
    for given, message in (
        ({"pairs": pairs}, "pass rows= and columns= too"),
        ({"rows": columns}, "rows: 50 items of the run are not among those given, such as 'row "),
        (
            {"rows": rows, "columns": columns, "pairs": Pairs(pairs.rows, pairs.columns, pairs.values + 1, 50, 40)},
            "are not those",
        ),
    ):
        with pytest.raises((InputError, OptionError), match=message):
            loaded.report(tmp_path / "d.html", **given)
    for path, message in (("a.pdf", "ends with .html"), ("nowhere/a.html", "there is no folder")):
        with pytest.raises(OptionError, match=message):
            run.report(tmp_path / path)
    assert {path.name for path in tmp_path.iterdir()} == {"run", "a.html", "b.html", "c.html"}


def test_a_run_that_was_stopped(crossed: Crossed, tmp_path: Path) -> None:
    def stop(progress: Any) -> None:
        if progress.stage == 2:  # the rows are searched, nothing of it is fitted
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crossed(out=tmp_path / "run", watchers=PairWatchers(on_stage=stop))
    run = CoOccurrenceRun.load(tmp_path / "run")
    data = data_of(run)
    assert (data.rows.state, data.columns.state, data.status) == ("stale", "waiting", "interrupted")
    page = page_of(run)
    assert "This run was interrupted before its end" in page.words
    assert "New features of the rows were found, but the run was stopped before they were fitted" in page.words
    assert "The columns have not been searched yet" in page.words
