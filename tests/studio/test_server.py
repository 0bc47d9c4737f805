"""Who may ask the studio, and what it answers."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from genz_ppl.alone import alone
from genz_ppl.cli.app import run as genz
from genz_ppl.discovery.run.folder import RunDirectory


class Asker:
    """A browser's requests, by hand."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.base, self.host, self.token = f"http://{parts.netloc}", parts.netloc, parse_qs(parts.query)["token"][0]

    def __call__(self, path: str, body: Any = None, **changed: str | None) -> tuple[int, Any]:
        headers = {"X-Genz-Token": self.token, "Host": self.host, "Origin": self.base}
        headers |= {name.replace("_", "-"): value for name, value in changed.items()}  # type: ignore[misc]
        data = None if body is None else json.dumps(body).encode()
        sent = {name: value for name, value in headers.items() if value is not None}
        request = urllib.request.Request(f"{self.base}{path}", data=data, headers=sent)
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def until_free(self) -> Any:
        for _ in range(600):
            state = json.loads(self("/state")[1])
            if not state["busy"] and state["status"] != "running":
                return state
            time.sleep(0.1)
        raise AssertionError("never free again")


def test_requests_of_others_are_refused(folder: Path, studio: Any) -> None:
    ask = Asker(studio(folder))
    assert ask("/state")[0] == 200
    port = ask.host.partition(":")[2]
    drop = {"drop": ["f1"]}
    for path, body, changed, said in (
        ("/state", None, {"Host": f"evil.example:{port}"}, "another host"),
        ("/state", None, {"Host": "127.0.0.1"}, "another host"),
        ("/state", None, {"Origin": "http://evil.example"}, "another origin"),
        ("/edit", drop, {"Origin": "http://evil.example"}, "another origin"),
        ("/edit", drop, {"Origin": "null"}, "another origin"),
        ("/edit", drop, {"Origin": None}, "another origin"),
        ("/edit", drop, {"Sec_Fetch_Site": "cross-site"}, "another site"),
        ("/state", None, {"X_Genz_Token": None}, "no token"),
        ("/edit", drop, {"X_Genz_Token": "x" * 32}, "no token"),
        ("/undo", {}, {"X_Genz_Token": "é"}, "no token"),
        ("/", None, {}, "no token"),
        ("/?token=wrong", None, {}, "no token"),
    ):
        code, text = ask(path, body, **changed)
        assert (code, text) == (403, text)
        assert said in text
    assert not RunDirectory(folder).record().edits
    code, page = ask(f"/?token={ask.token}", Origin=None)
    assert code == 200
    assert ask.token in page


def test_edits_and_their_mistakes(folder: Path, studio: Any) -> None:
    ask = Asker(studio(folder))
    first = json.loads(ask("/state")[1])["questions"][0]
    found = json.loads(ask(f"/examples?question={first['id']}")[1])
    assert found["n"]["yes"] + found["n"]["no"] == 96
    assert all(item["q"] > 0.5 and "colour: red" in item["text"] for item in found["yes"])
    assert len(found["no"]) == 6
    for body, code, said in (
        ({"drop": "f1"}, 409, "expected lists of questions"),
        ({"mine": True}, 409, "expected lists of questions"),
        ({"eval": ["x"]}, 409, "expected lists of questions"),
        ([1], 400, "expected a JSON object"),
        ({"add": ["x" * 200_000]}, 413, "too long"),
    ):
        assert ask("/edit", body)[0] == code, body
        assert said in ask("/edit", body)[1]
    assert ask("/edit", {"drop": ["f99"]})[0] == 200
    assert "has no question 'f99'" in ask.until_free()["said"]
    assert ask("/undo", {})[0] == 200
    assert "was not edited" in ask.until_free()["said"]
    assert ask("/edit", {"drop": [first["id"]]})[0] == 200
    assert first["text"] not in [one["text"] for one in ask.until_free()["questions"]]
    RunDirectory(folder).set_status("running")
    with alone(folder):
        assert json.loads(ask("/state")[1])["status"] == "running"
        code, text = ask("/edit", {"drop": ["f1"]})
        assert (code, "the run is under way" in text) == (409, True)
    assert json.loads(ask("/state")[1])["status"] == "stopped"


def test_the_command_without_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "starlette.applications", None)
    monkeypatch.delitem(sys.modules, "genz_ppl.studio.server", raising=False)
    assert genz(["studio", str(folder)]) == 2
    assert "pip install 'genz-ppl[studio]'" in capsys.readouterr().err
