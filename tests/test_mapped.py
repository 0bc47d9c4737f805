"""Targets of very many items in a file that is mapped into memory."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from genz_ppl import Items
from genz_ppl import mapped as mapped_file
from genz_ppl.data import extract, typed_files
from genz_ppl.data import items as items_module
from genz_ppl.errors import InputError, OptionError
from genz_ppl.mapped import bytes_of_size, is_mapped, room, rows_at


@pytest.mark.parametrize(("text", "expected"), [("2GB", 2e9), ("500 MB", 5e8), ("1.5G", 1.5e9), ("64kB", 64e3), ("1TiB", 1e12)])
def test_sizes_are_read(text: str, expected: float) -> None:
    assert bytes_of_size(text) == expected


@pytest.mark.parametrize("text", ["", "2", "GB", "0GB", "-1GB", "2GBs", "much"])
def test_what_is_no_size_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(OptionError, match="memory: expected a size such as 2GB or 500MB, got"):
        Items.from_csv(tmp_path / "none.csv", target="y", memory=text)


@pytest.fixture(params=["csv", "float32", "float64"])
def file(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """600 items with 3 targets, with a gap."""
    for module in (extract, items_module, typed_files):
        monkeypatch.setattr(module, "LARGE", 1000)
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"n{row}" for row in range(600)], "what": "a thing"})
    for d in range(3):
        frame[f"y{d}"] = random.normal(size=600).astype(np.float64 if request.param == "float64" else np.float32)
    frame.loc[5, "y1"] = np.nan
    path = tmp_path / f"items.{'csv' if request.param == 'csv' else 'parquet'}"
    frame.to_csv(path, index=False) if request.param == "csv" else frame.to_parquet(path)
    return path


def test_targets_are_the_same_from_a_file(file: Path) -> None:
    usual, mapped, roomy = (Items.from_file(file, id="id", target="y*", memory=memory) for memory in (None, "10kB", "2GB"))
    assert usual.targets is not None
    assert mapped.targets is not None
    assert roomy.targets is not None
    assert (is_mapped(usual.targets), is_mapped(mapped.targets), is_mapped(roomy.targets)) == (False, True, False)
    assert not mapped.targets.flags.writeable
    assert mapped.targets.dtype == usual.targets.dtype == (np.float32 if is_narrow(file) else np.float64)
    np.testing.assert_array_equal(mapped.targets, usual.targets)
    assert mapped.fingerprint() == usual.fingerprint()
    some = mapped.take(np.arange(0, 600, 2))
    assert some.targets is not None
    assert not is_mapped(some.targets)
    np.testing.assert_array_equal(some.targets, usual.targets[::2])


@pytest.mark.parametrize("at_once", [1, 100, 5000, 1 << 25])
@pytest.mark.parametrize("n", [0, 1, 1024, 5000])
def test_rows_come_in_the_order_asked_for(n: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_file, "_AT_ONCE", at_once)
    values = room((3000, 4), np.float32, 100)
    values[:] = np.random.default_rng(0).normal(size=(3000, 4))
    places = np.random.default_rng(1).integers(0, 3000, n)
    assert is_mapped(values)
    np.testing.assert_array_equal(rows_at(values, places), np.array(values)[places])


def test_little_of_a_file_is_held_while_rows_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of pages all over a file many would be held at once, and around each the system maps more."""
    if not Path("/proc/self/status").exists():
        pytest.skip("what a process holds of files is not told here")
    values = room((1 << 20, 32), np.float32, 100)  # 134 MB
    values[:] = 1.0
    held: list[int] = []
    really = mapped_file.let_go
    really(values)
    before = shared_kilobytes()

    def noted(array: NDArray[np.float32]) -> None:
        held.append(shared_kilobytes())
        really(array)

    monkeypatch.setattr(mapped_file, "let_go", noted)
    assert rows_at(values, np.random.default_rng(0).permutation(1 << 20)[:20_000]).sum() == 20_000 * 32
    assert max(held) < before + 45_000
    assert shared_kilobytes() < before + 5_000


def shared_kilobytes() -> int:
    """Of files, in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("RssFile", "RssShmem")))


def is_narrow(file: Path) -> bool:
    return file.suffix == ".parquet" and bool(pd.read_parquet(file)["y0"].dtype == np.float32)


def test_a_full_disk_is_told_before_anything_is_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mapped_file, "_reserve", full)
    with pytest.raises(InputError, match=r"targets cannot be kept here \(No space left on device\); free some space"):
        Items.from_file(file, id="id", target="y*", memory="10kB")


def test_space_is_taken_where_it_cannot_be_reserved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    with (tmp_path / "file").open("w+b") as file:
        mapped_file._reserve(file.fileno(), (1 << 20) + 5)
        assert os.fstat(file.fileno()).st_size == (1 << 20) + 5
