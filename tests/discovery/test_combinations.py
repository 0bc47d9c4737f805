"""Questions put together in a run: found where only they explain the target, asked by their parts, of known likelihood."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover
from genz_ppl.discovery.parts import fit_by_parts
from genz_ppl.discovery.resume import resume
from genz_ppl.discovery.run.progress import Progress
from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.choose import steps_of
from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.worth.judge import judge_of
from genz_ppl.inference.worth.prune import removals
from genz_ppl.llm.combined import parts_of, rules_of
from genz_ppl.llm.rules.model import RulesModel
from tests.discovery.conftest import Recorder


def admissions(rows: int = 240) -> pd.DataFrame:
    """Admitted: art and history are both A, or the applicant is an athlete with a record of 5 or more."""
    random = np.random.default_rng(3)
    grades = ["A", "B", "C"]
    table = pd.DataFrame(
        {
            "key": [f"k{row}" for row in range(rows)],
            "art": random.choice(grades, rows),
            "history": random.choice(grades, rows),
            "athlete": random.choice(["yes", "no"], rows),
            "record": random.integers(0, 10, rows),
        }
    )
    first = (table["art"] == "A") & (table["history"] == "A")
    second = (table["athlete"] == "yes") & (table["record"] >= 5)
    table["outcome"] = np.where(first | second, "admitted", "rejected")
    return table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Discovery:
    return discover(admissions(), id="key", target="outcome", cycles=2, out=tmp_path_factory.mktemp("runs") / "admissions")


def test_both_rules_are_found_and_words_are_taken_for_classes(run: Discovery) -> None:
    texts = run.features.loc[run.features["active"], "text"].tolist()
    fields = [{part.split()[0] for part in parts_of(text)} for text in texts]
    assert any(found >= {"art", "history"} for found in fields)
    assert any(found >= {"athlete", "record"} for found in fields)
    assert run.record.settings.likelihood == "bernoulli"
    assert run.curve["test_error"].iloc[-1] < 0.1


def rules_apart(signal: float, rows: int = 500) -> pd.DataFrame:
    """y is higher by the signal where any of three pairs of fields is all yes."""
    random = np.random.default_rng(5)
    fields = random.random((rows, 6)) < 0.35
    pairs = np.asarray(fields.reshape(rows, 3, 2).all(axis=2))
    y = signal * pairs.any(axis=1) + random.normal(size=rows)
    columns = {f"field{number}": np.where(column, "yes", "no") for number, column in enumerate(fields.T)}
    return pd.DataFrame({"key": [f"k{row}" for row in range(rows)], **columns, "y": y})


def test_rules_of_one_effect_are_joined() -> None:
    """The first rule takes the whole effect, so that the items of another pass for its wrong answers."""
    run = discover(rules_apart(2.5), id="key", target="y", likelihood="gaussian")
    assert "joined" in run.features["origin"].tolist()
    kept = run.features[run.features["active"]]
    rules = {frozenset(part.text.split()[0] for part in rule) for text in kept["text"] for rule in rules_of(text)}
    assert rules == {frozenset({f"field{2 * pair}", f"field{2 * pair + 1}"}) for pair in range(3)}
    assert any(len(rules_of(text)) > 1 for text in kept["text"])


def test_gains_are_of_the_bound_that_the_run_reports(run: Discovery) -> None:
    state, data = run.progress.state, run.fitted().data
    judge, judged = judge_of(state, data, run.record.settings.refit_steps)
    assert judge is state
    steps = steps_of(state.model, run.record.settings.refit_steps)
    whole = refit(state.copy(), judged, steps).total
    lost = [whole - removal.bound for removal in removals(state, judged, steps)]
    assert run.features.loc[run.features["active"], "gain"].tolist() == pytest.approx(lost, abs=1e-6)
    assert run.progress.bound <= 0  # of classes, and no gain can be more than all there is to explain
    assert max(lost) < len(data.targets) * np.log(2)


def test_predictions_ask_about_parts_only(run: Discovery) -> None:
    recorder = Recorder()
    with_model = discover(admissions(), recorder, id="key", target="outcome", cycles=1, add=2, seed=0)
    recorder.asked.clear()
    new = admissions(300).iloc[240:].assign(key=[f"new{row}" for row in range(60)])
    predicted = with_model.predict(new.drop(columns="outcome").set_index("key"))
    assert len(predicted) == 60
    texts = with_model.features.loc[with_model.features["active"], "text"]
    assert any(len(parts_of(text)) > 1 for text in texts)
    asked = {text for _, features in recorder.asked for text in features}
    assert asked == {part for text in texts for part in parts_of(text)}


def test_models_meet_no_wordings_but_their_own() -> None:
    recorder = Recorder()
    discover(admissions(), recorder, id="key", target="outcome", cycles=1, add=3, seed=0)
    named = {text for contrast, _ in recorder.contrasts for text in (*contrast.existing, *contrast.context)}
    assert named
    assert all(RulesModel().knows(text) for text in named)


def test_one_question_at_a_time_if_asked(run: Discovery) -> None:
    alone = discover(admissions(), id="key", target="outcome", cycles=1, combine=1)
    assert all(len(parts_of(text)) == 1 for text in alone.features["text"])
    assert alone.curve["train_error"].iloc[-1] > run.curve["train_error"].iloc[-1]


def test_a_stopped_run_goes_on_to_the_same_end(run: Discovery, tmp_path: Path) -> None:
    class StopError(Exception):
        pass

    def stop(progress: Progress, settings: object) -> None:
        if progress.step == 3:
            raise StopError

    with pytest.raises(StopError):
        discover(admissions(), id="key", target="outcome", cycles=2, out=tmp_path / "run", on_step=stop)
    again = resume(tmp_path / "run", Items.from_frame(admissions(), id="key", target="outcome", classes=True))
    assert again.features.equals(run.features)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["yes", "no"] * 10, "bernoulli"),
        (["a", "b", "c", "a"] * 5, "categorical"),
        ([0, 1] * 10, "bernoulli"),
        ([1, 2, 3, 4] * 5, "gaussian"),
        ([0.5, 1.5] * 10, "gaussian"),
    ],
)
def test_the_likelihood_is_that_of_the_targets(values: list[object], expected: str) -> None:
    table = pd.DataFrame({"x": list("aabbaabbabababababab"), "z": [3, 7] * 5 + [7, 3] * 5, "y": values})
    assert discover(table, target="y", cycles=1, add=1).record.settings.likelihood == expected


def test_numbers_with_a_word_among_them_are_refused_as_ever() -> None:
    table = pd.DataFrame({"x": list("ab") * 10, "y": [*map(str, range(19)), "unknown"]})
    with pytest.raises(Exception, match="unknown"):
        discover(table, target="y", cycles=1, add=1)


def test_classes_read_by_the_user_need_no_name() -> None:
    items = Items.from_frame(admissions(60), id="key", target="outcome", classes=True)
    assert discover(items, cycles=1, add=1).record.settings.likelihood == "bernoulli"


def test_questions_can_be_fitted_by_their_parts(run: Discovery) -> None:
    texts = run.features.loc[run.features["active"], "text"].tolist()
    found = fit_by_parts(run, steps=5)
    assert set(found.answer_names) == {part for text in texts for part in parts_of(text)}
    assert found.error_rates.shape == (len(found.answer_names),)
    assert found.parameters["combination_weights"].shape == (len(texts), 1)
    table = admissions()
    parts = RulesModel().answer(Items.from_frame(table, id="key", target="outcome", classes=True)[:], list(found.answer_names))
    predicted = found.predict(pd.DataFrame(parts, columns=list(found.answer_names)))[:, 0] > 0.5
    assert (predicted == (table["outcome"] == "rejected")).mean() > 0.9


def test_more_parts_than_can_be_enumerated_are_refused(run: Discovery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genz_ppl.inference.engines.exact.MOST_FEATURES", 2)
    with pytest.raises(OptionError, match="enumeration takes at most 2 features"):
        fit_by_parts(run)


def table_of(rows: int = 300) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Films that are rated lower where they are comedies and old; attributes, and targets."""
    random = np.random.default_rng(6)
    known = pd.DataFrame({"id": [f"m{row}" for row in range(rows)]})
    for text in ("Is it a comedy?", "Is it old?", "Is it long?", "Is it loud?"):
        known[text] = random.integers(0, 2, rows)
    y = -2.0 * (known["Is it a comedy?"] & known["Is it old?"]) + 0.3 * random.normal(size=rows)
    return known, pd.DataFrame({"id": known["id"], "title": [f"film {row}" for row in range(rows)], "y": y})


def test_an_opposite_in_a_combination_is_said_once(tmp_path: Path) -> None:
    known, items = table_of()
    known.to_csv(tmp_path / "known.csv", index=False)
    run = discover(items, f"table:{tmp_path / 'known.csv'}", id="id", target="y", cycles=2)
    texts = run.features.loc[run.features["active"], "text"].tolist()
    assert any(set(parts_of(text)) == {"Is it a comedy?", "Is it old?"} for text in texts)
    assert not any("not (" in text for text in texts)  # the table words opposites so
    assert np.corrcoef(run.predict(items)["mean"], items["y"])[0, 1] > 0.9
