"""The report as a file: what it says, that nothing in it can act, that it loads nothing and is the same every time."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import parsed

from genz_ppl.data import Items
from genz_ppl.diagnostics.report.charts_classes import confusion_chart
from genz_ppl.diagnostics.report.facts import ReportData
from genz_ppl.diagnostics.report.words import number
from genz_ppl.diagnostics.report.write import render
from genz_ppl.discovery.discover import Discovery
from genz_ppl.discovery.reporting import gather
from genz_ppl.errors import OptionError, RunDirectoryError

EFFECT = ("effect", "effect_lower", "effect_upper")
Explained = Callable[..., tuple[Discovery, Items]]


def data_of(run: Discovery, items: Items, **more: Any) -> ReportData:
    return gather(run, items, **more)


@pytest.fixture(scope="module")
def gaussian(explained: Explained) -> tuple[Discovery, Items]:
    return explained()


@pytest.mark.slow
def test_it_says_what_was_found(gaussian: tuple[Discovery, Items]) -> None:
    run, items = gaussian
    page = parsed(render(data_of(run, items)))
    active = run.features[run.features["active"]]
    assert len(active) == 3
    for text in active["text"]:
        assert text in page.words
    last = run.curve.iloc[-1]
    for said in (
        "What explains y?",
        "Three yes/no questions about an item, together with weight, explain y.",
        f"On 16 items that were kept aside, half of the predictions are off by less than {number(last['test_error'])}",
        "Surest yes",
        "Where the posterior contradicts the answers",
        "R²",
        "90\u00a0% interval",
        f"The run took {number(last['answers_asked'])} answers",
        "likelihood",
        "genz-ppl",
    ):
        assert said in page.words, said


def test_an_effect_is_the_weight_and_the_scores_are_those_of_the_run(gaussian: tuple[Discovery, Items]) -> None:
    run, items = gaussian
    data = data_of(run, items)
    weights = dict(zip(run.posterior.columns, run.fitted(items).state.model.link.weights.detach().numpy()[:, 0], strict=True))
    spread = float(run._scaling.target_spread[0])
    for feature in data.features:
        assert feature.effects[0] == pytest.approx(spread * weights[feature.text], rel=1e-9)
        assert 0 < feature.effect_sd[0] < 0.5
    table = run.features.set_index("text")
    for feature in data.features:
        assert (feature.effect, feature.lower, feature.upper) == tuple(table.loc[feature.text, list(EFFECT)])
    assert data.features[0].strength == max(feature.strength for feature in data.features)
    assert data.facts.scores["test"]["median_absolute_error"] == pytest.approx(run.curve["test_error"].iloc[-1])
    y = items.targets[:, 0]  # type: ignore[index]
    train, test = (np.isin(items.ids, data.item_ids[side]) for side in ("train", "test"))
    assert data.facts.scores["guess_test"]["rmse"] == pytest.approx(np.sqrt(np.mean((y[test] - y[train].mean()) ** 2)))
    assert data.steps[-1].active == tuple(run.features.loc[run.features["active"], "text"])


@pytest.mark.slow
def test_the_effect_of_a_feature_of_counts_is_in_counts(explained: Explained) -> None:
    run, items = explained("poisson")
    feature = data_of(run, items).features[0]
    yes, no = (items.targets[[item.fields["c0"] == answer for item in items]].mean() for answer in (1, 0))  # type: ignore[index]
    assert feature.text == "is it c0?"
    assert feature.changes[0] == pytest.approx(yes - no, rel=0.25)
    assert feature.effects[0] == pytest.approx(np.log(yes / no), rel=0.25)


KINDS = ("student_t", "laplace", "poisson", "negative_binomial", "bernoulli", "categorical", "many")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_target_has_its_charts(explained: Explained, kind: str) -> None:
    run, items = explained(kind)
    page = parsed(render(data_of(run, items)))
    drawn = page.data["charts"]
    expected = {"curve", "fit", "residuals", "cost"}
    expected.add("confusion" if kind in ("bernoulli", "categorical") else "check")
    if kind in ("categorical", "many"):
        expected.add("effects")
    if kind == "many":
        expected.add("dimensions")
    assert set(drawn) == expected
    for name, chart in drawn.items():
        traces = chart.get("traces") or [trace for option in chart["options"] for trace in option["traces"]]
        assert traces, name
        assert all(len(trace["x"]) == len(trace["y"]) for trace in traces), name
    for said in ("most probable class is right", "balanced accuracy", "Brier score", "Which class is taken for which"):
        assert (said in page.words) == (kind in ("bernoulli", "categorical")), said
    assert not re.search(r"\b(nan|inf|None|undefined)\b", page.words)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bernoulli", "categorical"])
def test_classes_are_shown_by_name(explained: Explained, kind: str) -> None:
    run, items = explained(kind)
    data = data_of(run, items)
    drawn = parsed(render(data)).data["charts"]
    labels = ["no", "yes"] if kind == "bernoulli" else ["0", "1", "2"]
    unseen, training = drawn["confusion"]["options"]
    assert (unseen["label"], training["label"]) == ("unseen items", "training items")
    assert unseen["layout"]["yaxis"]["ticktext"] == labels
    counts = np.array(unseen["traces"][0]["text"])
    assert counts.sum() == 16
    assert np.trace(counts) / 16 == pytest.approx(data.facts.scores["test"]["accuracy"])
    rows = confusion_chart(data)["table"]["rows"]
    assert {row[1] for row in rows} <= set(labels)
    assert sum(int(row[3]) for row in rows if row[0] == "unseen items") == 16
    assert set(data.check["target"]) == {f"y is {label}" for label in labels[1 if kind == "bernoulli" else 0 :]}


@pytest.mark.slow
def test_counts_hang_from_what_is_expected_of_them(explained: Explained) -> None:
    run, items = explained("poisson")
    data = data_of(run, items)
    bars, expected = parsed(render(data)).data["charts"]["check"]["options"][0]["traces"]
    column = data.columns[0]
    assert bars["customdata"] == column.observed.tolist()
    np.testing.assert_allclose(np.array(bars["y"]) + bars["base"], expected["y"], atol=1e-3)
    np.testing.assert_allclose(np.array(expected["y"]) ** 2, column.drawn, rtol=1e-3)
    assert min(expected["error_y"]["array"] + expected["error_y"]["arrayminus"]) >= 0


@pytest.mark.parametrize("link", ["interaction", pytest.param("neural", marks=pytest.mark.slow)])
def test_other_links(explained: Explained, link: str) -> None:
    run, items = explained(link=link, add=1, cut=0, refit_steps=2, final_steps=2)
    data = data_of(run, items)
    assert data.link == link
    assert data.features[0].effects[0] != 0
    assert np.isfinite(data.features[0].effect_sd[0]) == (link == "interaction")
    parsed(render(data))


@pytest.mark.slow
def test_missing_targets_are_left_out(explained: Explained) -> None:
    run, items = explained(gaps=True)
    data = data_of(run, items)
    missing = sum(int(np.isnan(data.columns[0].actual[side]).sum()) for side in ("train", "test"))
    assert missing == 3
    assert np.isfinite(data.columns[0].r2("train"))
    parsed(render(data))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gaussian", "many", "categorical"])
def test_hostile_texts_stay_texts(explained: Explained, kind: str) -> None:
    run, items = explained(kind, hostile=True)
    text = render(data_of(run, items))
    page = parsed(text)
    kinds = Counter(tag for tag, _ in page.tags)
    assert kinds["script"] == 3
    assert kinds["img"] == 0
    assert "b" not in kinds
    assert not [attributes for _, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert '<img src=x onerror="document.documentElement.dataset.hacked=1">' in page.words
    assert "{{ 7 * 7 }}" in page.words
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text)
    for character in "<>&":
        assert character not in page.scripts["report-data"]
    labels = json.dumps(page.data["charts"]).replace("<br>", "").replace("<extra></extra>", "")
    traces = [trace for chart in page.data["charts"].values() for trace in chart.get("traces", [])]
    assert traces
    assert "<script" not in "".join(str(trace.get("text", "")) + trace["name"] for trace in traces), labels[:200]
    assert len(text) < 3_000_000  # no text is shown whole if it is very long
    for position, (tag, attributes) in enumerate(page.tags):
        if tag == "bdi":
            assert attributes.get("dir") == "auto", position


def test_it_loads_nothing(gaussian: tuple[Discovery, Items]) -> None:
    text = render(data_of(*gaussian))
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


def test_it_can_be_used_without_seeing_or_pointing(gaussian: tuple[Discovery, Items]) -> None:
    page = parsed(render(data_of(*gaussian)))
    attributes = {a["id"]: (tag, a) for tag, a in page.tags if "id" in a}
    assert len(attributes) == len([1 for _, a in page.tags if "id" in a]), "an id is there twice"
    assert next(a for tag, a in page.tags if tag == "html")["lang"] == "en"
    for name in page.data["charts"]:
        _, of = attributes[f"chart-{name}"]
        assert of["role"] == "img"
        assert len(str(of["aria-label"])) > 30
    tables = sum(1 for tag, a in page.tags if tag == "details" and a.get("class") == "behind")
    assert tables == len(page.data["charts"]) + 2  # settings and versions
    assert attributes["step"][0] == "input"
    assert any(tag == "label" and a.get("for") == "step" for tag, a in page.tags)
    headings = [int(tag[1]) for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(headings))


def palettes() -> list[dict[str, str]]:
    css = (Path(render.__code__.co_filename).parent / "templates" / "report.css").read_text(encoding="utf-8")
    blocks = re.findall(r':root(?:\[data-theme="(?:dark|auto)"\])? \{(.*?)\}', css, re.DOTALL)
    return [dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block)) for block in blocks]


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_colours_have_contrast() -> None:
    found = palettes()
    assert len(found) == 3
    assert found[1] == found[2]  # dark by choice and dark by the system are one
    for palette in found:
        for name in ("ink", "muted", "train", "test", "blue", "red", "purple"):
            for ground in ("paper", "card"):
                light, dark = sorted((luminance(palette[name]), luminance(palette[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (name, ground, palette[name])


@pytest.mark.slow
def test_the_same_run_gives_the_same_file(explained: Explained, tmp_path: Path) -> None:
    run, items = explained(out=tmp_path / "run")
    run.report(tmp_path / "a.html", figures=tmp_path / "figures")
    Discovery.load(tmp_path / "run").report(tmp_path / "b.html", items, figures=tmp_path / "more")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()
    assert (tmp_path / "a.html").stat().st_size < 6_000_000
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    parts = ("learning_curve", "predicted_actual", "feature_weights", "error_rates")
    assert names == {f"{part}.{kind}" for part in parts for kind in ("pdf", "png")}
    for name in sorted(names):
        content = (tmp_path / "figures" / name).read_bytes()
        assert content == (tmp_path / "more" / name).read_bytes(), name
        assert content.startswith(b"%PDF" if name.endswith("pdf") else b"\x89PNG")


@pytest.mark.slow
def test_figures_of_hostile_texts(explained: Explained, tmp_path: Path) -> None:
    run, _ = explained("many", hostile=True)
    run.report(tmp_path / "a.html", figures=tmp_path / "figures")
    assert (tmp_path / "figures" / "feature_weights.pdf").stat().st_size > 5000


@pytest.mark.slow
def test_a_run_without_features(explained: Explained, asker: Any, tmp_path: Path) -> None:
    run, items = explained(model=asker({}))
    page = parsed(render(data_of(run, items)))
    assert "No yes/no question was found that helps to explain y." in page.words
    assert set(page.data["charts"]) == {"curve", "fit", "residuals", "check", "cost"}
    run.report(tmp_path / "none.html", figures=tmp_path / "figures")
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"learning_curve", "predicted_actual"}


@pytest.mark.slow
def test_an_interrupted_run(explained: Explained, asker: Any, tmp_path: Path) -> None:
    wordings = {f"is it c{k}?": f"c{k}" for k in range(3)}
    with pytest.raises(KeyboardInterrupt):
        explained(model=asker(wordings, interrupt=4), proposals=1, polarity="positive", out=tmp_path / "run")
    _, items = explained(model=asker({}))
    run = Discovery.load(tmp_path / "run", model=asker(wordings))
    data = data_of(run, items)
    assert data.facts.status == "interrupted"
    page = parsed(render(data))
    assert "This run was interrupted before its end" in page.words
    assert len(data.features) == len(data.steps[-1].active) > 0


def test_the_baseline_has_its_line(gaussian: tuple[Discovery, Items]) -> None:
    data = data_of(*gaussian, baseline=[(5, 0.9), (3, 0.7), (1, 0.8)])
    page = parsed(render(data))
    (line,) = (trace for trace in page.data["charts"]["curve"]["traces"] if trace["name"].startswith("baseline"))
    assert line["y"] == [0.7, 0.7]
    assert page.data["charts"]["baseline"]["traces"][1]["x"] == [1, 3, 5]
    assert "reach 0.700 at best (with three questions, chosen in hindsight)" in page.words


@pytest.mark.slow
def test_contradicted_answers_are_shown_with_their_items(explained: Explained, asker: Any) -> None:
    wordings = {f"is it c{k}?": f"c{k}" for k in range(3)}
    run, items = explained(model=asker(wordings, wrong=0.15))
    data = data_of(run, items)
    assert 0 < data.n_contradictions == len(data.contradictions)
    case = data.contradictions[0]
    assert "item number" in case.item.text
    assert (case.q > 0.5) != bool(case.answer)
    assert case.item.id in parsed(render(data)).words


def test_what_is_missing_is_said(gaussian: tuple[Discovery, Items], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run, _ = gaussian
    for module in ("plotly", "jinja2", "matplotlib"):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, module, None)
            with pytest.raises(OptionError, match=rf"needs {module}, .* pip install 'genz-ppl\[report\]'"):
                run.report(tmp_path / "a.html", figures=tmp_path / "figures")
    for path, message in (("a.pdf", "ends with .html"), ("nowhere/a.html", "there is no folder")):
        with pytest.raises(OptionError, match=message):
            run.report(tmp_path / path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_loaded_run_reports_without_its_items(explained: Explained, tmp_path: Path) -> None:
    run, _ = explained(out=tmp_path / "run")
    run.report(tmp_path / "whole.html")
    Discovery.load(tmp_path / "run").report(tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert "item number" in (tmp_path / "whole.html").read_text(encoding="utf-8")
    assert "item number" not in page
    assert "k17" in page
    assert "item number" not in "".join(str(path.read_bytes()) for path in (tmp_path / "run").iterdir())
    kept, _ = explained(out=tmp_path / "kept", keep_texts=True)
    kept.report(tmp_path / "whole.html")
    Discovery.load(tmp_path / "kept").report(tmp_path / "kept.html")
    assert (tmp_path / "kept.html").read_bytes() == (tmp_path / "whole.html").read_bytes()


@pytest.mark.slow
def test_a_run_whose_folder_lacks_the_items_needs_them(explained: Explained, tmp_path: Path) -> None:
    _, items = explained(out=tmp_path / "run")
    file = tmp_path / "run" / "items.parquet"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(RunDirectoryError, match=r"items\.parquet: cannot be read .* take it away"):
        Discovery.load(tmp_path / "run").report(tmp_path / "a.html")
    file.unlink()
    with pytest.raises(OptionError, match="pass the items that it was started on"):
        Discovery.load(tmp_path / "run").report(tmp_path / "a.html")
    Discovery.load(tmp_path / "run").report(tmp_path / "a.html", items)
    assert len(Discovery.load(tmp_path / "run").posterior) == 64
