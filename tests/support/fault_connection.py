"""The fault server's side of a connection: reads requests, sends replies part by part, keeps count."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from http_faults import CLOSE, ENDLESS, HANG, KEEP, RESET, Reply


class Call(NamedTuple):
    """A request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    """Names in lower case."""
    payload: bytes


class Host:
    """What the connections of one server share; `respond` is the server's."""

    def __init__(self, latency: float) -> None:
        self.latency = latency
        self.abandoned = 0  # requests whose client went before the whole reply was sent; the server's end makes none
        self.connected = 0  # connections ever made
        self.in_flight = 0
        self.replied = 0  # whole replies on connections that were kept
        self.reply_seconds = 0.0  # theirs in all, from a request's last byte to the reply's
        self.peak_in_flight = 0
        self.connections: set[Connection] = set()
        self.stopping = False

    def respond(self, call: Call) -> Reply:
        """The reply to a request; called in the server's thread."""
        raise NotImplementedError


class Connection(asyncio.Protocol):
    """One client's connection: one request at a time, the next is read when the reply is out."""

    def __init__(self, host: Host, loop: asyncio.AbstractEventLoop) -> None:
        self.host, self.loop = host, loop
        self.buffer = bytearray()
        self.busy = False
        self.arrived = 0.0
        self.timer: asyncio.TimerHandle | None = None
        self.reply = Reply(())
        self.parts: Sequence[tuple[float, bytes]] = ()
        self.sent = 0
        self.full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        # asyncio sets it only on sockets made with the protocol's number
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.host.connected += 1
        self.host.connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.host.connections.discard(self)
        if self.timer is not None:
            self.timer.cancel()
        if self.busy:
            self.host.abandoned += not self.host.stopping
            self._done()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.busy:
            self._next_request()

    def _next_request(self) -> None:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        first_line, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = end + 4 + int(headers.get("content-length", 0))
        if len(self.buffer) < size:
            return
        self.arrived = self.loop.time()
        method, path, _ = first_line.split(" ", 2)
        call = Call(method, path, headers, bytes(self.buffer[end + 4 : size]))
        del self.buffer[:size]
        self.busy = True
        self.host.in_flight += 1
        self.host.peak_in_flight = max(self.host.peak_in_flight, self.host.in_flight)
        self.reply = self.host.respond(call)
        self.parts, self.sent = self.reply.parts, 0
        if self.host.latency > 0:
            self.timer = self.loop.call_at(self.arrived + self.host.latency, self._send)
        else:
            self._send()

    def _send(self) -> None:
        """Sends the next parts up to one that has to wait."""
        while self.sent < len(self.parts):
            if self.parts[self.sent][0] > 0:
                self.timer = self.loop.call_later(self.parts[self.sent][0], self._send_part)
                return
            self._write()
        self._after()

    def _send_part(self) -> None:
        self._write()
        self._send()

    def _write(self) -> None:
        data = self.parts[self.sent][1]
        self.sent += 1
        if self.sent == len(self.parts) and self.reply.after == KEEP:
            self.host.replied += 1
            self.host.reply_seconds += self.loop.time() - self.arrived
            self._done()  # first, so that a client that has its reply finds it counted as done
        self.transport.write(data)

    def _done(self) -> None:
        self.busy = False
        self.host.in_flight -= 1

    def _after(self) -> None:
        after = self.reply.after
        if after == KEEP and self.buffer:
            self.loop.call_soon(self._next_request)
        elif after == CLOSE:
            self._done()
            self.transport.close()
        elif after == RESET:
            self.timer = self.loop.call_later(self.reply.after_seconds, self._reset)
        elif after == ENDLESS:
            self._pour()
        elif after == HANG:
            pass  # busy until the client goes

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        self._pour()

    def _pour(self) -> None:
        if self.busy and self.reply.after == ENDLESS and not self.full and not self.transport.is_closing():
            self.transport.write(self.parts[-1][1])
            self.timer = self.loop.call_later(0, self._pour)

    def _reset(self) -> None:
        self._done()
        # a linger time of zero makes the close a reset
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
