"""A run directory that was damaged or made up by somebody: one line that says so, no traceback, nothing written elsewhere."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from genz_ppl import Items, cooccur, discover
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.errors import RunDirectoryError

# Made data: what a column tells of the target is no leak here.
pytestmark = pytest.mark.filterwarnings("ignore:.*:genz_ppl.errors.GenzWarning")

DELETED = object()
VALUES: list[Any] = [DELETED, None, True, 5, -1.5, 1e999, "x", "", [], [1], ["x"], {}, {"x": 1}, [[1.0, "x"]]]
STATE, RUN = "state.safetensors", "run.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with toy.csv, new.csv and out/, a finished run on the former."""
    folder = tmp_path_factory.mktemp("whole")
    random_ = np.random.default_rng(0)
    frame = pd.DataFrame({"key": [f"k{i}" for i in range(30)], "colour": random_.choice(["red", "blue"], 30)})
    frame["size"] = random_.integers(0, 10, 30)
    frame["y"] = 3.0 * (frame["colour"] == "red") + 0.1 * random_.normal(size=30)
    frame.to_csv(folder / "toy.csv", index=False)
    frame.assign(key="new", size=frame["size"] + 20)[:1].to_csv(folder / "new.csv", index=False)
    items = Items.from_csv(folder / "toy.csv", id="key", target="y", covariates="size")
    discover(items, cycles=1, add=2, cut=1, out=folder / "out", source=str(folder / "toy.csv"))
    return folder


@pytest.fixture
def out(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that, the working directory; the run's folder."""
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("out")


def commands() -> list[list[str]]:
    return [["features", "out"], ["predict", "out", "new.csv", "-o", "new-predictions.csv"], ["resume", "out", "--quiet"]] + [
        [name, "out"] for name in ("report", "diagnose")
    ]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all entries of a JSON value; of a list only to the first."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else list(enumerate(value))[:1] if isinstance(value, list) else []
    for key, part in inner:
        yield from places(part, (*path, key))


def spoilt(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    content = copy.deepcopy(content)
    parent = content
    for key in path[:-1]:
        parent = parent[key]
    if value is DELETED:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return content


def check(genz: Any, arguments: list[str]) -> int:
    """The exit code of a command that must not fail in another way than with one line."""
    outside = sorted(path.name for path in Path().iterdir())
    outcome = genz(*arguments)
    lines = [line for line in outcome.err.splitlines() if not line.startswith(("genz: note: ", "genz: step "))]
    assert outcome.code in (0, 2, 4), outcome
    assert len(lines) == (outcome.code != 0), outcome
    assert all(line.startswith("genz: ") for line in lines)
    Path("new-predictions.csv").unlink(missing_ok=True)
    assert sorted(path.name for path in Path().iterdir()) == outside
    return int(outcome.code)


@pytest.mark.slow
def test_every_entry_of_run_json_spoilt(genz: Any, out: Path) -> None:
    """All ways of spoiling an entry are read; some are handed to every command."""
    record = json.loads((out / RUN).read_text())
    cases = [(path, value) for path in places(record) for value in VALUES]
    chosen = random.Random(0).sample(cases, 12)
    refused = 0
    for path, value in cases:
        (out / RUN).write_text(json.dumps(spoilt(record, path, value)))
        said = complaint(out)
        refused += said is not None
        assert said is None or ("\n" not in said and len(said) < 400)
        if (path, value) in chosen:
            codes = {check(genz, arguments) for arguments in commands()}
            assert said is None or codes == {2}, (path, value)
    assert refused > 0.6 * len(cases)


def complaint(out: Path) -> str | None:
    """What is said of run.json."""
    try:
        RunDirectory(out).record()
    except RunDirectoryError as error:
        return str(error)
    return None


State = tuple[dict[str, torch.Tensor], dict[str, Any]]


def state(out: Path) -> State:
    """The tensors of the state file and the rest, but for the checksum."""
    with safe_open(out / STATE, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        plain = json.loads(file.metadata()["progress"])
    del plain["sha256"]
    return tensors, plain


def write(out: Path, tensors: dict[str, torch.Tensor], plain: Any) -> None:
    """As a version without checksums would have."""
    (out / STATE).unlink()
    save_file(tensors, out / STATE, {"progress": json.dumps(plain)})


SHAPES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "shorter": lambda tensor: tensor.flatten()[:-1].clone(),
    "longer": lambda tensor: torch.cat([tensor.flatten(), tensor.flatten(), torch.ones(1).to(tensor)]),
    "deeper": lambda tensor: tensor[None].clone(),
    "complex": lambda tensor: tensor.to(torch.complex64),
}


@pytest.mark.slow
def test_every_tensor_spoilt(genz: Any, out: Path) -> None:
    predict = ["predict", "out", "new.csv", "-o", "new-predictions.csv"]
    tensors, plain = state(out)
    write(out, tensors, plain)
    assert check(genz, ["features", "out"]) == 0  # of an earlier version, without a checksum
    for name in tensors:
        write(out, {other: tensor for other, tensor in tensors.items() if other != name}, plain)
        assert check(genz, predict) == (0 if name in ("splits", "held_pool") else 2), name  # earlier versions did not note these
        for how, change in SHAPES.items():
            write(out, {**tensors, name: change(tensors[name])}, plain)
            code = check(genz, predict)
            assert check(genz, ["features", "out"]) <= code  # which reads a part of them
            assert code == 2 or not tensors[name].numel() or how in ("deeper", "complex"), (name, how)


@pytest.mark.slow
def test_every_entry_of_the_progress_spoilt(genz: Any, out: Path) -> None:
    tensors, plain = state(out)
    cases = [(path, value) for path in places(plain) for value in VALUES]
    codes = []
    for path, value in random.Random(0).sample(cases, 120):
        write(out, tensors, spoilt(plain, path, value))
        codes.append(check(genz, ["features", "out"]))
    assert codes.count(2) > 70


@pytest.mark.slow
@pytest.mark.parametrize("file", [STATE, RUN, "curve.csv"])
def test_files_cut_short_or_damaged(genz: Any, out: Path, file: str) -> None:
    """One byte of the state that is another is found, wherever it is."""
    whole, chance = (out / file).read_bytes(), random.Random(0)
    for content in [whole[: len(whole) * part // 7] for part in range(7)] + [os.urandom(500), b"\0" * 500, b"[" * 100_000]:
        (out / file).write_bytes(content)
        assert check(genz, ["features", "out"]) == (0 if file == "curve.csv" else 2)
    for _ in range(30):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(whole))] ^= 1 << chance.randrange(8)
        (out / file).write_bytes(damaged)
        code = check(genz, ["features", "out"])
        assert code == 2 or file != STATE
    for arguments in commands():
        check(genz, arguments)


@pytest.mark.slow
def test_model_settings_of_other_types(genz: Any, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    record = json.loads((out / RUN).read_text())
    record["settings"]["model"], record["status"] = "openai:m", "interrupted"
    for name in ("model", "mining_model", "base_url", "price", "workers", "images", "prompts", "timeout", "batch", "max_cost"):
        for value in (5.5, "x", ["x"], {"x": 1}):
            (out / RUN).write_text(json.dumps({**record, "model_settings": {name: value}}))
            check(genz, ["resume", "out", "--max-calls", "1"])  # its state is at its end: nothing is asked


@pytest.mark.slow
def test_a_run_on_two_sides_spoilt(genz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chance = np.random.default_rng(0)
    sides = [
        Items.from_frame(
            pd.DataFrame({"id": [f"{s}{i}" for i in range(12)], "c": chance.choice(["x", "y"], 12)}),
            id="id",
            require_target=False,
        )
        for s in "rc"
    ]
    pairs = pd.DataFrame([(r, c, chance.normal()) for r in sides[0].ids for c in sides[1].ids])
    cooccur(sides[0], sides[1], pairs, dimensions=2, epochs=3, cycles=1, add=1, rounds=1, out="whole")
    record = json.loads(Path("whole/run.json").read_text())
    whole = Path("whole", STATE).read_bytes()
    cases = [(path, value) for path in places(record) for value in VALUES]
    for path, value in random.Random(1).sample(cases, 60):
        shutil.rmtree("out", ignore_errors=True)
        shutil.copytree("whole", "out")
        Path("out/run.json").write_text(json.dumps(spoilt(record, path, value)))
        check(genz, ["features", "out"])
    Path("out/run.json").write_text(json.dumps(record))
    for place in random.Random(2).sample(range(len(whole)), 20):
        damaged = bytearray(whole)
        damaged[place] ^= 16
        Path("out", STATE).write_bytes(damaged)
        assert check(genz, ["features", "out"]) == 2
    Path("out", STATE).write_bytes(whole)
    shutil.rmtree("out/rows-1")
    Path("out/rows-1").symlink_to(tmp_path / "whole" / "rows-1")
    assert check(genz, ["features", "out"]) == 2
