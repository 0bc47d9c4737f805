"""A client over a raw socket that sees every byte of a reply and how it ended; and requests in the formats of the prompts."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple

WHOLE, CLOSED, RESET, SILENT = "whole", "closed", "reset", "silent"


class Seen(NamedTuple):
    """What came back."""

    data: bytes
    end: str
    """WHOLE: as many bytes as the head promises; CLOSED, RESET: the connection ended first; SILENT: more was due in the end."""

    @property
    def status(self) -> int:
        return int(self.data.split(b" ", 2)[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = self.data.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    @property
    def payload(self) -> bytes:
        """All bytes after the head, chunk marks and surplus ones included."""
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def body(self) -> Any:
        return json.loads(self.payload)

    @property
    def content(self) -> Any:
        """The content of the first choice's message."""
        return self.body["choices"][0]["message"]["content"]


class RawClient:
    """One connection to 127.0.0.1:port, kept between requests."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()

    def ask(self, body: dict[str, Any], seconds: float = 10.0) -> Seen:
        """Posts a chat completion and reads for at most `seconds`."""
        return self.send(self.request("POST", "/v1/chat/completions", json.dumps(body).encode()), seconds)

    @staticmethod
    def request(method: str, path: str, payload: bytes = b"") -> bytes:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sk-planted\r\nX-Mixed-Case: Value\r\n"
        return f"{head}Content-Length: {len(payload)}\r\n\r\n".encode() + payload

    def send(self, request: bytes, seconds: float = 10.0) -> Seen:
        """Sends these bytes and reads one reply for at most `seconds`."""
        self.socket.sendall(request)
        until = time.monotonic() + seconds
        data = b""
        while not is_whole(data):
            left = until - time.monotonic()
            if left <= 0:
                return Seen(data, SILENT)
            self.socket.settimeout(left)
            try:
                more = self.socket.recv(65536)
            except TimeoutError:
                return Seen(data, SILENT)
            except ConnectionResetError:
                return Seen(data, RESET)
            if not more:
                return Seen(data, CLOSED)
            data += more
        return Seen(data, WHOLE)


def is_whole(data: bytes) -> bool:
    """Whether the head and as much of the body as it promises are there."""
    head, mark, payload = data.partition(b"\r\n\r\n")
    if not mark:
        return False
    if b"Transfer-Encoding: chunked" in head:
        return payload.endswith(b"\r\n0\r\n\r\n")
    return len(payload) >= int(head.partition(b"Content-Length: ")[2].split(b"\r\n")[0])


def chat(
    items: Sequence[str], features: Sequence[str], schema: str | None = "extract_many", response_format: str = "json_schema"
) -> dict[str, Any]:
    """The body of a request with numbered lines of items and features."""
    lines = [json.dumps({"item": number, "text": text}, ensure_ascii=False) for number, text in enumerate(items, start=1)]
    lines += [json.dumps({"feature": number, "text": text}, ensure_ascii=False) for number, text in enumerate(features, start=1)]
    messages = [{"role": "system", "content": "Answer."}, {"role": "user", "content": "\n".join(["Here:", *lines])}]
    body: dict[str, Any] = {"model": "tiny", "messages": messages}
    if schema is not None:
        body["response_format"] = {"type": response_format, "json_schema": {"name": schema, "strict": True, "schema": {}}}
    return body
