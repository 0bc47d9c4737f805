from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from homes import QUICK, ROLES, homes

from genz_ppl import Items, discover


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run."""
    discover(homes(), out=tmp_path / "run", **ROLES, **QUICK)
    return tmp_path / "run"


@pytest.fixture
def studio() -> Iterator[Callable[[Path], str]]:
    """Serves a run's page; gives its address."""
    pytest.importorskip("starlette")
    uvicorn = pytest.importorskip("uvicorn")
    from genz_ppl.studio import server
    from genz_ppl.studio.bench import Bench

    started: list[Any] = []
    with pytest.MonkeyPatch.context() as patched, contextlib.ExitStack() as ended:

        class Noted(uvicorn.Server):  # type: ignore[misc, name-defined]
            def __init__(self, config: Any) -> None:
                super().__init__(config)
                started.append(self)

            def capture_signals(self) -> Any:
                return contextlib.nullcontext()  # only the main thread can

        patched.setattr(uvicorn, "Server", Noted)

        def serve(folder: Path) -> str:
            address: queue.Queue[str] = queue.Queue()
            items = Items.from_frame(homes(), **ROLES)
            bench = Bench(folder, {}, lambda _: items)
            thread = threading.Thread(target=server.serve, args=(bench, 0, address.put))
            thread.start()

            def stop() -> None:
                for one in started:
                    one.should_exit = True
                thread.join(30)

            ended.callback(stop)
            return address.get(timeout=30)

        yield serve
