"""Calls go to exactly the host that the user named, below the path that they named, with the query that they named."""

from __future__ import annotations

import asyncio
import ipaddress
import string
import warnings
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

import pytest
from fault_server import FaultServer, contains_truth, truthful_answerer
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from genz_ppl.errors import GenzWarning, OptionError
from genz_ppl.llm.served import address
from genz_ppl.llm.served.address import server_address
from genz_ppl.llm.served.client import ChatClient
from genz_ppl.llm.served.faults import CallError
from genz_ppl.llm.served.settings import ModelSettings


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in the environment but a key, and nothing known from other tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    address._checked.cache_clear()


# What stands in the keys of stored answers: none of these may ever change.
ORDINARY = {
    "https://api.openai.com/v1": "https://api.openai.com/v1/",
    "https://api.openai.com/v1/": "https://api.openai.com/v1/",
    "http://localhost:8080/v1": "http://localhost:8080/v1/",
    "http://127.0.0.1:11434/v1": "http://127.0.0.1:11434/v1/",
    "http://[::1]:8080/v1": "http://[::1]:8080/v1/",
    "HTTPS://API.Example.com:443/v1": "https://api.example.com/v1/",
    "http://host:80/openai/v1": "http://host/openai/v1/",
    "https://openrouter.ai/api/v1": "https://openrouter.ai/api/v1/",
    "https://generativelanguage.googleapis.com/v1beta/openai/": "https://generativelanguage.googleapis.com/v1beta/openai/",
    "https://me.openai.azure.com/openai/deployments/gpt-4o": "https://me.openai.azure.com/openai/deployments/gpt-4o/",
    "http://bücher.example/v1": "http://xn--bcher-kva.example/v1/",
    "http://my_host:8000/v1": "http://my_host:8000/v1/",
}


@pytest.mark.parametrize("text", ORDINARY)
def test_the_endpoint_is_what_it_was(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ChatClient(text, 1).endpoint == ORDINARY[text]
    monkeypatch.setenv("OPENAI_BASE_URL", f" {text}\n")
    assert ChatClient(None, 1).endpoint == ORDINARY[text]
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    assert ChatClient(None, 1).endpoint == ORDINARY["https://api.openai.com/v1"]


def requested(base_url: str) -> list[URL]:
    """The addresses of one request of each kind."""
    found: list[URL] = []

    class Session:
        def request(self, method: str, url: URL, **_: Any) -> Any:
            found.append(url)
            raise OSError

    client = ChatClient(base_url, 1)
    client._connections = Session  # type: ignore[method-assign,assignment]
    calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: client.chat({}, 1),
        lambda: client.upload("a", b"b"),
        lambda: client.download("../f?x#y", 1),
        lambda: client.start_batch("f", "t"),
        lambda: client.batch("b/../.."),
        lambda: client.find_batch("t"),
    ]
    for call in calls:
        with pytest.raises(CallError):
            asyncio.run(call())
    assert len(found) == len(calls)
    return found


HOSTS = st.sampled_from(["h", "api.example.com", "LOCALHOST", "127.0.0.1", "10.0.0.7", "[::1]", "[2001:db8::7]", "x_y", "a.b.c"])
PATHS = st.text(st.characters(codec="utf-8", exclude_characters="?#"), max_size=12)
QUERIES = st.dictionaries(st.text("abcdef-", min_size=1, max_size=5), st.text(string.printable, max_size=5), max_size=2)


def same_host(one: str | None, other: str | None) -> bool:
    try:
        return ipaddress.ip_address(one or "") == ipaddress.ip_address(other or "")
    except ValueError:
        return one == other


@settings(max_examples=100, deadline=None)
@given(scheme=st.sampled_from(["http", "https"]), host=HOSTS, port=st.none() | st.integers(1, 65535), path=PATHS, query=QUERIES)
def test_calls_go_to_the_host_that_was_named(scheme: str, host: str, port: int | None, path: str, query: dict[str, str]) -> None:
    text = str(URL(f"{scheme}://{host}{'' if port is None else f':{port}'}/{path}").with_query(query))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GenzWarning)
        try:
            urls = requested(text)
        except OptionError:
            assume(False)
    for url in urls:
        assert same_host(url.host, host.strip("[]").lower())
        assert (url.scheme, url.port) == (scheme, port or {"http": 80, "https": 443}[scheme])
        assert {**url.query, "limit": "", "after": ""} == {**query, "limit": "", "after": ""}
        assert url.user is url.password is None
    assert urls[0].raw_path.endswith("/chat/completions")


@settings(max_examples=300, deadline=None)
@given(rest=st.text("a1.:@/\\?#[]%-_ \t\n;&=", max_size=14))
@example("api.example.com")
@example("localhost:8000")
@example("me@evil/v1")
@example("evil\\@h/v1")
@example("h:80:90/v1")
@example("[]@")
@example("[:]")
def test_what_is_taken_is_read_as_others_read_it(rest: str) -> None:
    """Whatever is typed: either it is refused, or the host is the one that Python's own reader finds."""
    text = f"http://{rest}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", GenzWarning)
        try:
            found = server_address(text)
        except OptionError:
            return
    parts = urlsplit(text.strip())
    assert same_host(found.raw_host, parts.hostname)
    assert found.port == (parts.port or 80)
    assert found.raw_path.endswith("/")


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("https://api.example.com", "https://api.example.com/v1/"),
        ("http://localhost:8000/", "http://localhost:8000/v1/"),
        ("https://me.openai.azure.com?api-version=2024-10-21", "https://me.openai.azure.com/v1/?api-version=2024-10-21"),
    ],
)
def test_without_a_path_calls_go_to_v1_which_is_said_once(text: str, calls: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, target = text.partition("?")[0], calls.partition("?")[0].rstrip("/")
    with pytest.warns(GenzWarning, match=rf"^--base-url {shown} has no path; calls go to {target}$"):
        ModelSettings(base_url=text)
    assert ChatClient(text, 1).endpoint == calls  # a second warning would be an error
    monkeypatch.setenv("OPENAI_BASE_URL", text)
    with pytest.warns(GenzWarning, match=f"^OPENAI_BASE_URL {shown} has no path"):
        assert ChatClient(None, 1).endpoint == calls


UNUSABLE = (
    "x localhost:80/v1 //h/v1 ftp://h/v1 http:// http:///v1 http:/h/v1 http://[::1 http://[::1/v1 http://h:99999/v1".split()
)
UNUSABLE += "http://h:0/v1 http://h:port/v1 http://h:-1/v1 http://h\\x/v1 http://h%2fx/v1 http://h..x/v1 http://h/v1#x".split()
UNUSABLE += f"http://{'a' * 64}.com/v1 http://h/v1# http://me:pass@h:99999/v1 http://me:pass@[::1".split()
UNUSABLE += ["", " ", "http://a b/v1", "http://h/a b", "http://h\n/v1", "http://h/\x1b[31m", "http://h/v1\x7f"]


@pytest.mark.parametrize("text", UNUSABLE)
def test_what_cannot_be_an_address_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for make in (lambda: ModelSettings(base_url=text), lambda: ChatClient(text, 1)):
        with pytest.raises(OptionError, match=r"^base_url: expected an address such as http://localhost:8080/v1") as caught:
            make()
        assert str(caught.value).isprintable()
        assert "pass" not in str(caught.value)
    if text.strip():
        monkeypatch.setenv("OPENAI_BASE_URL", text)
        with pytest.raises(OptionError, match=r"^OPENAI_BASE_URL: expected an address"):
            ChatClient(None, 1)


@pytest.mark.parametrize(
    "text",
    ["http://me:hush@h/v1", "http://hush@h/v1", "http://:hush@h/v1"]
    + [
        f"http://h/v1?a=b&{name}=hush"
        for name in ("key", "api-key", "API_KEY", "subscription-key", "token", "sig", "client_secret")
    ],
)
def test_what_holds_a_key_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"^base_url: holds .*, which would be written down") as caught:
        ModelSettings(base_url=text)
    assert "hush" not in str(caught.value)


def test_a_query_is_part_of_every_call() -> None:
    paths: list[str] = []
    with FaultServer(truthful_answerer(contains_truth)) as server:
        server.fallbacks.append(lambda call: paths.append(call.path))

        async def calls() -> None:
            client = ChatClient(f"{server.base_url}?api-version=2024-10-21&b=%2F", 1)
            for call in (client.chat({"a": 1}, 1000), client.upload("a", b"b"), client.find_batch("t")):
                with pytest.raises(CallError, match="status 404"):
                    await call
            await client.close()

        asyncio.run(calls())
    query = "?api-version=2024-10-21&b=/"
    assert paths == [f"/v1/chat/completions{query}", f"/v1/files{query}", f"/v1/batches{query}&limit=100"]
