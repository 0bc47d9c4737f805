"""A headless Chromium, spoken to by its own protocol: what it shows, what it complains about, what it asks the network for."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Nothing but the page: no updates, no first-run pages, no background traffic.
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)
PATIENCE = 60.0


def browser_path() -> str | None:
    """GENZ_BROWSER, or a Chromium on the path; None if there is neither."""
    return os.environ.get("GENZ_BROWSER") or next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Page:
    """An open page. complaints: errors and warnings of its console; requests: addresses it asked for."""

    socket: aiohttp.ClientWebSocketResponse
    session: str = ""
    numbers: Any = field(default_factory=lambda: itertools.count(1))
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        number = next(self.numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        await self.socket.send_json(message)
        while True:
            reply = await asyncio.wait_for(self.socket.receive_json(), PATIENCE)
            if reply.get("id") == number:
                assert "error" not in reply, reply
                result: dict[str, Any] = reply["result"]
                return result
            self._note(reply)

    def _note(self, event: dict[str, Any]) -> None:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(parameters["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(parameters["args"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(parameters["entry"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        found = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, expression: str) -> Any:
        """Wait until the expression is true; its value."""
        end = time.monotonic() + PATIENCE
        while not (value := await self.evaluate(expression)):
            assert time.monotonic() < end, f"never came true: {expression}; complaints: {self.complaints}"
            await asyncio.sleep(0.05)
        return value

    async def open(self, address: str, width: int = 1280, dark: bool = False) -> None:
        """Go to an address in a window of that width."""
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        await self.call("Page.navigate", url="about:blank")
        await self.call("Page.navigate", url=address)

    async def press(self, key: str, code: int) -> None:
        """Press a key on what has the focus."""
        written = {"text": "\r"} if key == "Enter" else {}  # without it a form is not sent
        for kind, more in (("keyDown" if written else "rawKeyDown", written), ("keyUp", {})):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code, **more)

    async def picture(self) -> bytes:
        """A png of the whole page."""
        found = await self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(found["data"])


@contextlib.asynccontextmanager
async def open_browser(folder: Path) -> AsyncIterator[Page]:
    """A browser with an empty profile in `folder`, closed at the end."""
    path = browser_path()
    assert path is not None
    process = subprocess.Popen([path, *FLAGS, f"--user-data-dir={folder}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        port = await _port(folder / "DevToolsActivePort", process)
        async with aiohttp.ClientSession() as client, client.ws_connect(port, max_msg_size=0) as socket:
            page = Page(socket)
            target = await page.call("Target.createTarget", url="about:blank")
            attached = await page.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
            page.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                await page.call(f"{domain}.enable")
            yield page
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE)


def visit(folder: Path, story: Callable[[Page], Awaitable[None]]) -> None:
    """Do with a page what the story says; the browser's profile is made in the folder."""

    async def whole() -> None:
        async with open_browser(folder) as page:
            await story(page)

    asyncio.run(whole())


async def _port(file: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, "the browser ended by itself"
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(0.05)
    raise AssertionError("the browser did not start")
