"""Frozen settings of a fit and of a discovery run, checked when they are made. Nothing is read at import."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any

from genz_ppl.errors import OptionError

# Lists: `models.add_link` and `models.add_likelihood` append a user's own.
LINK_NAMES = ["linear", "interaction", "neural"]
LIKELIHOOD_NAMES = [
    "gaussian",
    "isotropic",
    "low_rank_gaussian",
    "student_t",
    "laplace",
    "poisson",
    "negative_binomial",
    "bernoulli",
    "categorical",
]
INFERENCE_NAMES = ("coordinate", "svi", "structured", "enumeration")
# Strategies that train a guide: by epochs, and in minibatches if asked.
GUIDED = ("svi", "structured")
# The most features whose 2^K combinations `enumeration` goes through.
MOST_ENUMERATED = 12
EXPECTATION_NAMES = ("auto", "exact", "mode", "sample")
ALGORITHM_NAMES = ("targeted", "basic")
POLARITY_NAMES = ("both", "positive", "negative")


def check_choice(option: str, value: object, choices: Sequence[str]) -> None:
    """Raise OptionError unless value is one of the choices."""
    if value not in choices:
        raise OptionError(f"{option}: expected one of {', '.join(choices)}, got {value!r}")


def check_number(option: str, value: float, low: float, high: float = float("inf"), whole: bool = True) -> None:
    """Raise OptionError unless value is a number (whole, if asked) from low to high."""
    fits = isinstance(value, Real) and not isinstance(value, bool) and low <= value <= high
    if not fits or (whole and value % 1 != 0):  # of infinity it is NaN
        kind = "a whole number" if whole else "a number"
        limits = f"of at least {low:g}" if high == float("inf") else f"from {low:g} to {high:g}"
        raise OptionError(f"{option}: expected {kind} {limits}, got {value!r}")


def check_strategy(inference: str, bayesian: bool, batch_size: int | None) -> None:
    """Raise OptionError for options that the inference strategy cannot follow."""
    check_choice("inference", inference, INFERENCE_NAMES)
    if bayesian and inference != "svi":
        remedy = "choose inference svi (--inference svi), or leave bayesian out"
        raise OptionError(f"bayesian: {inference} fits weights and noise as points; {remedy}")
    if batch_size is not None:
        check_number("batch_size", batch_size, 1)
        if inference not in GUIDED:
            remedy = "choose inference svi (--inference svi) or structured, or leave batch_size out"
            raise OptionError(f"batch_size: {inference} works on all items at once; {remedy}")


def check_device_name(device: object, inference: str, bayesian: bool) -> None:
    """Raise OptionError unless device is a name of one that the strategy can run on; whether it is there, torch must say."""
    if not isinstance(device, str) or re.fullmatch(r"cpu|cuda(:\d+)?", device) is None:
        raise OptionError(f"device: expected 'cpu', 'cuda' or 'cuda:1' and so on, got {device!r}")
    if device != "cpu" and (inference != "coordinate" or bayesian):
        asked = f"inference {inference}" + (" with bayesian" if bayesian else "")
        raise OptionError(f"device: {device} is for inference coordinate, got {asked}; use cpu, or choose coordinate")


@dataclass(frozen=True)
class FitSettings:
    """How a model is fitted to given answers.

    steps: E- and M-steps of `coordinate` and `enumeration`, epochs of `svi` and `structured`; None: 50 and 1 000.
    error_rate_prior: (a, b) of the Beta prior. bayesian: a posterior over the parameters of link and likelihood, too (svi).
    batch_size: items in a minibatch (svi, structured); None: all of them.
    coordinate only: expectation, how eq. 11 treats the other features: "exact" (links linear in the features; gaussian,
    isotropic, student_t, laplace), "mode", "sample", or "auto" (exact where it can be, else mode); joint_moves, with exact
    expectation let items move two features at once where that raises their bound.
    """

    link: str = "linear"
    likelihood: str = "gaussian"
    inference: str = "coordinate"
    steps: int | None = None
    seed: int = 0
    error_rate_prior: tuple[float, float] = (1.0, 9.0)
    expectation: str = "auto"
    joint_moves: bool = True
    bayesian: bool = False
    batch_size: int | None = None

    def __post_init__(self) -> None:
        check_choice("link", self.link, LINK_NAMES)
        check_choice("likelihood", self.likelihood, LIKELIHOOD_NAMES)
        check_choice("expectation", self.expectation, EXPECTATION_NAMES)
        check_strategy(self.inference, self.bayesian, self.batch_size)
        if self.steps is not None:
            check_number("steps", self.steps, 1)
        check_number("seed", self.seed, 0, 2**32 - 1)


# Algorithms 1-4 as published: the first wording of what positives share is taken, whatever the bound says.
PAPER: dict[str, Any] = {
    "proposals": 1,
    "polarity": "positive",
    "screen": 0,
    "splits": 1,
    "refinements": 0,
    "reconsider": False,
    "smallest_gain": -1e9,
    "smallest_worth": 0.0,
}
# Embeddings have tens of targets, and the odds of a wrong answer add up over all of them: whatever the features leave out of an
# item passes for wrong answers then. So answers count as facts, unless the settings say otherwise.
DIRECTION: dict[str, Any] = {"error_rate_prior": (1.0, 1e6)}
# Items that wordings of a served model are compared on, unless the settings say otherwise.
SCREENED = 80


@dataclass(frozen=True)
class DiscoverSettings:
    """How features are discovered (Algorithms 1-4 of the paper).

    model: the foundation model's name, kept for the record. cycles: rounds of `add` additions, `updates`
    replacements (prune one, add one), `refinements` (features for which a better wording is sought, from items where answer
    and posterior disagree) and `cut` prunings.
    max_features: an upper limit on active features. exemplars: items shown on either side of a contrast.
    proposals: wordings asked for a contrast and polarity. polarity: ask what the positives share ("positive"), what the
    negatives share ("negative"), or both. inner_steps: E- and M-steps before mining; refit_steps: after each change.
    smallest_share: features active on a smaller share of the training items, or a larger one than its complement, are
    discarded. smallest_gain: nats by which a wording must raise the bound to be kept; None: the level of chance.
    screen: items on which wordings are compared before the best is asked about on all of them, for fewer answers; 0: all
    wordings are asked about on all items; None: 80 for a served model, whose answers are paid for, otherwise 0.
    splits: directions of the residuals from which a split is started. patience: additions in a row that find nothing before
    the run ends. reconsider: wordings answered earlier compete again at every addition, at no cost. smallest_worth: nats a
    feature must be worth in the final model (0 keeps all); None: what the best of all wordings tried reaches by chance.
    final_steps: steps of the last fit.
    paper: the algorithms as they were published; it changes the defaults to `PAPER`, and what is given still counts.
    direction: for targets that are an embedding: each item's vector of targets is divided by its length, so that long vectors,
    which have large errors, count no more than others; explained and predicted is the direction, all that cosine similarity
    sees. It changes the defaults to `DIRECTION` (answers count as facts), and what is given still counts.
    bayesian: the last fit gives a posterior over the parameters of link and likelihood, too (svi). batch_size: items in a
    minibatch (svi, structured). device: where the E- and M-steps run, "cpu", "cuda" or "cuda:1" and so on (coordinate); what
    is written and returned is on the CPU, and a run may be resumed on another device.
    """

    model: str = "rules"
    link: str = "linear"
    likelihood: str = "gaussian"
    inference: str = "coordinate"
    algorithm: str = "targeted"
    cycles: int = 10
    add: int = 5
    cut: int = 2
    updates: int = 0
    refinements: int = 0
    max_features: int | None = None
    seed: int = 0
    test_fraction: float = 0.2
    polarity: str = "both"
    proposals: int = 8
    exemplars: int = 40
    inner_steps: int = 10
    refit_steps: int = 10
    smallest_share: float = 0.02
    smallest_gain: float | None = None
    screen: int | None = None
    smallest_worth: float | None = None
    final_steps: int = 30
    reconsider: bool = True
    splits: int = 3
    patience: int = 5
    error_rate_prior: tuple[float, float] = (1.0, 9.0)
    bayesian: bool = False
    batch_size: int | None = None
    paper: bool = False
    direction: bool = False
    device: str = "cpu"

    def __post_init__(self) -> None:
        check_choice("link", self.link, LINK_NAMES)
        check_choice("likelihood", self.likelihood, LIKELIHOOD_NAMES)
        check_strategy(self.inference, self.bayesian, self.batch_size)
        check_device_name(self.device, self.inference, self.bayesian)
        check_choice("algorithm", self.algorithm, ALGORITHM_NAMES)
        check_choice("polarity", self.polarity, POLARITY_NAMES)
        for option, low in (
            ("cycles", 1),
            ("add", 1),
            ("updates", 0),
            ("refinements", 0),
            ("cut", 0),
            ("proposals", 1),
            ("exemplars", 1),
        ):
            check_number(option, getattr(self, option), low)
        check_number("inner_steps", self.inner_steps, 1)
        check_number("refit_steps", self.refit_steps, 1)
        check_number("seed", self.seed, 0, 2**32 - 1)
        check_number("final_steps", self.final_steps, 1)
        if self.smallest_gain is not None:
            check_number("smallest_gain", self.smallest_gain, float("-inf"), whole=False)
        if self.screen is not None:
            check_number("screen", self.screen, 0)
        check_number("splits", self.splits, 1)
        check_number("patience", self.patience, 1)
        if self.smallest_worth is not None:
            check_number("smallest_worth", self.smallest_worth, 0, whole=False)
        check_number("smallest_share", self.smallest_share, 0, 0.5, whole=False)
        if self.max_features is not None:
            check_number("max_features", self.max_features, 1)
        if self.inference == "enumeration" and (self.max_features or MOST_ENUMERATED + 1) > MOST_ENUMERATED:
            given = "no limit" if self.max_features is None else str(self.max_features)
            raise OptionError(
                f"max_features: enumeration is exact for up to {MOST_ENUMERATED} features, got {given}; "
                f"pass max_features {MOST_ENUMERATED} or less, or choose inference coordinate"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json."""
        return asdict(self)


# Likelihoods of what is observed between two items, ways to fit, guides of the embeddings.
PAIR_LIKELIHOOD_NAMES = ("gaussian", "bernoulli", "poisson")
PAIR_FIT_NAMES = ("joint", "decoupled")
PAIR_GUIDE_NAMES = ("normal", "point")


@dataclass(frozen=True)
class PairSettings:
    """How the two-item model is fitted (Appendix C).

    dimensions: D, of the embeddings besides their biases. likelihood: of the pairs' values, gaussian, bernoulli or poisson.
    fit: "decoupled", features are fitted to embeddings that were found without them (eqs. 35-37); "joint", embeddings and
    features are fitted together from there (eqs. 33-34). guide: posterior of the embeddings, "normal" or "point".
    epochs: passes over the pairs, for the factorisation and again for each joint fit; None: as many as give some 1 200 gradient
    steps, from 10 to 150. batch_size: pairs in a minibatch, at most. learning_rate: of Adam; it falls to a fiftieth.
    link: of both sides. alpha: the power of the singular values that the rows get, the columns get the rest (eq. 36).
    error_rate_prior: (a, b) of the Beta prior. Here answers count as facts unless it says otherwise: with many entries of an
    embedding to explain, and the embedding itself unknown, the bound gains by holding right answers for wrong, and what is
    then predicted for other items gets worse (see benchmarks/README.md).
    """

    dimensions: int = 8
    likelihood: str = "gaussian"
    fit: str = "joint"
    guide: str = "normal"
    epochs: int | None = None
    batch_size: int = 65536
    learning_rate: float = 0.05
    link: str = "linear"
    alpha: float = 0.5
    error_rate_prior: tuple[float, float] = (1.0, 1e6)
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("likelihood", self.likelihood, PAIR_LIKELIHOOD_NAMES)
        check_choice("fit", self.fit, PAIR_FIT_NAMES)
        check_choice("guide", self.guide, PAIR_GUIDE_NAMES)
        check_choice("link", self.link, LINK_NAMES)
        check_number("dimensions", self.dimensions, 1)
        check_number("batch_size", self.batch_size, 1)
        if self.epochs is not None:
            check_number("epochs", self.epochs, 1)
        check_number("learning_rate", self.learning_rate, 1e-6, 10, whole=False)
        check_number("alpha", self.alpha, 0, 1, whole=False)
        check_number("seed", self.seed, 0, 2**32 - 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for run.json."""
        return asdict(self)
