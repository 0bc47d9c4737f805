"""A server like OpenAI's over raw TCP that does wrong what it is told to do wrong.

In a test:  with FaultServer(truthful_answerer(truth), faults=every(10, "429")) as server: ... server.base_url ...
On its own: python tests/support/fault_server.py --port 0 --latency 0.05 --faults share:0.3:429  (prints its port; see /stats)
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from answerers import Answerer, Body, constant_answerer, contains_truth, hash_truth, truthful_answerer
from fault_connection import Call, Connection, Host
from fault_patterns import (
    FAULTS,
    Pattern,
    always,
    either,
    every,
    first,
    first_time,
    read_pattern,
    script,
    share,
    when,
)
from http_faults import Exchange, Reply, reply_error, reply_json, right

__all__ = [
    "FAULTS",
    "Call",
    "FaultServer",
    "Reply",
    "Request",
    "always",
    "constant_answerer",
    "contains_truth",
    "either",
    "every",
    "first",
    "first_time",
    "hash_truth",
    "script",
    "share",
    "truthful_answerer",
    "when",
]

CHAT = ("POST", "/v1/chat/completions")
RIGHT = "right"


class Request(NamedTuple):
    """A request to /v1/chat/completions as it came in."""

    time: float
    """time.monotonic() when the last byte was there."""
    body: Body
    fault: str | None
    headers: dict[str, str]
    """Names in lower case."""


Handler = Callable[[Call], Reply]


class FaultServer(Host):
    """Serves in a thread of its own between `with` and its end.

    `faults(number, body)` names the fault of request `number` (from 1) or None; a fault that cannot apply to a request (an index
    in an image's description) leaves the right reply and counts as none. `latency`: seconds from a request's last byte to its
    reply's first. `certainty`: the probability of each 0 and 1 it says, where log-probabilities are asked for. `faults`,
    `latency`, `retry_after` (seconds said by 429 replies) and `trickle_seconds` (a byte) may be changed while it serves.
    `certificate`: it speaks https with the certificate and the key in this file. `record=False` keeps counts but no bodies.
    `routes[(method, path)]` takes handlers of further routes; where none fits, those in `fallbacks` are asked in turn until one
    gives a reply. If an answerer, a pattern or a handler raises, the client gets a 500 and the `with` raises the error at its
    end.
    """

    def __init__(
        self,
        answerer: Answerer,
        faults: Pattern | None = None,
        latency: float = 0.0,
        *,
        certainty: float = 0.9,
        retry_after: float = 1.0,
        trickle_seconds: float = 1.0,
        port: int = 0,
        record: bool = True,
        certificate: Path | None = None,
    ) -> None:
        super().__init__(latency)
        self.answerer, self.faults = answerer, faults
        self.certainty, self.retry_after, self.trickle_seconds, self.record = certainty, retry_after, trickle_seconds, record
        self.requests: list[Request] = []
        self.counts: Counter[str] = Counter()  # by fault, "right" for none
        self.errors: list[Exception] = []
        self.routes: dict[tuple[str, str], Handler] = {("GET", "/v1/models"): self._models, ("GET", "/stats"): self._stats}
        self.fallbacks: list[Callable[[Call], Reply | None]] = []
        self._secure = None
        if certificate is not None:
            self._secure = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._secure.load_cert_chain(certificate)
        self._loop = asyncio.new_event_loop()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="fault server", daemon=True)

    @property
    def base_url(self) -> str:
        return f"{'http' if self._secure is None else 'https'}://127.0.0.1:{self.port}/v1"

    @property
    def total(self) -> int:
        """Requests to /v1/chat/completions so far."""
        return self.counts.total()

    def __enter__(self) -> FaultServer:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        if kind is None and self.errors:
            raise self.errors[0]

    def stop(self) -> None:
        """Closes every connection and ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def wait(self) -> None:
        """Blocks until the server is stopped."""
        self._thread.join()

    def _serve(self) -> None:
        loop = self._loop
        server = loop.run_until_complete(loop.create_server(lambda: Connection(self, loop), sock=self._socket, ssl=self._secure))
        loop.call_soon(self._started.set)
        try:
            loop.run_forever()
        finally:
            self.stopping = True
            server.close()
            for connection in list(self.connections):
                connection.transport.abort()
            loop.run_until_complete(asyncio.sleep(0))  # lets the connections see their end
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def respond(self, call: Call) -> Reply:
        try:
            if (call.method, call.path) == CHAT:
                return self._chat(call)
            handler = self.routes.get((call.method, call.path))
            if handler is not None:
                return handler(call)
            found = next((reply for ask in self.fallbacks if (reply := ask(call)) is not None), None)
            return found or reply_error(
                404, f"Unknown request URL: {call.method} {call.path}.", "invalid_request_error", "unknown_url"
            )
        except Exception as error:
            self.errors.append(error)
            return reply_error(500, "the fault server's own error", "server_error")

    def _chat(self, call: Call) -> Reply:
        body = json.loads(call.payload)
        number = self.total + 1
        name = self.faults(number, body) if self.faults is not None else None
        fault = FAULTS[name] if name is not None else None
        exchange = Exchange(body, call.headers, self.answerer(body), self.certainty, self.retry_after, self.trickle_seconds)
        reply = fault(exchange) if fault is not None else None
        if reply is None:
            name, reply = None, right(exchange)
        self.counts[name or RIGHT] += 1
        if self.record:
            self.requests.append(Request(time.monotonic(), body, name, call.headers))
        return reply

    def _models(self, call: Call) -> Reply:
        return reply_json(
            200, {"object": "list", "data": [{"id": "model", "object": "model", "created": 0, "owned_by": "tests"}]}
        )

    def _stats(self, call: Call) -> Reply:
        names = ("abandoned", "connected", "in_flight", "peak_in_flight", "replied", "reply_seconds", "total")
        found = {name: getattr(self, name) for name in names}
        return reply_json(200, found | {"counts": dict(self.counts), "errors": [repr(error) for error in self.errors]})


def read_answerer(name: str, wordings: list[str] | None) -> Answerer:
    """The answerer of the command line: hash, contains, or MODULE:FUNCTION (a function of the body)."""
    more: dict[str, Any] = {"wordings": wordings} if wordings else {}
    if name in ("hash", "contains"):
        return truthful_answerer(hash_truth if name == "hash" else contains_truth, **more)
    module, _, function = name.partition(":")
    found: Answerer = getattr(importlib.import_module(module), function)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Serves until standard input ends (--until-eof) or the process is stopped; prints the port first."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument(
        "--faults", action="append", default=[], help="always:NAME, every:N:NAME, first:K:NAME or share:P:NAMES[:SEED]"
    )
    parser.add_argument("--answerer", default="hash", help="hash, contains or MODULE:FUNCTION")
    parser.add_argument("--wording", action="append", help="what mining prompts get")
    parser.add_argument("--retry-after", type=float, default=1.0)
    parser.add_argument("--trickle-seconds", type=float, default=1.0)
    parser.add_argument(
        "--until-eof", action="store_true", help="end when standard input does, so with the process that started this"
    )
    options = parser.parse_args(arguments)
    server = FaultServer(
        read_answerer(options.answerer, options.wording),
        either(*map(read_pattern, options.faults)) if options.faults else None,
        options.latency,
        retry_after=options.retry_after,
        trickle_seconds=options.trickle_seconds,
        port=options.port,
        record=False,
    )
    with server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        if options.until_eof:
            sys.stdin.read()
        else:
            server.wait()


if __name__ == "__main__":
    main()
