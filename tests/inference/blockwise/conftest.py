"""A made world in blocks, and Dask's workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from genz_ppl.inference.blockwise.files import write_blocks
from genz_ppl.inference.blockwise.runners import OnDask, open_runner
from genz_ppl.types import FloatArray

World = tuple[FloatArray, FloatArray, FloatArray]


def made(n_items: int, n_features: int, n_targets: int, seed: int = 0, noise: float = 0.5, n_telling: int | None = None) -> World:
    """Answers, a tenth of them wrong and some missing, targets and two covariates; the first n_telling features tell of them."""
    random = np.random.default_rng(seed)
    z = random.random((n_items, n_features)) < random.uniform(0.2, 0.8, n_features)
    x = random.normal(2.0, 3.0, size=(n_items, 2))
    weights = random.normal(size=(n_features, n_targets))
    weights[n_features if n_telling is None else n_telling :] = 0.0
    y = z @ weights + x @ random.normal(size=(2, n_targets))
    y += noise * random.normal(size=y.shape) + 7.0
    h = np.where(random.random(z.shape) < 0.1, ~z, z).astype(float)
    h[random.random(z.shape) < 0.05] = np.nan
    return h, y, x


@pytest.fixture
def world() -> World:
    return made(2000, 5, 3)


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    h, y, x = world
    write_blocks(tmp_path / "blocks", h, y, x, rows=130)  # 16 of them: two branches of the tree
    return tmp_path / "blocks"


@pytest.fixture(scope="package")
def dask() -> Iterator[OnDask]:
    pytest.importorskip("distributed", reason="needs Dask: the extra dask")
    with open_runner("dask", workers=2) as runner:
        assert isinstance(runner, OnDask)
        yield runner
