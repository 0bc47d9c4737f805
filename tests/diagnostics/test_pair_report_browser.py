"""The report of a run on two sides in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import Page, browser_path, visit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser_path() is None, reason="needs a Chromium on the path, or GENZ_BROWSER: apt-get install chromium"),
]
READY = "document.documentElement?.dataset.ready"


@pytest.fixture(scope="module")
def pages(crossed: Any, asker: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a report of every kind."""
    folder = tmp_path_factory.mktemp("pages")
    for likelihood in ("gaussian", "bernoulli", "poisson"):
        crossed(likelihood, cut=1)[0].report(folder / f"{likelihood}.html")
    crossed(hostile=True)[0].report(folder / "hostile.html")
    crossed(described=(False, True))[0].report(folder / "undescribed.html")
    crossed(model=asker({}))[0].report(folder / "none.html")
    return folder


def test_every_page_draws_without_a_complaint(pages: Path, tmp_path: Path) -> None:
    async def story(page: Page) -> None:
        for path in sorted(pages.glob("*.html")):
            for width, dark in ((1280, False), (380, True)):
                await page.open(path.as_uri(), width, dark)
                await page.until(READY)
                drawn = await page.evaluate("[...document.querySelectorAll('.plot')].map(p => p.querySelectorAll('svg').length)")
                assert drawn
                assert all(drawn), path.name
                assert await page.evaluate("document.querySelectorAll('.waiting').length") == 0
                assert await page.evaluate("document.documentElement.scrollWidth") <= width, path.name
                assert await page.evaluate("document.documentElement.dataset.hacked === undefined")
                assert len(await page.picture()) > 20_000
        assert page.complaints == []
        assert {address.partition(":")[0] for address in page.requests} <= {"file", "about", "blob", "data"}

    visit(tmp_path / "profile", story)


def test_sorting_choosing_and_changing_colours(pages: Path, tmp_path: Path) -> None:
    async def story(page: Page) -> None:
        await page.open((pages / "gaussian.html").as_uri())
        await page.until(READY)
        for side in ("rows", "columns"):
            column = f"[...document.querySelectorAll('#{side}-table tbody tr')].map(row => Number(row.cells[5].dataset.value))"
            await page.evaluate(f"document.querySelectorAll('#{side}-table th button')[5].click()")
            values = await page.evaluate(column)
            assert values == sorted(values, reverse=True)
        cells = "document.querySelectorAll('#chart-affinity .heatmaplayer image').length"
        assert await page.evaluate(cells) == 1
        points = "document.getElementById('chart-predictions').data[0].x.length"
        before = await page.evaluate(points)
        await page.evaluate("""(() => {
            const select = document.querySelector("select[data-chart=predictions]");
            select.value = "1";
            select.dispatchEvent(new Event("change"));
        })()""")
        assert await page.evaluate(points) != before
        middle = "document.getElementById('chart-affinity').data[0].colorscale[1][1]"
        light = await page.evaluate(middle)
        await page.evaluate("document.getElementById('theme').click()")
        assert await page.evaluate(middle) != light
        assert page.complaints == []

    visit(tmp_path / "profile", story)


def test_numbers_of_features_are_seen_on_a_phone(pages: Path, tmp_path: Path) -> None:
    async def story(page: Page) -> None:
        await page.open((pages / "gaussian.html").as_uri(), 380)
        await page.until(READY)
        place = "getComputedStyle(document.querySelector('#rows-table td')).display"
        assert await page.evaluate(place) == "block"

    visit(tmp_path / "profile", story)
