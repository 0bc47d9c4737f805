"""`genz version`: what is installed."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, requires, version
from re import match

from genz_ppl.cli.messages import echo


def show_version() -> None:
    """Print the versions of genz-ppl, Python and all libraries.

    Those of extras are "-" where they are not installed.
    """
    named = dict.fromkeys(found.group() for line in requires("genz-ppl") or () if (found := match(r"[\w.-]+", line)))
    rows = {"genz-ppl": version("genz-ppl"), "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}"}
    for name in sorted(named):
        try:
            rows[name] = version(name)
        except PackageNotFoundError:
            rows[name] = "-"
    widest = max(map(len, rows))
    for name, installed in rows.items():
        echo(f"{name.ljust(widest)}  {installed}")
