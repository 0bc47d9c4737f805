"""Where a store of answers is: a file of this host, or the address of a PostgreSQL database that many hosts share."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from genz_ppl.errors import OptionError
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.store import AnswerStore, default_path

if TYPE_CHECKING:
    from genz_ppl.llm.store.postgres.store import PostgresStore

# Also as a path spells it, which makes one slash of two.
_ADDRESS = re.compile(r"postgres(?:ql)?:/+")
_SECRETS = ("password", "sslpassword")


def is_shared(place: object) -> bool:
    """Whether a place is the address of a database, postgresql://…, and no file."""
    return isinstance(place, str | Path) and _ADDRESS.match(str(place)) is not None


def located(place: str | Path) -> str:
    """The place in one spelling, from any folder: an absolute path, or an address as it is.

    Raises OptionError for an address that holds a password: it would stand in run.json, in messages and in lists of processes.
    """
    if not is_shared(place):
        return os.path.abspath(place)
    address = _ADDRESS.sub("postgresql://", str(place), count=1)
    try:
        parts = urlsplit(address)
        secret = parts.password is not None or any(name in _SECRETS for name, _ in parse_qsl(parts.query))
        _ = parts.port
    except ValueError:
        raise OptionError(
            "--store: expected postgresql://USER@HOST:PORT/DATABASE, found an address that cannot be read; correct it"
        ) from None
    if secret:
        raise OptionError(
            "--store: the address holds a password, which run.json would show; leave it out and set PGPASSWORD or write ~/.pgpass"
        )
    return address


def open_answers(place: str | Path | None) -> Store:
    """The store at a place (None: the user's file). Raises StoreError, and OptionError for an address that cannot be used."""
    if place is not None and is_shared(place):
        return open_shared(place)
    return AnswerStore(default_path() if place is None else place)


def open_shared(place: str | Path, lease_seconds: float = 900.0) -> PostgresStore:
    """The database at an address. Raises OptionError for what is none, or where psycopg is not installed."""
    if not is_shared(place):
        raise OptionError(f"--store {place}: expected a database that hosts share, postgresql://USER@HOST/DATABASE, found a file")
    address = located(place)
    check_psycopg()
    from genz_ppl.llm.store.postgres.store import PostgresStore

    return PostgresStore(address, lease_seconds)


def check_psycopg() -> None:
    """Raise OptionError where the driver is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise OptionError("--store postgresql://…: needs psycopg; install it with pip install 'genz-ppl[postgres]'") from None


def only_file(place: str | Path | None, command: str, instead: str) -> Path:
    """The file of a store. Raises OptionError where the place is a database, to which `command` does not apply."""
    if place is not None and is_shared(place):
        raise OptionError(f"--store: {command} is for a store in a file, got a PostgreSQL database; {instead}")
    return default_path() if place is None else Path(place)
