from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from math import nan
from pathlib import Path
from typing import Any

import pytest

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.store import AnswerStore, Question, StoredAnswer

Genz = Callable[..., Any]

RED = Question("Is it red?", "gpt-x", "https://api/v1", "extract_one 1-abc", "{}")


def item(name: object) -> bytes:
    return sha256(str(name).encode()).digest()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two answers and a failed one."""
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as opened:
        attempt = opened.begin(opened.open_run("run", fresh=False), "extract", "gpt-x", Spending(1, 100, 100, 1.0))
        answers = [StoredAnswer(1.0), StoredAnswer(0.0), StoredAnswer(nan, "refusal")]
        opened.settle(attempt, "done", Spending(1, 90, 10, 0.25), {(RED, item(n)): each for n, each in enumerate(answers)})
    return path


def test_help_names_what_can_be_done(genz: Genz) -> None:
    for arguments in (("store",), ("store", "--help")):
        outcome = genz(*arguments)
        assert (outcome.code, outcome.err) == (0, "")
        for command in ("info", "export", "import", "repair", "prune"):
            assert f" {command} " in outcome.out


def test_info(genz: Genz, store: Path) -> None:
    outcome = genz("store", "info", "--store", store, "--check")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    size = f"{store.stat().st_size / 1000:.1f} kB"
    assert lines[0] == f"{store}: {size}, 3 answers about 3 items, 0 texts"
    assert lines[1] == "1 runs, 1 attempts (0 never settled): 1 calls, 90 tokens read, 10 written, $0.2500"
    assert lines[2] == "no damage found"
    assert lines[3].split() == ["model", "endpoint", "prompt", "questions", "yes", "no", "failed"]
    assert lines[4].split() == ["gpt-x", "https://api/v1", "extract_one", "1-abc", "1", "1", "1", "1"]
    assert lines[5] == "failed 1 times: refusal"


def test_info_as_json(genz: Genz, store: Path) -> None:
    found = json.loads(genz("store", "info", "--store", store, "--json").out)
    assert (found["answers"], found["failed"], found["damaged"]) == (3, {"refusal": 1}, None)


def test_info_says_what_is_under_way(genz: Genz, store: Path) -> None:
    with AnswerStore(store) as opened:
        opened.claim([(RED, item("new"))])
        assert "1 questions being asked now, 0 leases of ended runs\n" in genz("store", "info", "--store", store).out


def test_the_default_store(genz: Genz, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    outcome = genz("store", "info")
    assert outcome.code == 4
    assert outcome.message == (
        f"genz: {tmp_path / 'cache' / 'genz-ppl' / 'answers.sqlite'}: found no store of answers there; "
        "name another one with --store FILE"
    )
    (tmp_path / "cache" / "genz-ppl").mkdir(parents=True)
    store.rename(tmp_path / "cache" / "genz-ppl" / "answers.sqlite")
    assert genz("store", "info").out.splitlines()[0].endswith("3 answers about 3 items, 0 texts")


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_export(genz: Genz, store: Path, tmp_path: Path, name: str) -> None:
    outcome = genz("store", "export", name, "--store", store)
    assert (outcome.code, outcome.out, outcome.err) == (0, f"3 answers written to {name}\n", "")
    assert (tmp_path / name).stat().st_size > 0
    again = genz("store", "export", name, "--store", store)
    assert again.code == 2
    assert again.message == f"genz: {name}: is there already and is not overwritten; name another file or move it away"


def test_export_says_what_is_left_out(genz: Genz, store: Path) -> None:
    content = store.read_bytes()
    assert content.count(b"refusal") == 1
    store.write_bytes(content.replace(b"refusal", b"refusel"))
    assert genz("store", "export", "out.csv", "--store", store).out == "2 answers written to out.csv; 1 damaged rows left out\n"
    assert "1 damaged rows: they count as unknown and are asked again\n" in genz("store", "info", "--store", store, "--check").out


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet", "answers.sqlite"])
def test_import(genz: Genz, store: Path, name: str) -> None:
    if name != store.name:
        assert genz("store", "export", name, "--store", store).code == 0
    outcome = genz("store", "import", name, "--store", "other.sqlite")
    assert (outcome.code, outcome.out, outcome.err) == (0, "3 new answers, 0 known\n", "")
    assert genz("store", "import", name, "--store", "other.sqlite").out == "0 new answers, 3 known\n"
    assert json.loads(genz("store", "info", "--store", "other.sqlite", "--json").out)["answers"] == 3


def test_import_says_what_is_left_out(genz: Genz, store: Path, tmp_path: Path) -> None:
    assert genz("store", "export", "out.csv", "--store", store).code == 0
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[1].count(",1,,,") == lines[2].count(",0,,,") == 1
    edited = [lines[0], lines[1].replace(",1,,,", ",0,,,"), lines[2].replace(",0,,,", ",7,,,"), lines[3]]
    (tmp_path / "out.csv").write_text("\n".join(edited))
    outcome = genz("store", "import", "out.csv", "--store", store)
    assert outcome.code == 0
    assert outcome.out == "0 new answers, 1 known, 1 other than in the store and left out\n"
    assert outcome.err == "genz: note: out.csv: 1 rows were refused, the first is row 2: answer: expected 1, 0 or nothing\n"


def test_repair(genz: Genz, store: Path) -> None:
    outcome = genz("store", "repair", "--store", store)
    assert (outcome.code, outcome.out, outcome.err) == (0, "no damage found; nothing was changed\n", "")
    content = store.read_bytes()
    store.write_bytes(b"x" * 4096 + content[4096:].replace(b"refusal", b"refusel"))
    refused = genz("store", "export", "out.csv", "--store", store)
    assert refused.code == 4
    assert refused.message.endswith(f"or, if it was a store, run 'genz store repair --store {store}'")
    outcome = genz("store", "repair", "--store", store)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines() == [
        "kept 2 answers, 0 texts, 1 calls of the ledger, 0 open batches",
        "lost 1 damaged rows, and what was on 0 pages that cannot be read whole",
        f"the damaged file is kept as {store}.damaged; 'genz resume' asks again what is missing",
    ]
    assert genz("store", "info", "--store", store, "--check").out.splitlines()[2] == "no damage found"


def test_repair_says_what_of_the_ledger_is_lost(genz: Genz, store: Path) -> None:
    with AnswerStore(store) as opened:
        run = opened.open_run("run", fresh=False)
        for _ in range(300):
            opened.settle(opened.begin(run, "extract", "gpt-x", Spending(1, 100, 100, 1.0)), "done", Spending(1, 90, 10, 0.25))
    content = bytearray(store.read_bytes())
    page = max(
        n for n in range(len(content) // 4096) if content[n * 4096] == 13 and b"extract" in content[n * 4096 : n * 4096 + 4096]
    )
    content[page * 4096 : (page + 1) * 4096] = bytes(4096)
    store.write_bytes(content)
    lines = genz("store", "repair", "--store", store).out.splitlines()
    lost = int(lines[2].split()[0])
    assert lines[0] == f"kept 3 answers, 0 texts, {301 - lost} calls of the ledger, 0 open batches"
    assert lines[2] == f"{lost} calls of the ledger are lost: each counts with the mean of its run now"
    assert 10 < lost < 200
    assert json.loads(genz("store", "info", "--store", store, "--json").out)["spent"]["cost"] == 301 * 0.25


def test_prune(genz: Genz, store: Path) -> None:
    would = genz("store", "prune", "--store", store, "--model", "gpt-x", "--failed", "--dry-run")
    assert would.out == "would take away 1 answers, 0 texts and 0 leases of ended runs; nothing was changed\n"
    did = genz("store", "prune", "--store", store, "--prompt", "extract_one 1-abc", "--failed", "--older-than", "0")
    assert did.out.startswith("took away 1 answers, 0 texts and 0 leases of ended runs; ")
    assert did.out.endswith(" kB now\n")
    assert json.loads(genz("store", "info", "--store", store, "--json").out)["answers"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (("export",), 2, "Missing argument 'FILE'"),
        (
            ("export", "out.txt", "--store", "answers.sqlite"),
            2,
            "out.txt: expected a name that ends with .csv, .parquet or .jsonl",
        ),
        (
            ("prune", "--store", "answers.sqlite", "--older-than", "-1"),
            2,
            "--older-than: expected a number of days of at least 0, got -1",
        ),
        (("prune", "--older-than", "long"), 2, "--older-than"),
        (("burn",), 2, "No such command 'burn'"),
        (("import",), 2, "Missing argument 'FILE'"),
        (("import", "none.csv", "--store", "answers.sqlite"), 2, "none.csv: cannot be read"),
        (("import", "toy.csv", "--store", "answers.sqlite"), 2, "toy.csv: expected what 'genz store export' writes"),
        (("import", "answers.sqlite", "--store", "answers.sqlite"), 2, "answers.sqlite: is the store itself"),
        (("repair", "--store", "none.sqlite"), 4, "found no store of answers there; name another one with --store FILE"),
        (("repair", "--store", "toy.csv"), 4, "nothing of a store of answers can be read in it"),
        (("info", "--store", "."), 4, "expected a file for the store of answers, found a folder; name a file with --store FILE"),
        (("info", "--store", "toy.csv"), 4, "expected a store of answers, found another kind of file"),
    ],
)
def test_errors_are_one_line(genz: Genz, store: Path, table: Path, arguments: tuple[str, ...], code: int, expected: str) -> None:
    outcome = genz("store", *arguments)
    assert outcome.code == code
    assert outcome.out == ""
    assert expected in outcome.message
