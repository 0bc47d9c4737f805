"""Measures of predictions over blocks: those of all items in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from genz_ppl.diagnostics.measures import scores
from genz_ppl.errors import InputError
from genz_ppl.inference import fit
from genz_ppl.inference.blockwise.files import write_blocks
from genz_ppl.inference.blockwise.fit import fit_blocks
from genz_ppl.inference.blockwise.measures import measure_blocks
from genz_ppl.inference.blockwise.runners import OnDask
from tests.inference.blockwise.conftest import made


@pytest.mark.parametrize(("n_items", "n_targets"), [(1501, 3), (1000, 1)])
def test_they_are_those_in_memory(tmp_path: Path, n_items: int, n_targets: int) -> None:
    h, y, x = made(n_items, 4, n_targets)
    train, test = slice(0, 800), slice(800, None)
    write_blocks(tmp_path / "train", h[train], y[train], x[train], rows=300)
    write_blocks(tmp_path / "test", h[test], y[test], x[test], rows=90)
    write_blocks(tmp_path / "one", h[test], y[test], x[test])
    found = fit_blocks(tmp_path / "train", 8)
    usual = fit(h[train], y[train], x[train], inference="coordinate", steps=8, calibration=0.0, shrinkage=False)
    measured = measure_blocks(found, tmp_path / "test")
    for name, value in scores(y[test], usual.predict(h[test], x[test])).items():
        assert getattr(measured, name) == pytest.approx(value, rel=1e-6), name
    assert (measured.n_items, measured.n_drawn) == (n_items - 800, n_items - 800)
    density = usual.log_likelihood(h[test], y[test], x[test])
    assert measure_blocks(found, tmp_path / "one").log_likelihood == pytest.approx(density.mean(), rel=1e-6)
    assert measured.log_likelihood == pytest.approx(density.mean(), abs=0.05)  # other draws
    assert np.isnan(measured.cosine) == (n_targets == 1)


def test_workers_measure_the_same(tmp_path: Path, dask: OnDask) -> None:
    h, y, x = made(900, 3, 2)
    write_blocks(tmp_path, h, y, x, rows=70)
    found = fit_blocks(tmp_path, 3)
    here = measure_blocks(found, tmp_path, most_drawn=300)
    assert measure_blocks(found, tmp_path, dask, most_drawn=300) == here
    assert 250 < here.n_drawn < 350


def test_blocks_of_other_columns_are_refused(tmp_path: Path) -> None:
    h, y, x = made(200, 3, 2)
    write_blocks(tmp_path / "a", h, y, x)
    write_blocks(tmp_path / "b", h, y[:, :1], x)
    found = fit_blocks(tmp_path / "a", 2)
    with pytest.raises(InputError, match="3 or more answers, 2 targets and 2 covariates, got 3, 1 and 2"):
        measure_blocks(found, tmp_path / "b")
