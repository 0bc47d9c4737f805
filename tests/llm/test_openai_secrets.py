"""The key and the texts of items appear nowhere but in requests: no log, no error, no store, no export, no run directory."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answerers import user_texts
from fault_patterns import FAULTS as BY_NAME
from fault_server import FAULTS, FaultServer, always, contains_truth, either, every, first, script, truthful_answerer
from http_faults import Exchange, Reply, completion, http_bytes, reply_error, reply_json

from genz_ppl.errors import GenzError
from genz_ppl.llm.served import calling, extraction
from genz_ppl.llm.store.tools import export
from genz_ppl.types import Contrast, Item

KEY = "sk-planted-0123456789"
PLANTED = "planteditemtext"
LOGGERS = ("", "aiohttp", "aiohttp.client", "asyncio", "genz_ppl")


def everything(exchange: Exchange) -> str:
    """The key and all that the user sent, as one text."""
    return " ".join([exchange.headers["authorization"].removeprefix("Bearer "), *user_texts(exchange.body)])


def echo_error(status: int, *, as_code: bool = False) -> Any:
    """An error that repeats everything, in its code and type as well if asked to."""

    def fault(exchange: Exchange) -> Reply:
        said = everything(exchange)
        kind, code = (KEY, PLANTED) if as_code else ("invalid_request_error", None)
        header = "".join(f"{name}: {KEY} {PLANTED}\r\n" for name in ("Retry-After", "X-Request-Id", "Server", "Location"))
        return reply_error(status, said, kind, code, header)

    return fault


ECHOES = {
    **{f"echo_{status}": echo_error(status) for status in (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)},
    **{f"echo_code_{status}": echo_error(status, as_code=True) for status in (302, 400, 401, 404, 418, 429, 500)},
    "echo_html": lambda exchange: Reply(((0.0, http_bytes(502, everything(exchange).encode(), "text/html")),)),
    "echo_text": lambda exchange: Reply(((0.0, http_bytes(200, everything(exchange).encode(), "text/plain")),)),
    "echo_broken_head": lambda exchange: Reply(((0.0, f"HTTP/1.1 {KEY} {PLANTED}\r\n\r\n".encode()),), "close"),
    "echo_broken_header": lambda exchange: Reply(((0.0, f"HTTP/1.1 200 OK\r\n{KEY} {PLANTED}\r\n\r\n".encode()),), "close"),
    "echo_broken_chunk": lambda exchange: Reply(
        ((0.0, f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}{PLANTED}\r\n".encode()),), "close"
    ),
    "echo_content": lambda exchange: reply_json(200, completion(exchange, everything(exchange))),
    "echo_object": lambda exchange: reply_json(200, completion(exchange, json.dumps({KEY: PLANTED}))),
    "echo_value": lambda exchange: reply_json(200, completion(exchange, json.dumps({"features": everything(exchange)}))),
    "echo_finish": lambda exchange: reply_json(200, completion(exchange, finish_reason=everything(exchange))),
    "echo_refusal": lambda exchange: reply_json(200, completion(exchange, message={"refusal": everything(exchange)})),
}


@pytest.fixture(autouse=True)
def echoes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, fault in ECHOES.items():
        monkeypatch.setitem(BY_NAME, name, fault)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """All records of all loggers from DEBUG up, with asyncio's debug mode on; levels set by the test hold."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    before = {name: logging.getLogger(name).level for name in LOGGERS}

    def open_up() -> None:
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.DEBUG)

    open_up()
    caplog.handler.setLevel(logging.DEBUG)
    yield open_up
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def houses(make_world: Any) -> Any:
    """Items whose texts hold the planted word."""
    return make_world([f"{PLANTED} number {i} " + "granite" * (i % 2) for i in range(8)], ["granite", "number 1"])


def check(*texts: object) -> None:
    for text in texts:
        for secret in (KEY, KEY[3:], PLANTED):
            assert secret not in str(text)


def check_files(folder: Path) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    for path in files:
        content = path.read_bytes()
        for secret in (KEY[3:], PLANTED):
            for encoded in (secret.encode(), secret.encode("utf-16-le")):
                assert encoded not in content, path


@pytest.mark.parametrize("name", [*ECHOES, "401_key", "429_quota", "hang", "reset_amid", "bad_utf8"])
@pytest.mark.parametrize("often", ["always", "at times"])
def test_nothing_leaks(
    serving: Any, houses: Any, logged: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch, name: str, often: str
) -> None:
    monkeypatch.setattr(calling, "PATIENCE", 0.05)
    pattern = always(name) if often == "always" else every(3, name)
    with FaultServer(truthful_answerer(contains_truth), pattern) as server:
        timeout = 0.1 if name == "hang" else 5
        model = serving(server.base_url, items_per_call=2, features_per_call=1, attempts=2, timeout=timeout, workers=2)
        logged()  # also after the model's own settings of levels
        try:
            model.answer(houses.items, houses.features)
        except GenzError as error:
            check(error, *traceback.format_exception(error))
        assert server.total > 2 or often == "always"
    check(caplog.text, *(record.__dict__ for record in caplog.records))
    assert "connected to" in caplog.text  # the logs are open indeed
    check(model, model.caller, model.settings, model.failures)
    export(model.store.path, serving.folder / "export.csv")
    check_files(serving.folder)


def test_texts_of_mining_are_not_kept(serving: Any, houses: Any, logged: Any, caplog: Any) -> None:
    wordings = ["It is of granite", "It is old"]
    with FaultServer(truthful_answerer(contains_truth, wordings), either(script(None, "echo_500"), every(4, "500"))) as server:
        model = serving(server.base_url)
        logged()
        for contrast in (
            Contrast(tuple(houses.items[:3]), tuple(houses.items[3:])),
            Contrast(tuple(houses.items), tuple(houses.items)),
        ):
            assert model.propose(contrast, 2) == wordings
        assert model.suggest(houses.items, f"The price of {PLANTED}", 2) == wordings
        assert PLANTED in str(server.requests[0].body)
    check(caplog.text)
    check_files(serving.folder)


def test_an_error_of_the_program_ends_no_run_and_shows_no_text(
    serving: Any, houses: Any, logged: Any, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reply that cannot be read is one reply; what went wrong is told by its type."""

    def broken(text: str, n_items: int, n_features: int, described: bool) -> None:
        raise ZeroDivisionError(text, PLANTED)

    monkeypatch.setattr(extraction, "parse_extract", broken)
    with FaultServer(truthful_answerer(contains_truth), first(1, "401_key")) as server:
        model = serving(server.base_url, items_per_call=1)
        with pytest.raises(GenzError) as refused:
            model.answer(houses.items, houses.features)
        assert np.isnan(model.answer(houses.items, houses.features)).all()
        assert list(model.failures) == ["the reply cannot be read (ZeroDivisionError)"]
    check(*traceback.format_exception(refused.value), caplog.text, model.failures)
    check_files(serving.folder)


def test_names_that_are_shown_are_safe() -> None:
    assert set(ECHOES) <= set(BY_NAME)
    assert BY_NAME is FAULTS


def test_an_address_with_a_password_is_refused(serving: Any) -> None:
    with pytest.raises(GenzError) as caught:
        serving(f"http://user:{KEY}@127.0.0.1:1/v1")
    check(caught.value)


def test_images_are_not_kept(serving: Any, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    with FaultServer(truthful_answerer(contains_truth), every(2, "echo_500")) as server:
        model = serving(server.base_url, images="direct")
        model.answer([Item("a", PLANTED, {}, (picture,)), Item("b", PLANTED)], ["granite"])
    picture.unlink()
    check_files(serving.folder)
