"""SIGTERM and SIGHUP end a command as Ctrl-C does: what is under way is stored, and the run goes on from there."""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pytest
from answerers import kind_of, numbered_lines
from fault_server import FaultServer, contains_truth, truthful_answerer

from genz_ppl.cli.messages import stoppable

WORDS = ["granite", "pool", "garage", "fireplace"]
GENZ = [sys.executable, "-c", "import sys; from genz_ppl.cli.app import main; main()"]
TRUE = truthful_answerer(contains_truth, lambda body: WORDS)
KINDS = [signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def houses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with 60 houses, and a key."""
    chance = random.Random(0)
    has = [[chance.random() < 0.4 for _ in WORDS] for _ in range(60)]
    texts = [f"House {i}: " + ", ".join(w for w, there in zip(WORDS, row, strict=True) if there) for i, row in enumerate(has)]
    prices = [sum(row) + chance.gauss(0, 0.1) for row in has]
    pd.DataFrame({"id": range(60), "text": texts, "price": prices}).to_csv(tmp_path / "houses.csv", index=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


def started(server: FaultServer, *ignored: signal.Signals, **streams: Any) -> subprocess.Popen[str]:
    """A run in a process of its own, asking."""
    where = ["--model", "openai:m", "--base-url", server.base_url, "--store", "s", "--workers", "4", "--screen", "0"]
    sizes = ["--items-per-call", "5", "--features-per-call", "1", "--cycles", "1", "--add", "1", "--cut", "0"]
    command = [*GENZ, "fit", "houses.csv", "--id", "id", "--target", "price", "--out", "out", *where, *sizes]
    command += [] if streams else ["--quiet"]

    def prepare() -> None:
        for kind in KINDS:
            signal.signal(kind, signal.SIG_IGN if kind in ignored else signal.SIG_DFL)
        if "stdin" in streams:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    pipes: dict[str, int | IO[Any]] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    process = subprocess.Popen(command, text=True, preexec_fn=prepare, start_new_session="stdin" in streams, **pipes)  # type: ignore[call-overload]
    while server.in_flight < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    return process  # type: ignore[no-any-return]


def resumed(server: FaultServer) -> None:
    """Goes on to the end, and no question is asked twice."""
    assert json.loads(Path("out/run.json").read_text())["status"] == "interrupted"
    server.latency = 0.0
    done = subprocess.run([*GENZ, "resume", "out"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    asked: Counter[object] = Counter()
    for request in server.requests:
        items, features = numbered_lines(request.body)
        asked[kind_of(request.body), *items.values(), *features.values()] += 1
    assert set(asked.values()) == {1}
    assert server.abandoned == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_signal_amid_calls(kind: signal.Signals) -> None:
    with FaultServer(TRUE, latency=0.3) as server:
        process = started(server)
        process.send_signal(kind)
        output, errors = process.communicate(timeout=300)
        assert process.returncode == 130
        assert output == ""
        assert errors == "genz: interrupted; what was done is saved, go on with: genz resume out\n"
        resumed(server)


@pytest.mark.slow
def test_a_terminal_that_is_closed() -> None:
    ours, theirs = os.openpty()
    with FaultServer(TRUE, latency=0.3) as server:
        process = started(server, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        os.close(ours)
        assert process.wait(timeout=300) == 130
        resumed(server)


@pytest.mark.slow
def test_a_signal_that_is_ignored_stays_ignored() -> None:
    with FaultServer(TRUE, latency=0.05) as server:
        process = started(server, signal.SIGHUP)
        process.send_signal(signal.SIGHUP)
        errors = process.communicate(timeout=300)[1]
        assert (process.returncode, errors) == (0, "")


@pytest.fixture
def handlers() -> Any:
    """Sets handlers for a test; those before come back."""
    before = {kind: signal.getsignal(kind) for kind in KINDS}

    def use(handler: Callable[..., Any] | signal.Handlers) -> None:
        for kind in KINDS:
            signal.signal(kind, handler)

    yield use
    for kind, handler in before.items():
        signal.signal(kind, handler)


def current() -> Sequence[object]:
    return [signal.getsignal(kind) for kind in KINDS]


def test_handlers_are_put_back_and_those_of_others_left_alone(handlers: Any) -> None:
    handlers(signal.SIG_DFL)
    with pytest.raises(KeyboardInterrupt), stoppable():
        signal.raise_signal(signal.SIGTERM)
    assert current() == [signal.SIG_DFL] * 2
    met: list[int] = []
    handlers(lambda number, _: met.append(number))
    own = current()
    with stoppable():
        assert current() == own
    handlers(signal.SIG_IGN)
    with stoppable():
        assert current() == [signal.SIG_IGN] * 2


def test_a_thread_cannot_set_handlers_and_need_not(handlers: Any) -> None:
    handlers(signal.SIG_DFL)
    seen: list[Sequence[object]] = []

    def work() -> None:
        with stoppable():
            seen.append(current())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [[signal.SIG_DFL] * 2]
