"""`genz prompts`: shows, checks and copies the prompts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from genz_ppl.llm.served.prompt_files import EARLIER, NAMES, built_in
from genz_ppl.llm.served.templates import Prompts


def test_all_prompts_are_shown_with_names_versions_and_texts(genz: Any) -> None:
    outcome = genz("prompts")
    assert (outcome.code, outcome.err) == (0, "")
    prompts = Prompts.load()
    for name in NAMES:
        assert f"== {name}, version {prompts.version(name)} (built in)\n" in outcome.out
        assert f"--- system\n{prompts.by_name[name].system}\n--- user\n{prompts.by_name[name].user}\n" in outcome.out


def test_on_a_terminal_nothing_is_taken_for_markup(genz: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    outcome = genz("prompts")
    assert outcome.code == 0
    for name in NAMES:
        assert f"{name}, version {Prompts.load().version(name)} (built in)" in outcome.out
    assert '{"characteristics":"...","1":[item numbers],"2":[item numbers],...}' in outcome.out


def test_written_copies_are_the_built_in_prompts_to_the_letter(genz: Any) -> None:
    outcome = genz("prompts", "--write", "new/own")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("10 prompts written to new/own; ")
    assert sorted(path.name for path in Path("new/own").iterdir()) == sorted(f"{name}.txt" for name in NAMES)
    copied = Prompts.load("new/own")
    for name in NAMES:
        assert Path("new/own", f"{name}.txt").read_bytes() == built_in(name).encode()
        assert copied.version(name) == Prompts.load().version(name)


def test_edited_copies_are_shown_with_their_versions(genz: Any) -> None:
    genz("prompts", "--write", "own")
    file = Path("own", "mine.txt")
    file.write_text(file.read_text(encoding="utf-8").replace("version: 2", "version: 7"), encoding="utf-8")
    outcome = genz("prompts", "--prompts", "own")
    version = Prompts.load("own").version("mine")
    assert version.startswith("7-")
    assert version != Prompts.load().version("mine")
    assert f"== mine, version {version} (own/mine.txt)\n" in outcome.out


def test_the_version_before_can_be_written(genz: Any) -> None:
    outcome = genz("prompts", "--write", "before", "--earlier")
    assert (outcome.code, outcome.err) == (0, "")
    assert sorted(path.name for path in Path("before").iterdir()) == sorted(f"{name}.txt" for name in EARLIER)
    for name in EARLIER:
        assert f"== {name}, version 1-" in genz("prompts", "--prompts", "before").out
    assert genz("prompts", "--earlier").message.startswith("genz: --earlier: goes with --write DIR")


def test_nothing_is_overwritten(genz: Any) -> None:
    Path("own").mkdir()
    Path("own", "describe.txt").write_text("mine already")
    outcome = genz("prompts", "--write", "own")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.message == (
        "genz: --write: own/describe.txt is there already and is not overwritten; name another folder or move it away"
    )
    assert [path.name for path in Path("own").iterdir()] == ["describe.txt"]
    assert Path("own", "describe.txt").read_text() == "mine already"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--prompts", "nowhere"],
            "nowhere: expected a folder of prompts, found: No such file or directory; 'genz prompts --write'",
        ),
        (
            ["--prompts", "wrong"],
            "wrong/mine.txt: expected 'version: 1' (or a higher number) as the first line, found 'Say what.'",
        ),
        (["--prompts", "wrong", "--write", "new"], "--prompts and --write exclude each other"),
        (["--write", "wrong/mine.txt"], "--write: wrong/mine.txt cannot be written: File exists"),
        (["--write", "wrong/mine.txt/x"], "--write: wrong/mine.txt/x cannot be written: Not a directory"),
    ],
)
def test_faults_are_one_line(genz: Any, arguments: list[str], expected: str) -> None:
    Path("wrong").mkdir()
    Path("wrong", "mine.txt").write_text("Say what.\n")
    outcome = genz("prompts", *arguments)
    assert (outcome.code, outcome.out) == (2, "")
    assert expected in outcome.message
    assert not Path("new").exists()
