"""genz-ppl: find, in plain language, the questions that explain your numbers."""

from importlib.metadata import version

from genz_ppl.data import Items
from genz_ppl.discovery.discover import Discovery, discover, resume
from genz_ppl.errors import GenzError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.types import Answers, Contrast, Feature, Item

__version__ = version("genz-ppl")

__all__ = [
    "Answers",
    "Contrast",
    "Discovery",
    "Feature",
    "FoundationModel",
    "GenzError",
    "Item",
    "Items",
    "__version__",
    "discover",
    "resume",
]
