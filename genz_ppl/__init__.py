"""genz-ppl: find, in plain language, the questions that explain your numbers."""

import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genz_ppl.data import Items
    from genz_ppl.discovery.baseline import baseline
    from genz_ppl.discovery.discover import Discovery, discover
    from genz_ppl.discovery.pairs.cooccur import cooccur, resume_cooccur
    from genz_ppl.discovery.pairs.result import CoOccurrenceRun
    from genz_ppl.discovery.resume import resume
    from genz_ppl.errors import GenzError, GenzWarning
    from genz_ppl.estimators import GenZClassifier, GenZRegressor
    from genz_ppl.llm.base import FoundationModel
    from genz_ppl.types import Answers, Contrast, Feature, Item, Pairs

__version__ = version("genz-ppl")

if "ipykernel" in sys.modules:  # Pyro imports this in a notebook, where it warns of widgets that nothing here needs
    with warnings.catch_warnings(action="ignore"):
        import_module("tqdm.auto")

# Where the public names live. They are imported when first used: torch takes seconds, `genz --help` should not.
_HOMES = {
    "Answers": "genz_ppl.types",
    "CoOccurrenceRun": "genz_ppl.discovery.pairs.result",
    "Contrast": "genz_ppl.types",
    "Discovery": "genz_ppl.discovery.discover",
    "Feature": "genz_ppl.types",
    "FoundationModel": "genz_ppl.llm.base",
    "GenZClassifier": "genz_ppl.estimators",
    "GenZRegressor": "genz_ppl.estimators",
    "GenzError": "genz_ppl.errors",
    "GenzWarning": "genz_ppl.errors",
    "Item": "genz_ppl.types",
    "Items": "genz_ppl.data",
    "Pairs": "genz_ppl.types",
    "baseline": "genz_ppl.discovery.baseline",
    "cooccur": "genz_ppl.discovery.pairs.cooccur",
    "discover": "genz_ppl.discovery.discover",
    "resume": "genz_ppl.discovery.resume",  # of either kind of run
    "resume_cooccur": "genz_ppl.discovery.pairs.cooccur",
}

__all__ = [
    "Answers",
    "CoOccurrenceRun",
    "Contrast",
    "Discovery",
    "Feature",
    "FoundationModel",
    "GenZClassifier",
    "GenZRegressor",
    "GenzError",
    "GenzWarning",
    "Item",
    "Items",
    "Pairs",
    "__version__",
    "baseline",
    "cooccur",
    "discover",
    "resume",
    "resume_cooccur",
]


def __getattr__(name: str) -> object:
    """The public name, from where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
