"""Fixtures and settings that all tests share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from genz_ppl.settings import LIKELIHOOD_NAMES, LINK_NAMES

ROOT = Path(__file__).resolve().parent.parent

# A busy machine must not turn a slow example into a failure; every failure prints how to repeat it. The examples are the same on
# each machine and day; `--hypothesis-profile=search` looks for new ones, ten times as many.
settings.register_profile("genz", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("genz")

# A shell ignores Ctrl-C for what it starts in the background, and that is inherited; some tests send it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Runs note in the user's cache folder that they are the user's own, and answers go there; those of tests must not."""
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR") or str(usual / "matplotlib"))  # fonts are listed there
        patch.setenv("PIP_CACHE_DIR", os.environ.get("PIP_CACHE_DIR") or str(usual / "pip"))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real data sets: GENZ_DATA, or ../shared/data beside the checkout. The test is skipped when it is absent."""
    folder = Path(os.environ.get("GENZ_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"needs the folder of real data sets, and there is none at {folder}: set GENZ_DATA to it")
    return folder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Links and likelihoods of its own that a test makes known are known to it alone."""
    names = list(LINK_NAMES), list(LIKELIHOOD_NAMES)
    result = yield
    LINK_NAMES[:], LIKELIHOOD_NAMES[:] = names
    for module, table, known in (("links", "LINKS", names[0]), ("known_likelihoods", "LIKELIHOODS", names[1])):
        loaded = sys.modules.get(f"genz_ppl.models.{module}")
        for name in set(getattr(loaded, table, ())) - set(known):
            del getattr(loaded, table)[name]
    return result


@pytest.fixture(scope="session")
def postgres() -> Iterator[object]:
    """A PostgreSQL server of this test process's own (`PostgresServer`); skipped with the reason where there can be none."""
    pytest.importorskip("psycopg", reason="needs psycopg: the extra postgres")
    import postgres_server

    if why := postgres_server.missing():
        pytest.skip(why)
    with postgres_server.PostgresServer() as server:
        yield server
