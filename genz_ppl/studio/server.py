"""The page's server: on this machine only, for one browser that knows the token, and for no other page in it."""

from __future__ import annotations

import json
import secrets
import socket
from importlib import resources
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from genz_ppl.errors import GenzError
from genz_ppl.studio.bench import Bench

HOST = "127.0.0.1"
# What a request may hold.
MOST_BYTES = 100_000
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guarded:
    """Refuses requests under another host's name (a name may be made to point here), from other pages, and without the token."""

    def __init__(self, app: ASGIApp, port: int, token: str) -> None:
        self.app, self.token = app, token
        self.hosts = {f"{name}:{port}" for name in (HOST, "localhost")}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] == "http" and (reason := self.refused(Request(scope))):
            await PlainTextResponse(f"refused: {reason}\n", 403, _HEADERS)(scope, receive, send)
        elif scope["type"] in ("http", "lifespan"):
            await self.app(scope, receive, send)

    def refused(self, request: Request) -> str:
        """Why, "" if not."""
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if host not in self.hosts:
            return "another host"
        if origin not in (None, f"http://{host}") or (request.method != "GET" and origin is None):
            return "another origin"
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return "another site"
        given = request.query_params.get("token", "") if request.url.path == "/" else request.headers.get("x-genz-token", "")
        return (
            "" if secrets.compare_digest(given.encode(), self.token.encode()) else "no token; open the address that was printed"
        )


def make_app(bench: Bench, port: int, token: str) -> ASGIApp:
    """The page, what it shows, and what it does."""
    page = resources.files("genz_ppl.studio").joinpath("templates/studio.html").read_text(encoding="utf-8")

    async def show(request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; base-uri 'none'"
        headers = {**_HEADERS, "Content-Security-Policy": f"{policy}; form-action 'none'; frame-ancestors 'none'"}
        return HTMLResponse(page.replace("%NONCE%", nonce).replace("%TOKEN%", token), headers=headers)

    async def state(request: Request) -> Response:
        return await _answer(bench.state)

    async def examples(request: Request) -> Response:
        return await _answer(bench.examples, request.query_params.get("question", ""))

    async def edit(request: Request) -> Response:
        content = b""
        async for piece in request.stream():
            content += piece
            if len(content) > MOST_BYTES:
                return JSONResponse({"error": "too long"}, 413, _HEADERS)
        try:
            changes = json.loads(content)
        except ValueError:
            changes = None
        if not isinstance(changes, dict):
            return JSONResponse({"error": "expected a JSON object"}, 400, _HEADERS)
        return await _answer(bench.edit, changes)

    async def undo(request: Request) -> Response:
        return await _answer(bench.undo)

    routes = [Route("/", show), Route("/state", state), Route("/examples", examples)]
    routes += [Route("/edit", edit, methods=["POST"]), Route("/undo", undo, methods=["POST"])]
    return Guarded(Starlette(routes=routes), port, token)


async def _answer(work: Any, *arguments: Any) -> Response:
    """What it gives as JSON; a user's mistake as its line."""
    try:
        return JSONResponse(await run_in_threadpool(work, *arguments) or {}, headers=_HEADERS)
    except GenzError as error:
        return JSONResponse({"error": str(error)}, 409, _HEADERS)


def serve(bench: Bench, port: int, opened: Any) -> None:
    """Serve until stopped. port: 0 for any that is free; opened: is given the address, with the token, once it is known.

    Raises OSError for a port that is taken.
    """
    import uvicorn

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
        bound.listen(64)  # a browser may be faster than the server is up
        port, token = bound.getsockname()[1], secrets.token_urlsafe(24)
        config = uvicorn.Config(make_app(bench, port, token), log_level="error", access_log=False, server_header=False)
        opened(f"http://{HOST}:{port}/?token={token}")
        uvicorn.Server(config).run(sockets=[bound])
