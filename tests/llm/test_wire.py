"""What goes wrong below a reply: its size, its connection, the proxy and the certificate on the way, the key that is sent."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import fault_server
import numpy as np
import pytest
from batch_server import BatchServer
from fault_server import Call, FaultServer, always, contains_truth, truthful_answerer
from http_faults import ENDLESS, Reply, http_bytes
from raw_client import chat
from server_process import FaultServerProcess

from genz_ppl.errors import ModelError, OptionError
from genz_ppl.llm.served import batching, calling
from genz_ppl.llm.served.budget import likely_tokens
from genz_ppl.llm.served.client import BATCH_BYTES, ERROR_BYTES, ChatClient
from genz_ppl.llm.served.faults import CallError, Remedy
from genz_ppl.llm.served.requests import CERTAIN_TOKEN_BYTES, TOKEN_BYTES, Request
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.templates import Prompts

TRUE = truthful_answerer(contains_truth)
BODY = chat(["granite", "brick"], ["granite", "brick"])
CERTIFICATE = Path(fault_server.__file__).with_name("own_certificate.pem")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "openai_base_url", "ssl_cert_file", "ssl_cert_dir"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")


Saying = Callable[..., Any]


def reply(status: int, payload: bytes, headers: str = "") -> Any:
    return lambda exchange: Reply(((0.0, http_bytes(status, payload, headers=headers)),))


def run(base_url: str, call: Callable[[ChatClient], Coroutine[Any, Any, Any]], seconds: float = 10.0) -> Any:
    async def once() -> Any:
        client = ChatClient(base_url, 2)
        try:
            async with asyncio.timeout(seconds):
                return await call(client)
        finally:
            await client.close()

    return asyncio.run(once())


def ask(base_url: str) -> Any:
    return run(base_url, lambda client: client.chat(BODY, 100_000))


def fault(base_url: str) -> CallError:
    with pytest.raises(CallError) as caught:
        ask(base_url)
    return caught.value


# ---- sizes


@pytest.mark.parametrize("log_probabilities", [False, True])
def test_no_true_reply_is_too_long(log_probabilities: bool) -> None:
    """Each token a letter of four bytes, as JSON may write it; five times beside itself where certainties are asked for."""
    settings = ModelSettings(log_probabilities=log_probabilities)
    request = Request("extract", "m", Prompts.load().extract(["a"], ["b"]), 2000)
    token = "\U0001f3e0"
    one = {"token": token, "logprob": -0.12345678901234567, "bytes": list(token.encode())}
    certainties = {"content": [one | {"top_logprobs": [one] * 5}] * 2000} if log_probabilities else None
    message = {"role": "assistant", "content": token * 2000, "reasoning_content": token * 2000}
    body = {"choices": [{"index": 0, "message": message, "logprobs": certainties, "finish_reason": "stop"}]}
    assert len(json.dumps(body)) < request.most_bytes(settings) - 900_000
    assert request.most_bytes(settings) == 2**20 + 2000 * (CERTAIN_TOKEN_BYTES if log_probabilities else TOKEN_BYTES)
    assert likely_tokens(["x" * 4 * TOKEN_BYTES]) > TOKEN_BYTES  # sixteen times what a token has


def test_a_reply_of_just_the_most_bytes_is_read_and_one_more_is_too_much(saying: Saying) -> None:
    content = json.dumps({"choices": [{"message": {"content": "x" * 50_000}, "finish_reason": "stop"}]}).encode()
    with FaultServer(TRUE, saying(reply(200, content))) as server:
        assert run(server.base_url, lambda client: client.chat(BODY, len(content))).text == "x" * 50_000
        with pytest.raises(CallError, match="longer than any that was asked for") as caught:
            run(server.base_url, lambda client: client.chat(BODY, len(content) - 1))
        assert (caught.value.remedy, caught.value.free) == (Remedy.AGAIN, False)


def test_of_an_error_only_the_beginning_is_read(saying: Saying) -> None:
    said = {"error": {"code": "context_length_exceeded", "message": "x" * (ERROR_BYTES - 200)}}
    with FaultServer(TRUE, saying(reply(400, json.dumps(said).encode()))) as server:
        assert fault(server.base_url).remedy is Remedy.SPLIT
    said["error"]["message"] += "x" * 200
    with FaultServer(TRUE, saying(reply(400, json.dumps(said).encode()))) as server:
        assert fault(server.base_url).reason == "the server refuses the request (status 400)"


@pytest.mark.parametrize("name", ["upload", "start_batch", "batch", "find_batch", "download"])
def test_words_about_batches_have_an_end_too(name: str) -> None:
    calls: dict[str, Callable[[ChatClient], Coroutine[Any, Any, Any]]] = {
        "upload": lambda client: client.upload("a", b"b"),
        "start_batch": lambda client: client.start_batch("f", "t"),
        "batch": lambda client: client.batch("b"),
        "find_batch": lambda client: client.find_batch("t"),
        "download": lambda client: client.download("f", 1000),
    }
    with FaultServer(TRUE) as server:
        server.fallbacks.append(lambda call: Reply(((0.0, b"HTTP/1.1 200 OK\r\n\r\n"), (0.0, b" " * 2**16)), ENDLESS))
        with pytest.raises(CallError, match="longer than any") as caught:
            run(server.base_url, calls[name])
        assert caught.value.remedy is Remedy.AGAIN
    assert BATCH_BYTES < 5_000_000


def test_results_of_a_batch_have_as_many_bytes_as_their_requests_can_have(
    serving: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "FIRST_LOOK", 0.01)
    with FaultServer(TRUE) as server:
        batches = BatchServer(server)
        work = batches.work

        def swell(batch: dict[str, Any]) -> None:
            work(batch)
            batches.files[batch["output_file_id"]] += b" " * (10 * batching.LINE_BYTES)

        monkeypatch.setattr(batches, "work", swell)
        model = serving(server.base_url, batch=True, items_per_call=5, attempts=2)
        with pytest.raises(ModelError, match="longer than any that was asked for"):
            model.answer(world.items, world.features)  # five requests
        monkeypatch.setattr(batching, "LINE_BYTES", 3 * batching.LINE_BYTES)
        assert not np.isnan(serving(server.base_url, batch=True).answer(world.items, world.features)).any()
        assert not server.requests


ATTACK = """
import json, sys
from pathlib import Path
from genz_ppl.errors import GenzError
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.types import Item

def ask(base_url, n):
    settings = ModelSettings(model="m", base_url=base_url, workers=16, items_per_call=1, attempts=3, timeout=30, images="none")
    model = OpenAIModel(settings, sys.argv[3])
    try:
        model.answer([Item(str(i), f"house {i}") for i in range(n)], ["granite"])
    except GenzError as error:
        print(error, file=sys.stderr)
    finally:
        model.close()

def most():  # kilobytes; not by rusage, which counts what the parent had as well
    return int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])

ask(sys.argv[1], 64)
idle = most()
ask(sys.argv[2], 128)
print(json.dumps([idle, most()]))
"""
ATTACKS = (
    "endless endless_chunked endless_chunks endless_head endless_line endless_error gzip_bomb gzip_endless deflate_bomb".split()
)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in other units elsewhere")
@pytest.mark.parametrize("name", ATTACKS)
def test_memory_under_attack(tmp_path: Path, name: str) -> None:
    """Sixteen workers at a server whose every reply is one that does not end, or that unpacks to 64 MiB and more."""
    with FaultServerProcess() as good, FaultServerProcess("--faults", f"always:{name}") as bad:
        arguments = [good.base_url, bad.base_url, str(tmp_path / "store")]
        done = subprocess.run([sys.executable, "-c", ATTACK, *arguments], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        assert bad.stats()["total"] >= 16
    idle, peak = json.loads(done.stdout)
    assert peak - idle < 300 * 1024, f"{(peak - idle) // 1024} MiB above idle"


# ---- the way


def test_items_follow_no_redirect(serving: Any, world: Any, saying: Saying) -> None:
    """Neither those of a call nor those of a batch's file."""
    went: list[Call] = []

    def note(call: Call) -> Reply:
        went.append(call)
        return Reply(((0.0, http_bytes(200, b"{}")),))

    with FaultServer(TRUE) as elsewhere:
        elsewhere.fallbacks.append(note)
        head = f"Location: {elsewhere.base_url}/files\r\n"
        with FaultServer(TRUE, saying(reply(308, b"", head))) as server:
            server.fallbacks.append(lambda call: Reply(((0.0, http_bytes(307, b"", headers=head)),)))
            for batch in (False, True):
                with pytest.raises(ModelError, match="sends calls to another address"):
                    serving(server.base_url, batch=batch).answer(world.items, world.features)
        assert not went
        assert elsewhere.connected == 0


def test_a_batch_that_the_server_will_not_take_ends_the_run_in_words(serving: Any, world: Any) -> None:
    with FaultServer(TRUE) as server:
        server.fallbacks.append(lambda call: Reply(((0.0, http_bytes(413, b"")),)))
        with pytest.raises(ModelError, match="too long for the model"):
            serving(server.base_url, batch=True).answer(world.items, world.features)


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy", "HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("proxy", ["socks5://user:hush@127.0.0.1:1080", "SOCKS4://127.0.0.1:1", "socks5h://p"])
def test_a_socks_proxy_is_refused_before_any_call(monkeypatch: pytest.MonkeyPatch, name: str, proxy: str) -> None:
    monkeypatch.setenv(name, proxy)
    with pytest.raises(
        OptionError, match=f"^{name}: names a SOCKS proxy, which is not supported; unset it, name one such"
    ) as caught:
        ChatClient("http://api.example.com/v1", 1)
    assert "hush" not in str(caught.value)
    monkeypatch.setenv("NO_PROXY", "example.com")
    ChatClient("http://api.example.com/v1", 1)


@pytest.mark.parametrize("proxy", ["http://", "ftp://p:21", "http://p:99999", "http://[::1", "p q"])
def test_what_is_no_proxy_is_refused(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(OptionError, match=r"^HTTPS_PROXY: names no http proxy; unset it"):
        ChatClient("https://api.example.com/v1", 1)


@pytest.mark.parametrize(("scheme", "name"), [("http", "HTTP_PROXY"), ("https", "https_proxy"), ("http", "ALL_PROXY")])
def test_a_dead_proxy_is_named_as_the_proxy(monkeypatch: pytest.MonkeyPatch, scheme: str, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for proxy in (f"http://127.0.0.1:{port}", f"127.0.0.1:{port}", "http://no-such-host.invalid:3128"):
        monkeypatch.setenv(name, proxy)
        found = fault(f"{scheme}://api.example.com/v1")
        assert (found.remedy, found.reason, found.free) == (Remedy.AGAIN, f"no connection to the proxy of {name}", True)


def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultServer(TRUE) as proxy:
        monkeypatch.setenv("ALL_PROXY", proxy.base_url.removesuffix("/v1"))
        proxy.fallbacks.append(lambda call: Reply(((0.0, http_bytes(407, b"")),)))
        found = fault("http://api.example.com/v1")
        assert (found.remedy, found.reason.split(" (")[0]) == (Remedy.STOP, "the proxy wants a name and password")
        found = fault("https://api.example.com/v1")
        assert (found.remedy, found.reason) == (Remedy.STOP, "the proxy of ALL_PROXY refuses the connection (status 407)")


def test_certificates(monkeypatch: pytest.MonkeyPatch, serving: Any, world: Any) -> None:
    with FaultServer(TRUE, certificate=CERTIFICATE) as server:
        model = serving(server.base_url, attempts=6)
        with pytest.raises(ModelError, match=r"the server's certificate is not trusted \(self.signed certificate\); name a file"):
            model.answer(world.items, world.features)
        assert server.connected <= 4  # one of each worker
        assert server.total == model.spent.tokens_in == 0
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        assert ask(server.base_url).text == TRUE(BODY)
        found = fault(server.base_url.replace("127.0.0.1", "localhost"))
        assert found.remedy is Remedy.STOP
        assert "not valid for 'localhost'" in found.reason


def test_https_to_a_server_that_does_not_speak_it() -> None:
    async def once() -> None:
        def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(http_bytes(400, b""))
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        client = ChatClient(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", 1)
        with pytest.raises(CallError) as caught:
            await client.chat(BODY, 1000)
        await client.close()
        server.close()
        assert (caught.value.remedy, caught.value.free) == (Remedy.STOP, True)
        assert caught.value.reason == "the server does not speak https as it should; correct --base-url"

    asyncio.run(once())


@pytest.mark.parametrize(
    "key", ["sk-plan\nted", "sk-plan\rted", "sk-\x00planted", "sk-plantéd", "sk-\u200bplanted", "\ufeffsk-planted"]
)
@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
def test_a_key_that_cannot_be_sent_is_refused_before_any_call(monkeypatch: pytest.MonkeyPatch, name: str, key: str) -> None:
    if "\x00" in key:
        key = key.replace("\x00", "\x7f")  # no environment holds the former
    monkeypatch.setenv(name, key)
    with pytest.raises(OptionError, match=f"^{name}: holds a line break or another character that no key has") as caught:
        ChatClient("http://127.0.0.1:1/v1", 1)
    assert "sk-" not in str(caught.value)


def test_what_is_sent_with_every_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org")
    monkeypatch.setenv("OPENAI_PROJECT_ID", " project\n")
    with FaultServer(TRUE) as server:
        ask(server.base_url)
        headers = server.requests[0].headers
    assert (headers["openai-organization"], headers["openai-project"]) == ("org", "project")
    assert headers["authorization"] == "Bearer sk-planted"


# ---- pauses


@pytest.mark.parametrize("name", ["429_zero", "429_negative", "429_past", "429_no_date", "429"])
def test_a_least_pause_whatever_the_header_says(serving: Any, world: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Pauses double from a tenth of a second or so: in one second there is time for a handful of calls."""
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.1)
    monkeypatch.setattr(calling, "PATIENCE", 1.0)
    with FaultServer(TRUE, always(name)) as server:
        started = time.monotonic()
        with pytest.raises(ModelError, match="takes no calls"):
            serving(server.base_url, workers=8, items_per_call=1).answer(world.items, world.features)
        assert time.monotonic() - started > 1.0
        assert server.total <= 8 * 6  # at 0, 0.05-0.1, 0.15-0.3, 0.35-0.7, 0.75-1.5 and after that


def test_a_least_pause_after_a_fault_that_counts(serving: Any, world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.1)
    with FaultServer(TRUE, always("500_zero")) as server:
        started = time.monotonic()
        with pytest.raises(ModelError, match="failed 4 times in a row"):
            serving(server.base_url, workers=1, attempts=4).answer(world.items, world.features)
        assert time.monotonic() - started > 0.05 + 0.1 + 0.2


@pytest.mark.parametrize("name", ["429_days", "500_days", "529_ages"])
def test_a_server_that_will_not_answer_today_ends_the_run(serving: Any, world: Any, name: str) -> None:
    with FaultServer(TRUE, always(name)) as server:
        started = time.monotonic()
        with pytest.raises(ModelError, match=rf"takes no calls \(status {name[:3]}.*try again later"):
            serving(server.base_url).answer(world.items, world.features)
        assert time.monotonic() - started < 5
        assert server.total <= 4


# ---- certainties


@pytest.mark.parametrize("name", ["logprobs_high", "logprobs_infinite", "logprobs_nan", "logprobs_huge", "logprobs_number"])
def test_certainties_that_cannot_be_are_not_known_and_the_answers_stand(serving: Any, world: Any, name: str) -> None:
    with FaultServer(TRUE, always(name)) as server:
        model = serving(server.base_url, log_probabilities=True)
        np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)
        assert server.counts == {name: world.truth.size}
    assert serving.rows("SELECT DISTINCT probability FROM answers") == [(None,)]
