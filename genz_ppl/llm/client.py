"""One call to an OpenAI-compatible server: sent, read and checked; no retries and no policy here.

The only module that imports `openai`. What a server says in words is never passed on: it may repeat the key or an item.
"""

from __future__ import annotations

import io
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import openai
from yarl import URL

from genz_ppl.errors import OptionError
from genz_ppl.llm.faults import CallError, Remedy
from genz_ppl.llm.spending import Usage

KEY_VARIABLE = "OPENAI_API_KEY"
MARK = "genz-ppl"
# Sent to servers that want no key; the client insists on one.
NO_KEY = "none"
# Bytes from which a body is sent piece by piece.
LARGE = 2**20
_QUOTA = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_TOO_LONG = {"context_length_exceeded", "string_above_max_length", "request_too_large", "exceed_context_size_error"}
_FILTERED = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation"}
# The codes that are shown: any other might be an echo of the key or of an item.
_SHOWN = (
    _QUOTA
    | _TOO_LONG
    | _FILTERED
    | {
        "invalid_api_key",
        "invalid_request_error",
        "model_not_found",
        "overloaded_error",
        "permission_denied",
        "rate_limit_exceeded",
        "requests",
        "server_error",
        "tokens",
        "unknown_url",
        "unsupported_country_region_territory",
        "unsupported_parameter",
        "unsupported_value",
    }
)
_FORMAT_WORDS = ("response_format", "json_schema", "json_object", "structured output")
_TRANSIENT = {408, 409, 425}


@dataclass(frozen=True)
class Reply:
    """A usable reply. text: what the model said. usage: None where the server does not tell.

    tokens: (token, {alternative: log-probability}) of the text, where they were asked for.
    """

    text: str
    usage: Usage | None
    tokens: tuple[tuple[str, Mapping[str, float]], ...] = ()


@dataclass(frozen=True)
class Batch:
    """Where a batch stands. files: ids of its results and of its errors, as far as there are any."""

    identifier: str
    status: str
    files: tuple[str, ...]

    @property
    def over(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in ("completed", "failed", "expired", "cancelled")


class ChatClient:
    """Sends chat completions to one server over connections that stay open. Belongs to one event loop."""

    def __init__(self, base_url: str | None, workers: int) -> None:
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key and base_url is None and not os.environ.get("OPENAI_BASE_URL"):
            raise OptionError(
                f"the openai model needs a key: set the environment variable {KEY_VARIABLE}, or name a server by --base-url"
            )
        logging.getLogger("openai").setLevel(logging.WARNING)  # at its debug level it would write requests into the user's log
        http = openai.DefaultAioHttpClient(timeout=None)
        try:
            self._client = openai.AsyncOpenAI(api_key=key or NO_KEY, base_url=base_url, max_retries=0, http_client=http)
        except (openai.OpenAIError, httpx2.InvalidURL) as error:
            raise OptionError(
                f"--base-url {base_url}: not usable as a server's address ({type(error).__name__}); write http://host:port/v1"
            ) from None
        self.endpoint = str(self._client.base_url)
        if not self.endpoint.startswith(("http://", "https://")):
            raise OptionError(f"--base-url {base_url}: expected an address such as http://localhost:8080/v1")
        self._address = URL(f"{self.endpoint}chat/completions")
        self._proxy = (
            None if proxy_bypass(self._address.host or "") else getproxies().get(self._address.scheme, getproxies().get("all"))
        )
        headers = {**self._client.default_headers, **self._client.auth_headers}
        self._headers = {
            name: value for name, value in headers.items() if isinstance(value, str) and not name.startswith("X-Stainless")
        }
        self._workers = workers
        self._session: aiohttp.ClientSession | None = None

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """Send one request of /chat/completions. Raises CallError for anything but a usable reply."""
        data = json.dumps(body).encode()
        with _call_errors():
            # No redirects: key and items go where the user said and nowhere else.
            sending = self._connections().post(
                self._address,
                data=data if len(data) < LARGE else io.BytesIO(data),
                headers=self._headers,
                proxy=self._proxy,
                allow_redirects=False,
            )
            async with sending as response:
                content = await response.read()
        if not 200 <= response.status < 300:
            raise status_error(response.status, response.headers, content)
        return read_reply(content)

    def _connections(self) -> aiohttp.ClientSession:
        """Those for chat completions. Through the layers of the openai client a call takes the processor four times as long."""
        if self._session is None:  # made here, since it belongs to the running loop
            secure = httpx2.create_ssl_context() if self._address.scheme == "https" else True
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._workers, ssl=secure),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),
            )
        return self._session

    async def upload(self, name: str, content: bytes) -> str:
        """Put a file of requests on the server; its id there. Raises CallError."""
        with _call_errors():
            return str((await self._client.files.create(file=(name, content), purpose="batch")).id)

    async def download(self, file: str) -> bytes:
        """The content of a file on the server. Raises CallError."""
        with _call_errors():
            return (await self._client.files.content(file)).content

    async def start_batch(self, file: str, token: str) -> Batch:
        """Have the server work on a file of requests. token: a mark by which the batch is found again. Raises CallError."""
        with _call_errors():
            created = await self._client.batches.create(
                input_file_id=file, endpoint="/v1/chat/completions", completion_window="24h", metadata={MARK: token}
            )
        return _batch(created)

    async def batch(self, identifier: str) -> Batch:
        """Where a batch stands. Raises CallError."""
        with _call_errors():
            return _batch(await self._client.batches.retrieve(identifier))

    async def find_batch(self, token: str) -> Batch | None:
        """The batch with this mark, if the server has it. Raises CallError."""
        with _call_errors():
            async for batch in self._client.batches.list(limit=100):
                if isinstance(batch.metadata, dict) and batch.metadata.get(MARK) == token:
                    return _batch(batch)
        return None

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
        if self._session is not None:
            await self._session.close()


@contextmanager
def _call_errors() -> Iterator[None]:
    try:
        yield
    except openai.APIStatusError as error:
        raise status_error(error.status_code, error.response.headers, error.response.content) from None
    except (openai.APIConnectionError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
        refused = _is_refused(error)
        raise CallError(Remedy.AGAIN, "no connection" if refused else "the connection failed", free=refused) from None
    except Exception as error:  # a transport that raises its own errors, whose words may hold the reply
        raise CallError(Remedy.AGAIN, f"the call failed ({type(error).__name__})") from None


def _is_refused(error: BaseException | None) -> bool:
    """Whether there never was a connection. The openai client calls it a timeout, so it is looked up where it came from."""
    while error is not None and not isinstance(error, aiohttp.ClientConnectorError):
        error = error.__cause__
    return error is not None


def _batch(batch: Any) -> Batch:
    identifier, files = batch.id, (batch.output_file_id, batch.error_file_id)
    if not isinstance(identifier, str) or not isinstance(batch.status, str):
        raise CallError(Remedy.AGAIN, "a batch without id or status")
    return Batch(identifier, batch.status, tuple(file for file in files if isinstance(file, str)))


def status_error(status: int, headers: Mapping[str, str], content: bytes) -> CallError:
    """What an HTTP status other than 200 calls for."""
    error = _error_of(content)
    code = _code(error)
    named = f"status {status}" + (f", {code}" if code in _SHOWN else "")
    text = str(error.get("message", "")).lower() + str(error.get("param", "")).lower()
    if status == 429 and code in _QUOTA:
        return CallError(Remedy.STOP, f"the account's quota is used up ({named})", free=True)
    if status == 429 or (status == 503 and "retry-after" in headers):
        return CallError(Remedy.WAIT, named, free=True, retry_after=retry_after(headers))
    if status >= 500 or status in _TRANSIENT:
        return CallError(Remedy.AGAIN, named, free=True, retry_after=retry_after(headers))
    if 300 <= status < 400:
        return CallError(Remedy.STOP, f"the server sends calls to another address ({named}); correct --base-url", free=True)
    if status in (401, 403):
        return CallError(Remedy.STOP, f"the server refuses the key ({named}); check {KEY_VARIABLE}", free=True)
    if status == 404:
        return CallError(
            Remedy.STOP, f"the server knows no such model or address ({named}); check --model and --base-url", free=True
        )
    if status == 413 or code in _TOO_LONG or "context length" in text or "context size" in text or "maximum context" in text:
        return CallError(Remedy.SPLIT, f"too long for the model ({named})", free=True)
    if code in _FILTERED:
        return CallError(Remedy.SPLIT, "content filter", free=True)
    if any(word in text or word in code for word in _FORMAT_WORDS):
        return CallError(Remedy.PLAINER, f"the server does not know the reply format ({named})", free=True)
    return CallError(Remedy.STOP, f"the server refuses the request ({named})", free=True)


def _error_of(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    error = found.get("error") if isinstance(found, dict) else None
    return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else {}


def _code(error: Mapping[str, Any]) -> str:
    """The error's code, else its type."""
    return next((value.lower() for name in ("code", "type") if isinstance(value := error.get(name), str) and value), "")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait: from retry-after-ms, or Retry-After in seconds or as a date; None if it does not."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        try:
            seconds = float(text) * unit
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return None if date.tzinfo is None else max(0.0, (date - datetime.now(UTC)).total_seconds())


def read_reply(content: bytes) -> Reply:
    """The reply in the body of a chat completion. Raises CallError for anything that cannot be used as it stands."""
    return read_completion(read_object(content))


def read_completion(body: Mapping[str, Any]) -> Reply:
    """The reply in a chat completion. Raises CallError as `read_reply` does."""
    usage = _usage(body.get("usage"))
    if body.get("error") is not None:
        raise CallError(Remedy.AGAIN, "an error in place of a reply", usage=usage)
    choices = body.get("choices")
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise CallError(Remedy.AGAIN, "a reply without exactly one choice", usage=usage)
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise CallError(Remedy.AGAIN, "a reply without a message", usage=usage)
    finish, text = choice.get("finish_reason"), message.get("content")
    if message.get("refusal"):
        raise CallError(Remedy.SPLIT, "refusal", usage=usage)
    if finish == "content_filter":
        raise CallError(Remedy.SPLIT, "content filter", usage=usage)
    if finish == "length":
        raise CallError(Remedy.SPLIT, "the reply was cut off", usage=usage)
    if finish not in ("stop", None):
        raise CallError(Remedy.SPLIT, "the reply ended in an unknown way", usage=usage)
    if not isinstance(text, str) or not text.strip():
        raise CallError(Remedy.SPLIT, "an empty reply", usage=usage)
    return Reply(text, usage, _tokens(choice.get("logprobs")))


def read_object(content: bytes) -> dict[str, Any]:
    """The JSON object that the bytes are. Raises CallError, also for a key that is there twice."""
    try:
        body = json.loads(content.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise CallError(Remedy.AGAIN, "a body that is not JSON") from None
    if not isinstance(body, dict):
        raise CallError(Remedy.AGAIN, "a body that is no JSON object")
    return body


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key twice")
    return found


def _usage(value: object) -> Usage | None:
    if not isinstance(value, dict):
        return None
    counts = value.get("prompt_tokens"), value.get("completion_tokens")
    if all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count < 10**9 for count in counts):
        return Usage(int(counts[0] or 0), int(counts[1] or 0))
    return None


def _tokens(value: object) -> tuple[tuple[str, Mapping[str, float]], ...]:
    content = value.get("content") if isinstance(value, dict) else None
    if not isinstance(content, list):
        return ()
    tokens = []
    for entry in content:
        if not isinstance(entry, dict) or not isinstance(entry.get("token"), str):
            return ()
        others = entry.get("top_logprobs") or [entry]
        table = {
            one["token"]: float(one["logprob"])
            for one in others
            if isinstance(one, dict) and isinstance(one.get("token"), str) and isinstance(one.get("logprob"), int | float)
        }
        tokens.append((entry["token"], table))
    return tuple(tokens)
