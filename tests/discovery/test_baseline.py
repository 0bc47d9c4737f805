"""The 0-shot baseline: its whole pruning curve, what was asked for it, and that no test target has a say in what is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, baseline, discover, resume
from genz_ppl.discovery.baseline import pruning_path, readings
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.record import Brief
from genz_ppl.discovery.task import task_of
from genz_ppl.errors import InputError, ModelError, OptionError, RunDirectoryError
from genz_ppl.inference.worth.chance import chance_gain
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import Item

# Made data: what a column tells of the target is no leak here.
pytestmark = pytest.mark.filterwarnings("ignore:.*:genz_ppl.errors.GenzWarning")

TRUE = ["colour is red", "size is at least 5", "note mentions 'old'"]
IDLE = ["size modulo 2 is 1", "size modulo 3 is 1"]
# The opposite of a true one, one that nothing meets, and one that everything meets.
USELESS = ["colour is not red", "size is at least 10", "size is at least 0"]
QUESTIONS = [TRUE[0], USELESS[0], *IDLE, USELESS[1], *TRUE[1:], USELESS[2]]


class Asker(RulesModel):
    """Suggests the same questions whatever it is shown, remembers that, and may break at a call."""

    def __init__(self, questions: Sequence[str] = QUESTIONS, breaks_at: int = 0) -> None:
        self.questions, self.breaks_at, self.calls = list(questions), breaks_at, 0
        self.shown: list[Item] = []
        self.task = ""
        self.asked: list[tuple[str, str]] = []

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        self._count()
        self.shown, self.task = list(items), task
        return self.questions[:n]

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        self._count()
        self.asked += [(item.id, text) for item in items for text in features]
        return super().answer(items, features)

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.breaks_at:
            raise KeyboardInterrupt


@pytest.fixture
def sides(items: Items) -> tuple[set[str], set[str]]:
    """Ids of training and of test items."""
    split = items.split_indices(0, 0.2)
    return set(items.take(split.train).ids), set(items.take(split.test).ids)


def test_the_curve_goes_down_to_nothing_and_the_true_features_are_kept(items: Items) -> None:
    run = baseline(items, Asker(), seed=0)
    assert run.status == "done"
    features, curve = run.features, run.curve
    assert features["text"].tolist() == [text for text in QUESTIONS if text not in USELESS]
    assert set(features["origin"]) == {"suggested"}
    assert set(features[features["active"]]["text"]) == set(TRUE)
    assert curve[curve["event"] == "discard"]["feature"].tolist() == [text for text in QUESTIONS if text in USELESS]
    path = pruning_path(curve)
    assert [point.n_features for point in path] == [5, 4, 3, 2, 1, 0]
    assert set(curve[curve["event"] == "prune"]["feature"][:2]) == set(IDLE)
    errors = np.array([[point.train_error, point.test_error] for point in path])
    assert (np.diff(errors[2:, 0]) > 0).all()  # each of the true ones is missed
    assert errors[2, 1] < errors[-1, 1] / 4
    start = curve.iloc[0]
    np.testing.assert_allclose(errors[-1], [start["train_error"], start["test_error"]])  # none left is none at all


def test_the_kept_point_is_the_best_bound_less_the_price_of_chance(items: Items) -> None:
    run = baseline(items, Asker(), seed=0)
    curve = run.curve
    path = curve[curve["event"].isin(["add", "prune"])].drop_duplicates("n_features", keep="last")
    price = [chance_gain(len(QUESTIONS), 1, first=number == 1) for number in range(1, 6)]
    worth = path["bound"] - [sum(price[:n]) for n in path["n_features"]]
    assert run.curve["n_features"].iloc[-1] == path["n_features"].iloc[worth.argmax()] == 3
    bounds = path["bound"].to_numpy()
    pruned = path["feature"].tolist()[1:]
    table = run.features.set_index("text")
    out = ~table.loc[pruned, "active"].to_numpy()  # of those kept in the end, gain is what they are worth now
    np.testing.assert_allclose(table.loc[pruned, "gain"][out], (bounds[:-1] - bounds[1:])[out])
    assert (table.loc[pruned, "gain"][~out] > 0).all()


def test_every_answer_is_asked_once_and_counted(items: Items, sides: tuple[set[str], set[str]]) -> None:
    model = Asker()
    run = baseline(items, model, seed=0)
    usable = [text for text in QUESTIONS if text not in USELESS]
    expected = [(one, text) for one in sides[0] for text in QUESTIONS] + [(one, text) for one in sides[1] for text in usable]
    assert sorted(model.asked) == sorted(expected)
    found = readings(run.curve)
    assert (found.suggested, found.usable, found.answers_asked) == (8, 5, len(expected))
    assert run.curve["proposals_asked"].iloc[-1] == 1


@pytest.mark.parametrize("examples", [7, 200])
def test_the_model_is_shown_training_items_and_no_targets(items: Items, sides: tuple[set[str], set[str]], examples: int) -> None:
    model = Asker()
    baseline(items, model, examples=examples, seed=0)
    shown = [item.id for item in model.shown]
    assert len(set(shown)) == len(shown) == min(examples, len(sides[0]))
    assert set(shown) <= sides[0]
    assert all("y" not in item.fields for item in model.shown)
    assert model.task == "Predict for each item of the DataFrame: y."
    baseline(items, model, task="What makes y large?", n_questions=2)
    assert model.task == "What makes y large?"


@pytest.mark.slow
def test_test_targets_decide_nothing(frame: pd.DataFrame, items: Items) -> None:
    test = items.split_indices(0, 0.2).test
    shuffled = frame.copy()
    shuffled.loc[test, "y"] = frame["y"].to_numpy()[np.random.default_rng(1).permutation(test)]
    tables = (Items.from_frame(table, id="key", target="y") for table in (frame, shuffled))
    one, other = (baseline(table, n_questions=8, seed=0) for table in tables)
    assert one.curve["event"].tolist().count("prune") >= 8
    pd.testing.assert_frame_equal(one.features, other.features)
    changed = ["test_error", "seconds"]
    pd.testing.assert_frame_equal(one.curve.drop(columns=changed), other.curve.drop(columns=changed))
    assert not np.allclose(one.curve["test_error"], other.curve["test_error"])


@pytest.mark.slow
def test_the_split_and_the_scaling_are_those_of_discover(items: Items, tmp_path: Path) -> None:
    baseline(items, Asker(), seed=4, test_fraction=0.3, out=tmp_path / "baseline")
    discover(items, seed=4, test_fraction=0.3, cycles=1, add=1, cut=0, out=tmp_path / "fit")
    records = [json.loads((tmp_path / name / "run.json").read_text()) for name in ("baseline", "fit")]
    for entry in ("items", "scaling", "fingerprint", "schema"):
        assert records[0][entry] == records[1][entry]
    assert len({(tmp_path / name / "split.parquet").read_bytes() for name in ("baseline", "fit")}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_stop_while_questions_are_answered(items: Items, tmp_path: Path, assert_same_run: Any, at: int) -> None:
    # 14 questions: two steps of answers on training items and, for what is of use, on test items.
    questions = [*QUESTIONS, *(f"size modulo {number} is at least 2" for number in range(4, 10))]
    whole = Asker(questions)
    baseline(items, whole, out=tmp_path / "whole", seed=0, refit_steps=2)
    assert whole.calls == 5
    with pytest.raises(KeyboardInterrupt):
        baseline(items, Asker(questions, at), out=tmp_path / "run", seed=0, refit_steps=2)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "interrupted"
    second = Asker(questions)
    assert resume(tmp_path / "run", items, model=second).status == "done"
    assert second.calls == {1: 5, 2: 4, 3: 4, 4: 2, 5: 2}[at]  # what was answered by the last step is not asked again
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(
    ("settings", "at"),
    [
        ({"n_questions": 6}, 3),
        ({"n_questions": 6}, 7),
        pytest.param({"link": "neural", "n_questions": 3, "refit_steps": 2}, 5, marks=pytest.mark.slow),
    ],
)
def test_a_stop_while_features_are_taken_out(
    items: Items, tmp_path: Path, assert_same_run: Any, settings: dict[str, Any], at: int
) -> None:
    baseline(items, out=tmp_path / "whole", **settings)

    def stop(progress: Any, _: Any) -> None:
        if progress.step == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        baseline(items, out=tmp_path / "run", on_step=stop, **settings)
    stopped = Discovery.load(tmp_path / "run")
    assert stopped.status == "running"
    assert readings(stopped.curve).kept is None
    assert resume(tmp_path / "run", items).status == "done"
    assert_same_run(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow
def test_resume_tells_the_two_kinds_of_run_apart(items: Items, tmp_path: Path) -> None:
    discover(items, cycles=1, add=1, cut=0, out=tmp_path / "fit")
    assert resume(tmp_path / "fit", items).features["origin"].tolist() == ["mined"]
    baseline(items, n_questions=2, out=tmp_path / "baseline")
    assert resume(tmp_path / "baseline", items).status == "done"
    assert RunDirectory(tmp_path / "fit").record().baseline is None
    assert RunDirectory(tmp_path / "baseline").record().baseline == Brief(task_of(items), n_questions=2)


@pytest.mark.parametrize(
    "settings",
    [
        {"likelihood": "student_t"},
        {"link": "interaction"},
        {"inference": "enumeration", "n_questions": 3},
        pytest.param({"inference": "svi", "n_questions": 3, "refit_steps": 1}, marks=pytest.mark.slow),
        pytest.param({"inference": "structured", "n_questions": 3, "refit_steps": 1}, marks=pytest.mark.slow),
    ],
)
def test_models_and_strategies_of_discover(items: Items, settings: dict[str, Any]) -> None:
    run = baseline(items, Asker([TRUE[0], IDLE[0], TRUE[1], TRUE[2]]), seed=0, **settings)
    assert run.status == "done"
    assert [point.n_features for point in pruning_path(run.curve)] == list(range(settings.get("n_questions", 4), -1, -1))
    if settings.get("inference") is None:
        assert set(run.features[run.features["active"]]["text"]) == set(TRUE)


@pytest.mark.slow
def test_classes_and_several_targets(frame: pd.DataFrame) -> None:
    frame["large"] = np.where(frame["size"] >= 5, "yes", "no")
    classes = Items.from_frame(frame.drop(columns="y"), id="key", target="large", classes=True)
    found = baseline(classes, Asker(TRUE[:2]), likelihood="bernoulli")
    assert found.features[found.features["active"]]["text"].tolist() == [TRUE[1]]
    frame["y2"], frame["y3"] = -frame["y"], frame["size"] * 1.0
    vectors = Items.from_frame(frame.drop(columns="large"), id="key", target=["y", "y2", "y3"], text=["colour", "size", "note"])
    run = baseline(vectors, Asker(), seed=0)
    assert readings(run.curve).metric == "cosine"
    assert readings(run.curve).best_test.test_error == max(point.test_error for point in pruning_path(run.curve))


@pytest.mark.parametrize("questions", [[], USELESS[1:]])
def test_without_a_usable_question_nothing_is_kept(items: Items, tmp_path: Path, questions: list[str]) -> None:
    run = baseline(items, Asker(questions), out=tmp_path)
    assert run.status == "done"
    assert run.features.empty
    assert Discovery.load(tmp_path).predict(items)["mean"].nunique() == 1
    found = readings(run.curve)
    assert (found.suggested, found.usable) == (len(questions), 0)
    assert found.best_test == found.kept == pruning_path(run.curve)[0]


def curve(metric: str, tests: Sequence[float]) -> pd.DataFrame:
    events = ["start", "add", "add", "prune", "prune", "prune", "final"]
    numbers = [0, 2, 2, 1, 0, 1, 1]  # the last removal comes after the return to the model that is kept
    rows = {"event": events, "n_features": numbers, "test_error": tests, "train_error": 1.0, "metric": metric, "answers_asked": 9}
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("metric", "tests", "expected"),
    [
        ("rmse", [5, 4, 4, 3, 5, 2, 6], (1, 3)),
        ("cosine", [0.1, 0.4, 0.4, 0.3, 0.1, 0.9, 0.2], (2, 0.4)),
        ("rmse", [5, 4, 4, 4, 5, 4, 6], (1, 4)),
    ],
)
def test_readings(metric: str, tests: Sequence[float], expected: tuple[int, float]) -> None:
    found = readings(curve(metric, tests))
    assert (found.best_test.n_features, found.best_test.test_error) == expected
    assert found.kept is not None
    assert (found.kept.n_features, found.kept.test_error) == (1, tests[-1])


def test_the_task_is_named_after_the_targets(frame: pd.DataFrame) -> None:
    def made(target: list[str], **more: Any) -> Items:
        return Items.from_frame(frame.assign(**{f"t{n}": frame["y"] for n in range(9)}), id="key", target=target, **more)

    assert task_of(made(["y"], name="toys.csv")) == "Predict for each item of toys.csv: y."
    several = made([f"t{n}" for n in range(9)], name="toys.csv")
    assert task_of(several) == "Predict for each item of toys.csv: t0, t1, t2, t3, t4, t5 and 3 more."
    classes = made(["colour"], classes=True, name="toys.csv")
    assert task_of(classes) == "Tell for each item of toys.csv its class: colour (blue, green, red)."


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cycles": 3}, "cycles: no setting of a baseline; known are batch_size, bayesian"),
        ({"n_questions": 0}, "n_questions: expected a whole number of at least 1, got 0"),
        ({"examples": 1.5}, "examples: expected a whole number"),
        ({"task": " "}, "task: expected a description of the task"),
        ({"link": "curly"}, "link: expected one of linear"),
        ({"model_settings": {"max_calls": 1}}, "model_settings: only for models behind a server"),
    ],
)
def test_wrong_arguments(items: Items, tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    model = Asker()
    with pytest.raises(OptionError, match=message):
        baseline(items, model, out=tmp_path / "out", **arguments)
    assert model.calls == 0
    assert not (tmp_path / "out").exists()


def test_items_without_a_target_and_a_folder_in_use(frame: pd.DataFrame, items: Items, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no target column"):
        baseline(Items.from_frame(frame.drop(columns="y"), id="key", require_target=False))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunDirectoryError, match="the folder is not empty"):
        baseline(items, out=tmp_path)


@pytest.mark.parametrize("reply", [None, "one text", [1, 2]])
def test_a_suggestion_of_another_kind_is_refused(items: Items, monkeypatch: pytest.MonkeyPatch, reply: object) -> None:
    answered: Callable[..., object] = lambda *_: reply  # noqa: E731
    monkeypatch.setattr(Asker, "suggest", answered)
    with pytest.raises(ModelError, match=r"the model's suggest\(\): expected a list of texts"):
        baseline(items, Asker())
