"""The studio in a real browser: veto, reword, add, undo, a run watched; by mouse and keys, on a desk and a phone."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from browser import Page, browser_path, visit
from homes import QUICK, ROLES, homes

from genz_ppl import discover

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser_path() is None, reason="needs a Chromium on the path, or GENZ_BROWSER: apt-get install chromium"),
]
TEXTS = "[...document.querySelectorAll('.question')].map((one) => one.textContent)"
FREE = "document.documentElement?.dataset.state === 'free'"
ENTER, ESCAPE, SPACE = ("Enter", 13), ("Escape", 27), (" ", 32)


def button(label: str, text: str) -> str:
    return f"document.querySelector('button[aria-label=\"{label}: {text}\"]')"


async def settled(page: Page, condition: str) -> None:
    await page.until(f"{FREE} && ({condition})")


async def picture(page: Page, name: str) -> None:
    """Kept where GENZ_PICTURES says, for people to look at."""
    if folder := os.environ.get("GENZ_PICTURES"):
        Path(folder, f"{name}.png").write_bytes(await page.picture())


@pytest.mark.parametrize("width", [1280, 380])
def test_a_run_is_steered(folder: Path, studio: Any, tmp_path: Path, width: int) -> None:
    address = studio(folder)

    async def story(page: Page) -> None:
        await page.open(address, width)
        await page.until(FREE)
        assert "token" not in await page.evaluate("location.href")
        found = await page.evaluate(TEXTS)
        assert set(found) == {"colour is red", "size is large", "age is old"}
        assert await page.evaluate("document.querySelector('polyline.test').getAttribute('points').split(' ').length") >= 4

        await page.evaluate(f"{button('Examples', 'size is large')}.click()")
        sides = await page.until("document.querySelector('.sides')?.innerText")
        assert "Yes: " in sides
        assert "size: large" in sides
        await picture(page, f"studio-{width}")
        assert await page.evaluate("document.documentElement.scrollWidth") <= width

        await page.evaluate(f"{button('Veto', 'age is old')}.click()")
        await settled(page, f"{TEXTS}.length === 2")
        before = await page.evaluate("document.getElementById('error-title').textContent")

        await page.evaluate("document.getElementById('new').focus()")
        await page.evaluate("document.getElementById('new').value = 'age is new'")
        await page.press(*ENTER)
        await settled(page, f"{TEXTS}.includes('age is new')")
        assert await page.evaluate("document.getElementById('error-title').textContent") != before

        # By keys alone: to the button, the field, Escape, and again with another wording.
        await page.evaluate(f"{button('Reword', 'size is large')}.focus()")
        await page.press(*ENTER)
        await page.until("document.activeElement.tagName === 'INPUT'")
        await page.press(*ESCAPE)
        await page.until("document.activeElement.textContent === 'Reword'")
        await page.press(*ENTER)
        await page.until("document.activeElement.tagName === 'INPUT'")
        await page.evaluate("document.activeElement.value = 'size is huge'")
        await page.press(*ENTER)
        await settled(page, f"{TEXTS}.includes('size is huge') && !{TEXTS}.includes('size is large')")

        await page.evaluate(f"{button('Lock', 'size is huge')}.click()")
        await settled(page, f"{button('Lock', 'size is huge')}?.getAttribute('aria-pressed') === 'true'")

        await page.evaluate("document.getElementById('new').value = 'nonsense'")
        await page.evaluate("document.getElementById('add').requestSubmit()")
        await page.until("document.getElementById('said').textContent.includes('nonsense')")

        for gone_back in (
            f"{button('Lock', 'size is huge')}?.getAttribute('aria-pressed') === 'false'",
            f"{TEXTS}.includes('size is large')",
            f"!{TEXTS}.includes('age is new')",
            f"{TEXTS}.includes('age is old')",
        ):
            await settled(page, "!document.getElementById('undo').disabled")
            await page.evaluate("document.getElementById('undo').click()")
            await settled(page, gone_back)
        assert await page.evaluate("document.getElementById('undo').disabled")
        assert not [one for one in page.complaints if "409" not in one]

    visit(tmp_path / "profile", story)


def test_a_run_is_watched(studio: Any, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def step(progress: Any, _: Any) -> None:
        if progress.step == 2:
            begun.set()
            assert go_on.wait(60)

    arguments = {**ROLES, **QUICK, "out": tmp_path / "run", "on_step": step}
    runner = threading.Thread(target=lambda: discover(homes(), **arguments))
    runner.start()
    assert begun.wait(60)
    address = studio(tmp_path / "run")

    async def story(page: Page) -> None:
        await page.open(address)
        await page.until("document.getElementById('status')?.textContent.startsWith('running, step 2')")
        assert await page.evaluate(f"{TEXTS}.length") == 2
        buttons = "[...document.querySelectorAll('#add button, .tools button[data-key^=Veto]')]"
        assert await page.evaluate(f"{buttons}.every((one) => one.disabled)")
        go_on.set()
        await settled(page, f"{TEXTS}.length === 3")
        assert page.complaints == []

    visit(tmp_path / "profile", story)
    runner.join()
