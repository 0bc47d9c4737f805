from __future__ import annotations

import inspect
import json
import socket
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from genz_ppl.cli.fit import fit as fit_command
from genz_ppl.cli.plan import plan as plan_command

# Nothing is left to choose on the way, which a plan leaves room for.
GIVEN = ("--likelihood", "gaussian", "--link", "linear")
BARE = ("--id", "key", "--target", "y", "--cycles", "1", "--add", "2", "--cut", "0", "--proposals", "3", *GIVEN)
SHORT = (*BARE, "--suggestions", "0")
SERVED = ("--model", "openai:gpt-4o-mini")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning needs neither a connection nor a key."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_table_of_calls_tokens_and_dollars(genz: Any, table: Path) -> None:
    before = files(table.parent)
    outcome = genz("plan", table.name, *SHORT, *SERVED)
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert lines[0] == (
        "40 items: 32 for training, 8 for testing; at most 2 additions, 12 wordings, 2 features at a time, 432 answers"
    )
    rows = {line.split("  ")[0]: line.split("  ")[1:] for line in lines[1:]}
    assert list(rows) == [
        "at most",
        "proposals (gpt-4o-mini)",
        "answers, training (gpt-4o-mini)",
        "answers, test (gpt-4o-mini)",
        "all",
        "a typical run",
        "of that, items described",
        "of the most",
    ]
    calls = [int(next(filter(None, cells)).split()[0]) for name, cells in list(rows.items())[1:7]]
    # A race of two waves of wordings, 12 and 20 items; then one of six wordings, asked about one by one, whose calls the
    # answers to items that say the same may break up: 2 + 4 for each, one more for the rest of the answers to a wording of
    # the pool.
    assert calls[:4] == [2, 2 * 2 + 6 * 6 + 1, 1, 2 + 41 + 1]
    assert 2 < calls[4] < 40
    unscreened = genz("plan", table.name, *SHORT, *SERVED, "--screen", "0", "--json")
    assert [part["calls"] for part in json.loads(unscreened.out)["parts"]] == [2, 2, 1]
    assert files(table.parent) == before


def test_one_line_of_json_says_the_same(genz: Any, table: Path) -> None:
    outcome = genz("plan", table.name, *SHORT, *SERVED, "--price", "1000,2000", "--json")
    assert (outcome.code, outcome.err) == (0, "")
    (line,) = outcome.out.splitlines()
    plan = json.loads(line)
    assert (plan["calls"], plan["answers"], plan["additions"]) == (44, 432, 2)
    assert 0 < plan["typical"]["calls"] < 40
    assert plan["dollars"] == pytest.approx((1000 * plan["tokens_in"] + 2000 * plan["tokens_out"]) / 1e6, rel=1e-3)
    assert [part["name"] for part in plan["parts"]] == ["proposals", "answers, training", "answers, test"]


def test_suggestions_are_a_part_of_it(genz: Any, table: Path) -> None:
    """One call for ten questions, which are answered together as far as a race goes: here on all 32 items."""
    known, bare = (json.loads(genz("plan", table.name, *each, *SERVED, "--json").out) for each in (BARE, SHORT))
    assert [part["name"] for part in known["parts"]] == ["suggestions", *(part["name"] for part in bare["parts"])]
    assert known["parts"][0]["calls"] == 1
    assert known["wordings"] == bare["wordings"] + 10
    # At most every wording is asked about every item of training, and a combination of three of them of testing.
    assert known["answers"] == bare["answers"] + 10 * 32
    # A typical run that starts with some looks for others less often.
    assert 10 * 32 < known["typical"]["answers"] < bare["typical"]["answers"] + 10 * 32


def test_a_model_on_this_machine_costs_nothing(genz: Any, table: Path) -> None:
    outcome = genz("plan", table.name, *SHORT)
    assert outcome.code == 0
    assert outcome.out.splitlines()[1:] == ["the model answers on this machine: no calls, no tokens, no cost"]
    assert json.loads(genz("plan", table.name, *SHORT, "--json").out)["dollars"] == 0


def test_options_of_the_model_count(genz: Any, table: Path) -> None:
    def dollars(*more: str) -> float:
        outcome = genz("plan", table.name, *SHORT, *SERVED, "--price", "1,1", "--json", *more)
        assert outcome.code == 0, outcome.err
        return float(json.loads(outcome.out)["dollars"])

    usual = dollars()
    assert usual / 2 < dollars("--batch") < usual
    assert dollars("--draws", "3") > 2 * usual
    assert dollars("--items-per-call", "1", "--features-per-call", "1") > 2 * usual
    assert dollars("--max-output-tokens", "10") < usual
    assert dollars("--proposals", "1") < usual
    assert dollars("--text-limit", "100") == usual  # the texts are short


def test_an_unknown_price_is_asked_for(genz: Any, table: Path) -> None:
    outcome = genz("plan", table.name, *SHORT, "--model", "openai:unheard-of", "--max-cost", "1")
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == (
        "the price of unheard-of is not known: give it with --price IN,OUT, dollars per million tokens (0,0 for none)"
    )
    assert "not known" in outcome.out.splitlines()[-2]
    own = genz("plan", table.name, *SHORT, *SERVED, "--base-url", "http://127.0.0.1:8080/v1")
    assert "the price of gpt-4o-mini is not known" in own.out
    assert "not known" not in genz("plan", table.name, *SHORT, "--model", "openai:unheard-of", "--price", "0,0").out


@pytest.mark.parametrize(("option", "value"), [("--max-cost", "0.000001"), ("--max-calls", "13"), ("--max-tokens", "10")])
def test_a_cap_that_the_run_may_reach_is_named(genz: Any, table: Path, option: str, value: str) -> None:
    outcome = genz("plan", table.name, *SHORT, *SERVED, option, value)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].startswith(f"that is more than {option} allows")
    assert "that is more" not in genz("plan", table.name, *SHORT, *SERVED, option, "100000000").out


def test_it_takes_every_option_of_fit() -> None:
    """So that the command line of a fit can be planned as it is."""
    expected = inspect.signature(fit_command).parameters
    found = inspect.signature(plan_command).parameters
    assert set(expected) <= set(found)
    assert {name for name in expected if name != "out" and expected[name].annotation != found[name].annotation} == set()


def test_the_command_line_of_fit_is_planned_as_it_is(genz: Any, table: Path) -> None:
    outcome = genz("plan", table.name, *BARE, *SERVED, "--out", "run", "--quiet", "--store", "store.sqlite", "--workers", "2")
    assert outcome.code == 0
    assert not Path("run").exists()
    assert not Path("store.sqlite").exists()
    Path("plan.toml").write_text(
        'id = "key"\ntarget = "y"\nout = "run"\ncycles = 1\nadd = 2\ncut = 0\nproposals = 3\nmodel = "openai:gpt-4o-mini"\n'
        'likelihood = "gaussian"\nlink = "linear"\n',
        encoding="utf-8",
    )
    assert genz("plan", table.name, "--config", "plan.toml").out == outcome.out


def test_images_are_counted(genz: Any, frame: pd.DataFrame, table: Path) -> None:
    for key in frame["key"]:
        Path(f"{key}.jpg").write_bytes(b"not looked into")
    frame.assign(photo=frame["key"] + ".jpg").to_csv(table, index=False)
    outcome = genz("plan", table.name, *SHORT, *SERVED, "--image", "photo", "--json")
    assert json.loads(outcome.out)["parts"][0]["calls"] == 40
    assert "descriptions of images" not in genz("plan", table.name, *SHORT, *SERVED).out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.csv", "--target", "y"], "nowhere.csv"),
        (["toy.csv"], "--target"),
        (["toy.csv", "--target", "y", "--cycles", "0"], "--cycles: expected a whole number of at least 1"),
        (["toy.csv", "--target", "y", *SERVED, "--draws", "0"], "--draws: expected a whole number of at least 1"),
        (["toy.csv", "--target", "y", *SERVED, "--price", "1"], "expected two numbers"),
        (["toy.csv", "--target", "y", *SERVED, "--prompts", "nowhere"], "--prompts: expected a folder"),
        (["toy.csv", "--target", "y", "--draws", "2"], "only for models behind a server"),
        (["toy.csv", "--target", "y", "--model", "openai:"], "names none of the server's models"),
        (["toy.csv", "--target", "y", "--model", "rulse"], "unknown model 'rulse'"),
        (["toy.csv", "--target", "y", "--test-fraction", "0.001"], "--test-fraction"),
    ],
)
def test_wrong_input_is_refused_in_one_line(genz: Any, table: Path, arguments: list[str], expected: str) -> None:
    outcome = genz("plan", *arguments)
    assert outcome.code == 2
    assert expected in outcome.message
    assert outcome.out == ""
