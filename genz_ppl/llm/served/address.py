"""Where a server is: one address, made of --base-url or OPENAI_BASE_URL, below which all calls go."""

from __future__ import annotations

import os
import re
import warnings
from functools import lru_cache
from ipaddress import ip_address

from yarl import URL

from genz_ppl.errors import GenzWarning, OptionError

BASE_VARIABLE, OPENAI = "OPENAI_BASE_URL", "api.openai.com"
# Names of parameters that may hold a key, which would be written into run.json and the store.
_SECRET = re.compile("key|token|secret|sig|pass", re.IGNORECASE)


def server_address(base_url: str | None) -> URL:
    """The address of a server, its path ending in "/"; a query belongs to every call.

    base_url: None takes the environment's OPENAI_BASE_URL, else OpenAI's own. One without a path is taken for /v1, with a
    GenzWarning, once. Raises OptionError for what is no http address, or holds a password, a key or a fragment.
    """
    if base_url is not None:
        return _checked("base_url", base_url.strip())
    return _checked(BASE_VARIABLE, os.environ.get(BASE_VARIABLE, "").strip() or f"https://{OPENAI}/v1")


def http_address(text: str) -> URL | None:
    """The address that a text is; None for anything but http(s), a host that can be looked up, and a port."""
    try:
        address = URL(text)
        host = (address.raw_host or "").encode("idna").decode()
        sound = bool(ip_address(host)) if ":" in host else bool(host) and "%" not in host
    except (ValueError, IndexError):  # the latter from yarl for "http://[]@"
        return None
    usable = sound and address.scheme in ("http", "https") and address.port and text.isprintable() and " " not in text
    return address if usable else None


@lru_cache
def _checked(option: str, text: str) -> URL:
    address, shown = http_address(text), re.split("[?#]", text)[0].rpartition("@")[2]  # not what may be a password or a key
    if address is None or "#" in text:
        raise OptionError(f"{option}: expected an address such as http://localhost:8080/v1, without a #, got {shown!r}")
    secret = next((name for name in address.query if _SECRET.search(name)), None)
    if secret is not None or address.user is not None or address.password is not None:
        found = "a name or password" if secret is None else f"the parameter {secret}"
        raise OptionError(f"{option}: holds {found}, which would be written down; put the key into the environment")
    if address.path in ("", "/"):
        address = address.with_path("/v1", keep_query=True)
        named = "--base-url" if option == "base_url" else option
        warnings.warn(f"{named} {shown} has no path; calls go to {address.with_query(None)}", GenzWarning, stacklevel=3)
    return address if address.raw_path.endswith("/") else address.with_path(f"{address.raw_path}/", encoded=True, keep_query=True)
