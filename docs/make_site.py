"""The pages of the site for mkdocs, in build/docs: README as the start, docs and what they link to, in the same places.

Run: python docs/make_site.py && mkdocs build --strict
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {"docs": (".md", ".png"), "examples": (".py", ".csv", ".ipynb"), "benchmarks": (".md", ".py")}
FILES = ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "tests/discovery/test_shortcuts.py")
# A link to a folder goes to the page that says what is in it.
_FOLDER_LINK = re.compile(r"\]\(((?:\.\./)?)(examples|benchmarks)/?\)")
# A block says to the tests that it is to be run.
_FENCE = re.compile(r"^( *```\w+) .*$", re.MULTILINE)
_INDEX = {"examples": "docs/tutorial.md", "benchmarks": "benchmarks/README.md"}


def make_site(target: Path) -> None:
    """Write the pages into an empty folder."""
    shutil.rmtree(target, ignore_errors=True)
    chosen = [ROOT / name for name in FILES]
    for folder, suffixes in FOLDERS.items():
        chosen += [path for path in sorted((ROOT / folder).iterdir()) if path.suffix in suffixes]
    for path in [ROOT / "README.md", *chosen]:
        place = target / path.relative_to(ROOT)
        place = place.with_name("index.md") if path == ROOT / "README.md" else place
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".md":
            shutil.copyfile(path, place)
            continue
        text = path.read_text(encoding="utf-8").replace("](README.md", "](index.md").replace("](../README.md", "](../index.md")
        text = _FENCE.sub(r"\1", text)
        place.write_text(_FOLDER_LINK.sub(lambda found: f"]({found[1]}{_INDEX[found[2]]})", text), encoding="utf-8")


if __name__ == "__main__":
    make_site(ROOT / "build" / "docs")
