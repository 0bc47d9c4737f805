"""The report in a real browser: it draws, plays, follows the keyboard, and asks the network for nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from browser import Page, browser_path, visit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser_path() is None, reason="needs a Chromium on the path, or GENZ_BROWSER: apt-get install chromium"),
]
READY = "document.documentElement?.dataset.ready"
LIST = """[...document.querySelectorAll("#step-list li")].map(
    (entry) => `${entry.className}|${entry.querySelector("bdi").textContent}`)"""
UNSEEN = "document.getElementById('chart-curve').data.find((trace) => trace.name === 'unseen items' && !trace.opacity)"
CHOOSE = """(() => {
    const select = document.querySelector("select[data-chart=effects]");
    select.value = "2";
    select.dispatchEvent(new Event("change"));
})()"""
ARROW_LEFT, ARROW_RIGHT, HOME = ("ArrowLeft", 37), ("ArrowRight", 39), ("Home", 36)


@pytest.fixture(scope="module")
def pages(explained: Any, asker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report of every kind."""
    folder = tmp_path_factory.mktemp("pages")
    for kind in ("gaussian", "poisson", "bernoulli", "categorical", "many"):
        explained(kind)[0].report(folder / f"{kind}.html", baseline=[(3, 0.6), (2, 0.5)])
        explained(kind, hostile=True)[0].report(folder / f"hostile-{kind}.html")
    explained(model=asker({}))[0].report(folder / "none.html")
    return folder


def test_every_page_draws_without_a_complaint(pages: Path, tmp_path: Path) -> None:
    async def story(page: Page) -> None:
        for path in sorted(pages.glob("*.html")):
            for width, dark in ((1280, False), (380, True)):
                await page.open(path.as_uri(), width, dark)
                milliseconds = int(await page.until(READY))
                assert milliseconds < 15_000, "far slower than the second it takes on an idle machine"
                drawn = await page.evaluate("[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('svg').length)")
                assert drawn
                assert all(drawn), path.name
                assert await page.evaluate("document.querySelectorAll('.waiting').length") == 0
                assert await page.evaluate("document.documentElement.scrollWidth") <= width, path.name
                ground = await page.evaluate("getComputedStyle(document.body).backgroundColor")
                assert (ground == "rgb(18, 21, 27)") == dark
                assert await page.evaluate("document.documentElement.dataset.hacked === undefined")
                assert len(await page.picture()) > 20_000
        assert page.complaints == []
        assert {address.partition(":")[0] for address in page.requests} <= {"file", "about", "blob", "data"}
        files = [address for address in page.requests if address.startswith("file")]
        assert all(address.endswith(".html") for address in files)

    visit(tmp_path / "profile", story)


def test_the_slider_moves_through_the_run(pages: Path, tmp_path: Path) -> None:
    async def story(page: Page) -> None:
        await page.open((pages / "gaussian.html").as_uri())
        await page.until(READY)
        last = await page.evaluate(LIST)
        assert len(last) == 3
        await page.evaluate("document.getElementById('step').focus()")
        await page.press(*HOME)
        assert await page.evaluate(LIST) == []
        assert "Before the first question" in await page.evaluate("document.getElementById('step-words').textContent")
        await page.press(*ARROW_RIGHT)
        (first,) = await page.evaluate(LIST)
        assert first.startswith("added|is it c")
        await page.press(*ARROW_RIGHT)
        assert [entry.partition("|")[0] for entry in await page.evaluate(LIST)] == ["", "added"]
        assert await page.evaluate(f"{UNSEEN}.x.length") == 3
        await page.press(*ARROW_LEFT)
        assert await page.evaluate(LIST) == [first]
        await page.evaluate("document.getElementById('play').click()")
        await page.until(f"{LIST}.length === 3 && document.getElementById('play').textContent.includes('Play')")
        assert page.complaints == []

    visit(tmp_path / "profile", story)


def test_an_address_can_name_a_step(pages: Path, tmp_path: Path) -> None:
    async def story(page: Page) -> None:
        await page.open((pages / "gaussian.html").as_uri() + "#step=1")
        await page.until(READY)
        assert len(await page.evaluate(LIST)) == 1
        await page.evaluate("location.hash = '#step=0'")
        await page.until(f"{LIST}.length === 0")

    visit(tmp_path / "profile", story)


def test_sorting_choosing_and_changing_colours(pages: Path, tmp_path: Path) -> None:
    async def story(page: Page) -> None:
        await page.open((pages / "many.html").as_uri())
        await page.until(READY)
        column = "[...document.querySelectorAll('#feature-table tbody tr')].map(row => Number(row.cells[4].dataset.value))"
        button = "document.querySelectorAll('#feature-table th button')[4].click()"
        await page.evaluate(button)
        values = await page.evaluate(column)
        assert values == sorted(values, reverse=True)
        await page.evaluate(button)
        assert await page.evaluate(column) == sorted(values)
        assert await page.evaluate("document.querySelectorAll('#feature-table th[aria-sort]').length") == 1

        bars = "document.getElementById('chart-effects').data[0].y.join()"
        before = await page.evaluate(bars)
        await page.evaluate(CHOOSE)
        assert await page.evaluate(bars) != before

        colour = "document.getElementById('chart-effects').layout.font.color"
        light = await page.evaluate(colour)
        await page.evaluate("document.getElementById('theme').click()")
        assert await page.evaluate(colour) != light
        assert await page.evaluate("document.getElementById('theme').textContent") == "Light"
        assert page.complaints == []

    visit(tmp_path / "profile", story)


def test_complaints_and_requests_would_be_heard(pages: Path, tmp_path: Path) -> None:
    async def story(page: Page) -> None:
        await page.open((pages / "none.html").as_uri())
        await page.until(READY)
        await page.evaluate("console.error('heard')")
        refused = "fetch('http://127.0.0.1:9/').then(() => false, () => true)"
        assert await page.evaluate(refused)  # by the page's own policy
        await asyncio.sleep(0.2)
        await page.evaluate("1")
        complaints = " ".join(page.complaints)
        assert "heard" in complaints
        assert "Content Security Policy" in complaints

    visit(tmp_path / "profile", story)
