"""Likelihoods of a user's own, by the name "package.module:object" or as functions from a location to a Pyro distribution."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from pyro.nn import PyroParam
from torch import Tensor

from genz_ppl.errors import OptionError
from genz_ppl.models.likelihoods import Likelihood, unit_size

Function = Callable[..., dist.Distribution]


def imported(name: str) -> type[Likelihood]:
    """The likelihood that "package.module:object" names, the object a class or a function; the current folder may hold it.

    Raises OptionError where there is none.
    """
    module, _, path = name.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        importlib.invalidate_caches()
        found: Any = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:  # foreign code may raise anything; the user wants the reason, not our traceback
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise OptionError(
            f"likelihood: {name!r} cannot be imported ({reason}); check module and name, or in Python pass the function again "
            "(genz_ppl.models.name_of)"
        ) from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    if isinstance(found, type) and issubclass(found, Likelihood):
        return found
    if not callable(found) or isinstance(found, type):
        raise OptionError(f"likelihood: {name!r} is neither a Likelihood class nor a function from a location to a distribution")
    return by_function(found, name)


def by_function(function: Function, called: str) -> type[Likelihood]:
    """A likelihood from a function of a location, (..., D), that returns a distribution of that batch shape.

    Its further arguments are learned: positive numbers a target, (D,), that start at their defaults. Targets are standardised
    where the distribution is one of all real numbers; elsewhere entries outside its support are refused.
    Raises OptionError if it is no such function.
    """
    try:
        starts = {name: one.default for name, one in list(inspect.signature(function).parameters.items())[1:]}
        given = {name: torch.full((1,), float(start)).double() for name, start in starts.items()}
        tried = function(torch.zeros(1, 1, dtype=torch.float64), **given)
        tried.log_prob(tried.sample())
        support, fits = tried.support, tuple(tried.batch_shape) == (1, 1) and not tried.event_shape
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise OptionError(f"likelihood: {called} does not take a location of shape (1, 1) ({reason}); correct it") from error
    if not fits:
        shapes = f"{tuple(tried.batch_shape)} and {tuple(tried.event_shape)}"
        raise OptionError(f"likelihood: {called} must keep a location's shape, (1, 1), as its batch shape, got {shapes}")

    class ByFunction(Likelihood):
        """See `by_function`."""

        name = called
        standardised = support is constraints.real

        def __init__(self, n_targets: int) -> None:
            super().__init__(n_targets)
            for argument, start in starts.items():
                setattr(self, argument, PyroParam(torch.full((n_targets,), float(start)).double(), constraints.positive))

        def forward(self, loc: Tensor) -> dist.Distribution:
            return function(loc, **{argument: getattr(self, argument) for argument in starts})

        def start(self, targets: Tensor, observed: Tensor) -> None:
            pass

        def refused(self, targets: Tensor) -> Tensor:
            outside: Tensor = ~torch.isnan(targets) & ~support.check(targets)
            return outside

        @property
        def requirement(self) -> tuple[str, str]:
            return f"values in the support of {called}", "correct it or choose another likelihood"

        def working(self, targets: Tensor) -> Tensor:
            return targets if self.standardised else unit_size(targets)

    return ByFunction
