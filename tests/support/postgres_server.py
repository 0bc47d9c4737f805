"""A PostgreSQL server of the tests' own: in a temporary folder, as a user without privileges, on a port of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

FOLDERS = ["/usr/local/bin", *(str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]


def missing() -> str:
    """Why there can be no server here; "" where there can."""
    if _program("initdb") is None or _program("postgres") is None:
        return "needs PostgreSQL's initdb and postgres, and there are none: install Debian's postgresql"
    if os.geteuid() == 0 and _user() is None:
        return "PostgreSQL does not run as root, and there is no other user here to run it as"
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=os.pathsep.join([*FOLDERS, os.environ.get("PATH", "")]))


def _user() -> pwd.struct_passwd | None:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    return None


class PostgresServer:
    """`with PostgresServer() as server: ... server.address ...`; loopback only, no password, gone with the `with`.

    `stop(kill=True)` ends all its processes at once, as a crash does; `start` goes on with what is there.
    """

    def __init__(self, *options: str) -> None:
        self._options = options
        self._user = _user() if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PostgresServer:
        self._folder = tempfile.TemporaryDirectory(prefix="genz-postgres-", ignore_cleanup_errors=True)
        self.data = Path(self._folder.name) / "data"
        if self._user is not None:
            os.chown(self._folder.name, self._user.pw_uid, self._user.pw_gid)
        arguments = ["-D", str(self.data), "-U", "genz", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run([str(_program("initdb")), *arguments], check=True, capture_output=True, **self._as_user())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop(kill=True)
        self._folder.cleanup()

    @property
    def address(self) -> str:
        """For --store."""
        return f"postgresql://genz@127.0.0.1:{self.port}/postgres"

    def database(self, name: str) -> str:
        """The address of a new, empty database."""
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return f"postgresql://genz@127.0.0.1:{self.port}/{name}"

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        options = [
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-k",
            self._folder.name,
            "-c",
            "max_connections=200",
            "-c",
            "fsync=off",
            *self._options,
        ]
        with (Path(self._folder.name) / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(_program("postgres")), "-D", str(self.data), *options], stdout=log, stderr=log, **self._as_user()
            )
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=5).close()
                return
            except psycopg.OperationalError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise RuntimeError((Path(self._folder.name) / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self, kill: bool = False) -> None:
        """End the server: with `kill` as a crash does, else at once but in order."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGQUIT if kill else signal.SIGINT)
        self._process.wait(timeout=60)
        self._process = None
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _as_user(self) -> dict[str, Any]:
        if self._user is None:
            return {"cwd": self._folder.name}
        return {"cwd": self._folder.name, "user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}
