from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer
from profile_answers import profile_answerer

from genz_ppl.llm.served import calling
from genz_ppl.profiles import Profile
from genz_ppl.types import Item


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, and short pauses."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.002)


@pytest.fixture
def items() -> list[Item]:
    words = ["love", "war", "ghost", "crime", "sea"]
    return [
        Item(f"m{n}", f"film number {n} of {words[n % 5]}", {"title": f"Film {n}", "genres": words[n % 5]}) for n in range(12)
    ]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(profile_answerer) as running:
        yield running


@pytest.fixture
def own_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Its name; the module lies in the working directory."""
    code = (
        "import numpy as np\n"
        "class Shortest:\n"
        "    def encode(self, texts):\n"
        "        return np.array([[len(t), t.count('e'), 1.0] for t in texts], np.float32)\n"
    )
    (tmp_path / "own_encoders.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    return "own_encoders:Shortest"


@pytest.fixture
def settings(server: FaultServer) -> dict[str, Any]:
    return {"base_url": server.base_url, "timeout": 5.0, "workers": 4}


@pytest.fixture
def row() -> Callable[..., Profile]:
    """A row of a file of profiles, with changes."""

    def made(name: str, **changes: Any) -> Profile:
        values: dict[str, Any] = {
            "item_hash": "ab",
            "profile": f"About {name}. For everyone.",
            "tags": ("a", "b"),
            "vector": np.array([0.6, 0.8], np.float32),
            "answers": None,
            "q": None,
            "prompt_version": "1-ab",
            "model": "openai:m",
            "encoder": "similarity",
            "generated_at": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        }
        return Profile(id=name, **{**values, **changes})

    return made
