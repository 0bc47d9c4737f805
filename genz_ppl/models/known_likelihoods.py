"""The table of likelihoods by name."""

from __future__ import annotations

from typing import TypeVar

from genz_ppl.errors import OptionError
from genz_ppl.models.likelihoods import Likelihood
from genz_ppl.models.own_likelihoods import Function, by_function, imported
from genz_ppl.settings import LIKELIHOOD_NAMES


class _Table(dict[str, type[Likelihood]]):
    """Likelihoods by name; one that is named "package.module:object" is imported when it is asked for."""

    def __missing__(self, name: str) -> type[Likelihood]:
        self[name] = kind = imported(name)
        return kind


LIKELIHOODS: dict[str, type[Likelihood]] = _Table()
Kind = TypeVar("Kind", bound=type[Likelihood])


def add_likelihood(kind: Kind) -> Kind:
    """Class decorator: make a likelihood known by its `name` to `fit`, `discover` and the command line."""
    LIKELIHOODS[kind.name] = kind
    if kind.name not in LIKELIHOOD_NAMES:
        LIKELIHOOD_NAMES.append(kind.name)
    return kind


def name_of(likelihood: str | type[Likelihood] | Function) -> str:
    """The name by which `LIKELIHOODS` knows a likelihood from now on; a function's is "package.module:function"."""
    if isinstance(likelihood, str):
        return likelihood
    if isinstance(likelihood, type) and issubclass(likelihood, Likelihood):
        return add_likelihood(likelihood).name
    if not callable(likelihood):
        raise OptionError(f"likelihood: expected a name, a Likelihood class or a function of a location, got {likelihood!r}")
    name = f"{likelihood.__module__}:{likelihood.__qualname__}"
    LIKELIHOODS[name] = by_function(likelihood, name)
    return name
