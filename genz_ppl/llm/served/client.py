"""One call to an OpenAI-compatible server: sent, read and checked; no retries and no policy here. Alone in importing `openai`.

All calls, those about batches too, go one way: to the host that the user named and nowhere else, and no reply is read beyond
what it may have. What a server says in words is never passed on: it may repeat the key or an item.
"""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx2
import openai
from yarl import URL

from genz_ppl.errors import OptionError
from genz_ppl.llm.served.address import BASE_VARIABLE, http_address, server_address
from genz_ppl.llm.served.embeddings import read_embeddings
from genz_ppl.llm.served.faults import CallError, Remedy, one_reply
from genz_ppl.llm.served.reading import KEY_VARIABLE, Reply, read_completion, read_object, status_error

MARK = "genz-ppl"
# Sent to servers that want no key.
NO_KEY = "none"
# What the openai client puts into the headers from the environment, besides the key.
_ACCOUNT = {"organization": "OPENAI_ORG_ID", "project": "OPENAI_PROJECT_ID"}
# Bytes from which a body is sent piece by piece, and of the pieces in which a reply is read.
LARGE, PIECE = 2**20, 2**16
# The most bytes that are read of an error, which says what it has to say at once, and of a word about files and batches: a
# hundred batches with their marks and errors have a tenth of it.
ERROR_BYTES, BATCH_BYTES = 2**16, 2**22


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
    """Sends calls to one server over connections that stay open. Belongs to one event loop.

    Raises OptionError for an address, a key or a proxy that cannot be used, and for a missing key.
    """

    def __init__(self, base_url: str | None, workers: int) -> None:
        self._address = server_address(base_url)
        self.endpoint = str(self._address)
        self._key = _from_environment(KEY_VARIABLE)
        if not self._key and base_url is None and not os.environ.get(BASE_VARIABLE):
            raise OptionError(
                f"the openai model needs a key: set the environment variable {KEY_VARIABLE}, or name a server by --base-url"
            )
        self._proxy, self._proxy_name = _proxy(self._address)
        account = {name: _from_environment(variable) for name, variable in _ACCOUNT.items()}
        logging.getLogger("openai").setLevel(logging.WARNING)  # at its debug level it would write requests into the user's log
        unused = httpx2.AsyncClient(trust_env=False)  # its connections are not; proxies are looked at above
        known = openai.AsyncOpenAI(
            api_key=self._key or NO_KEY,
            base_url=self.endpoint,
            http_client=unused,
            organization=account["organization"],
            project=account["project"],
        )
        headers = {**known.default_headers, **known.auth_headers}
        self._headers = {
            name: value
            for name, value in headers.items()
            if isinstance(value, str) and value and not name.startswith("X-Stainless") and name != "Content-Type"
        }
        self._workers = workers
        self._session: aiohttp.ClientSession | None = None

    async def chat(self, body: Mapping[str, Any], most: int) -> Reply:
        """Send one request of /chat/completions. most: bytes of the reply. Raises CallError for anything but a usable reply."""
        content = await self._call("POST", "chat/completions", most, body)
        with one_reply():
            return read_completion(read_object(content))

    async def embed(self, body: Mapping[str, Any], most: int) -> Reply:
        """Send one request of /embeddings; the vectors are the text of the reply, see `read_embeddings`. Raises CallError."""
        content = await self._call("POST", "embeddings", most, body)
        with one_reply():
            return Reply(*read_embeddings(read_object(content), len(body["input"])))

    async def upload(self, name: str, content: bytes) -> str:
        """Put a file of requests on the server; its id there. Raises CallError."""
        form = aiohttp.FormData({"purpose": "batch"})
        form.add_field("file", io.BytesIO(content), filename=name, content_type="application/jsonl")
        with one_reply():
            return str(read_object(await self._call("POST", "files", BATCH_BYTES, form))["id"])

    async def download(self, file: str, most: int) -> bytes:
        """The content of a file on the server, of at most so many bytes. Raises CallError."""
        return await self._call("GET", f"files/{quote(file, safe='')}/content", most)

    async def start_batch(self, file: str, token: str) -> Batch:
        """Have the server work on a file of requests. token: a mark by which the batch is found again. Raises CallError."""
        asked = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", "metadata": {MARK: token}}
        return _batch(read_object(await self._call("POST", "batches", BATCH_BYTES, asked)))

    async def batch(self, identifier: str) -> Batch:
        """Where a batch stands. Raises CallError."""
        return _batch(read_object(await self._call("GET", f"batches/{quote(identifier, safe='')}", BATCH_BYTES)))

    async def find_batch(self, token: str) -> Batch | None:
        """The batch with this mark, if the server has it. Raises CallError."""
        query = {"limit": "100"}
        while True:
            page = read_object(await self._call("GET", "batches", BATCH_BYTES, query=query))
            with one_reply():
                found = next((batch for batch in page["data"] if (batch.get("metadata") or {}).get(MARK) == token), None)
                if found is not None or not page["data"] or page.get("has_more") is not True:
                    return None if found is None else _batch(found)
                query["after"] = str(page["data"][-1]["id"])

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _call(
        self, method: str, path: str, most: int, sent: object = None, query: Mapping[str, str] | None = None
    ) -> bytes:
        """The body of the reply, at most so many bytes, to one request. sent: JSON, or a form with a file."""
        address = self._address.with_path(f"{self._address.raw_path}{path}", encoded=True, keep_query=True)
        body, headers, data = sent if isinstance(sent, Mapping) else {}, self._headers, sent
        if body:
            text = json.dumps(sent).encode()
            data = text if len(text) < LARGE else io.BytesIO(text)
            headers = {**headers, "Content-Type": "application/json"}
        try:
            # No redirects: key and items go where the user said and nowhere else.
            sending = self._connections().request(
                method, address.extend_query(query or {}), data=data, headers=headers, proxy=self._proxy, allow_redirects=False
            )
            async with sending as response:
                usable = 200 <= response.status < 300
                content = await _content(response, most if usable else ERROR_BYTES)
        except Exception as error:
            raise _fault(error, self._proxy_name) from None
        with one_reply():
            if not usable:
                raise status_error(response.status, response.headers, content or b"", body, self._key)
        if content is None:  # the server is at fault: nothing that was asked for is as long
            raise CallError(Remedy.AGAIN, "a reply longer than any that was asked for")
        return content

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:  # made here, since it belongs to the running loop
            secure = httpx2.create_ssl_context() if self._address.scheme == "https" else True
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._workers, ssl=secure),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),
            )
        return self._session


async def _content(response: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The body, taken and decompressed piece by piece: never are much more than `most` bytes there. None if it is longer."""
    pieces, left = [], most
    async for piece in response.content.iter_chunked(PIECE):
        pieces.append(piece)
        left -= len(piece)
        if left < 0:
            response.close()
            return None
    return b"".join(pieces)


def _fault(error: Exception, proxy: str) -> CallError:
    """What an error of the connection calls for. proxy: the variable that names the one in between, if there is one."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        why = getattr(error.certificate_error, "verify_message", "no reason is given")
        advice = "name a file with its authority in SSL_CERT_FILE, or correct --base-url"
        return CallError(Remedy.STOP, f"the server's certificate is not trusted ({why}); {advice}", free=True)
    reason = str(getattr(getattr(error, "os_error", None), "reason", None))
    if isinstance(error, aiohttp.ClientConnectorSSLError) and "ALERT" not in reason and "EOF" not in reason:
        return CallError(Remedy.STOP, "the server does not speak https as it should; correct --base-url", free=True)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        remedy = Remedy.STOP if error.status in (401, 403, 407) else Remedy.AGAIN
        return CallError(remedy, f"the proxy of {proxy} refuses the connection (status {error.status})", free=True)
    if isinstance(error, aiohttp.ClientConnectorError):
        return CallError(Remedy.AGAIN, f"no connection to the proxy of {proxy}" if proxy else "no connection", free=True)
    if isinstance(error, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
        return CallError(Remedy.AGAIN, "the connection failed")
    return CallError(Remedy.AGAIN, f"the call failed ({type(error).__name__})")  # its words may hold the reply


def _from_environment(name: str) -> str:
    """A value that goes into a header. Raises OptionError where it cannot."""
    value = os.environ.get(name, "").strip()
    if not value.isascii() or not value.isprintable():
        raise OptionError(f"{name}: holds a line break or another character that no key has; copy it anew")
    return value


def _proxy(address: URL) -> tuple[URL | None, str]:
    """The proxy that the environment wants for an address, and the variable that names it."""
    proxies = getproxies()
    scheme = next((scheme for scheme in (address.scheme, "all") if proxies.get(scheme)), None)
    if scheme is None or proxy_bypass(address.host or ""):
        return None, ""
    given, name = proxies[scheme], f"{scheme}_proxy"
    name = name if name in os.environ else name.upper()
    proxy = http_address(given if "://" in given else f"http://{given}")
    if proxy is None:
        found = "a SOCKS proxy, which is not supported" if given.lower().startswith("socks") else "no http proxy"
        raise OptionError(f"{name}: names {found}; unset it, name one such as http://host:3128, or add the server to NO_PROXY")
    return proxy, name


def _batch(found: Mapping[str, Any]) -> Batch:
    identifier, status, files = found.get("id"), found.get("status"), (found.get("output_file_id"), found.get("error_file_id"))
    if not isinstance(identifier, str) or not isinstance(status, str):
        raise CallError(Remedy.AGAIN, "a batch without id or status")
    return Batch(identifier, status, tuple(file for file in files if isinstance(file, str)))
