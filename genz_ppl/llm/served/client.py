"""One call to an OpenAI-compatible server: sent, read and checked; no retries and no policy here.

The only module that imports `openai`. What a server says in words is never passed on: it may repeat the key or an item.
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import openai
from yarl import URL

from genz_ppl.errors import OptionError
from genz_ppl.llm.served.faults import CallError, Remedy
from genz_ppl.llm.served.reading import KEY_VARIABLE, Reply, read_reply, status_error

MARK = "genz-ppl"
# Sent to servers that want no key; the client insists on one.
NO_KEY = "none"
# Bytes from which a body is sent piece by piece.
LARGE = 2**20


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
