"""A run as a notebook shows it: in a line, as HTML, as charts."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

from genz_ppl import Discovery, Items, discover
from genz_ppl.errors import OptionError
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import Contrast

QUICK: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 0}


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    mpl.use("Agg")
    yield
    pyplot.close("all")


@pytest.fixture
def run(items: Items, tmp_path: Path) -> Discovery:
    discover(items, out=tmp_path / "run", **QUICK)
    return Discovery.load(tmp_path / "run")  # nothing but what the folder holds


def test_a_run_says_what_it_is(run: Discovery, tmp_path: Path) -> None:
    line = repr(run)
    assert re.fullmatch(
        r"<Discovery: two questions explain y; median absolute error 0\.\d+ on test items \(\d\.\d+ without questions\), "
        rf"0\.\d+ on training items; in {re.escape(str(tmp_path / 'run'))}>",
        line,
    )


def test_the_page_holds_line_table_and_curve(run: Discovery) -> None:
    page = run._repr_html_()
    assert "two questions explain y" in page
    for text in run.posterior.columns:
        assert f"<td>{text}</td>" in page
    assert re.search(r'<img alt="learning curve" src="data:image/png;base64,[A-Za-z0-9+/=]{1000,}">', page)
    for name in ("prevalence", "gain"):
        assert f"<th>{name}</th>" in page
    assert "added_at" not in page
    assert len(page) < 100_000


class _Hostile(RulesModel):
    def propose(self, contrast: Contrast, n: int) -> list[str]:
        return ['colour is "<script>x</script>"', "colour is red"]


def test_texts_are_escaped(frame: pd.DataFrame, tmp_path: Path) -> None:
    frame["colour"] = frame["colour"].replace("red", "<script>x</script>")
    run = discover(frame, _Hostile(), id="key", target="y", cycles=1, add=1, cut=0)
    assert run.posterior.columns.tolist() == ['colour is "<script>x</script>"']
    page = run._repr_html_()
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_run_without_features_is_shown(frame: pd.DataFrame) -> None:
    class Silent(RulesModel):
        def propose(self, contrast: Contrast, n: int) -> list[str]:
            return []

    run = discover(frame, Silent(), id="key", target="y", **QUICK)
    assert "no questions explain y" in repr(run)
    assert "<table" not in run._repr_html_()
    assert run.plot.predicted().get_xlabel() == "predicted"


@pytest.mark.slow
def test_charts_are_drawn_on_axes(run: Discovery) -> None:
    own = Figure().add_subplot()
    assert run.plot.curve(own) is own
    assert own.get_ylabel() == "median absolute error"
    test = own.get_lines()[1].get_ydata()
    assert np.asarray(test)[-1] == run.curve["test_error"].iloc[-1]
    effects = run.plot.effects()
    assert effects.get_xlabel() == "effect on y"
    assert effects.get_yticklabels()[0].get_text() == "colour is red"
    middles = effects.collections[1].get_offsets()
    ends = np.array([segment[:, 0] for segment in effects.collections[0].get_segments()])  # type: ignore[attr-defined]
    assert np.asarray(middles)[0, 0] == pytest.approx(3.0, abs=0.5)
    assert (np.diff(ends)[:, 0] > 0.01).all()
    assert ends.mean(axis=1) == pytest.approx(np.asarray(middles)[:, 0])
    predicted = run.plot.predicted()
    points = [np.asarray(side.get_offsets()) for side in predicted.collections]
    assert [len(part) for part in points] == [48, 12]
    assert [text.get_text() for text in predicted.get_legend().get_texts()] == ["train", "test"]  # type: ignore[union-attr]
    np.testing.assert_allclose(np.sort(points[1][:, 1]), np.sort(run.fitted(side="test").targets.numpy()[:, 0]))
    shares = np.asarray(run.plot.calibration().get_lines()[1].get_ydata())
    assert (np.diff(shares) >= 0).all()
    assert shares[-1] > 0.8
    with pytest.raises(OptionError, match="target: there is no 'x'; known are y"):
        run.plot.effects(target="x")


@pytest.mark.slow
def test_charts_of_classes_and_of_several_targets(frame: pd.DataFrame) -> None:
    frame["large"] = np.where(frame["y"] >= 1, "yes", "no")
    classes = discover(frame, id="key", target="large", text=["colour", "note"], likelihood="bernoulli", **QUICK)
    axes = classes.plot.calibration()
    assert axes.get_xlabel() == "probability predicted"
    axes, table = classes.plot.effects(), classes.features.set_index("text")
    assert axes.get_xlabel() == "effect on large is yes (log-odds)"
    first = table.loc[axes.get_yticklabels()[0].get_text()]
    ends = np.asarray(axes.collections[0].get_segments()[0])[:, 0]  # type: ignore[attr-defined]
    assert tuple(ends) == (first["effect_lower"], first["effect_upper"])
    frame["x"] = -2 * frame["y"] + np.random.default_rng(2).normal(size=60)
    both = discover(frame.drop(columns="large"), id="key", target=["y", "x"], **QUICK)
    assert "strength" in both.plot.effects().get_xlabel()
    assert both.plot.effects(target="x").get_xlabel() == "effect on x"
    assert len(both.plot.predicted(target="x").collections[0].get_offsets()) == 48  # type: ignore[arg-type]
    assert len(both.plot.predicted().collections[0].get_offsets()) == 96  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_dollar_in_a_question_is_a_dollar(run: Discovery) -> None:
    axes = Figure().add_subplot()
    run.plot.effects(axes)
    assert not any(label.get_parse_math() for label in axes.get_yticklabels())


def test_without_matplotlib(run: Discovery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        OptionError, match=r"plot: needs matplotlib, which is not installed; run: pip install 'genz-ppl\[report\]'"
    ):
        run.plot.curve()
    assert "<img" not in run._repr_html_()


@pytest.mark.slow
def test_progress_is_shown_where_somebody_looks(
    items: Items, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    discover(items, **QUICK)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    discover(items, **QUICK)
    assert "cycle 1 of 1" in capsys.readouterr().err
    steps: list[int] = []
    discover(items, on_step=lambda progress, settings: steps.append(progress.step), **QUICK)
    discover(items, progress=False, **QUICK)
    assert capsys.readouterr() == ("", "")
    assert steps == sorted(steps)
    steps.clear()
    discover(items, on_step=lambda progress, settings: steps.append(progress.step), progress=True, **QUICK)
    assert steps
    assert "cycle 1 of 1" in capsys.readouterr().err
