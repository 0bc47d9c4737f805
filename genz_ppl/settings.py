"""Frozen settings of a fit and of a discovery run, checked when they are made. Nothing is read at import.

A setting is said once, where its field is: its default, its words, its limits. The check, the option on the command line, the
lines of the class's documentation and those of docs/commands.md are all made from that.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from genz_ppl.errors import OptionError
from genz_ppl.setting_fields import check_choice, check_fields, check_number, documented, setting

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
# In place of a name: by what the targets are.
AUTO = "auto"
# Those whose targets are classes by name.
CLASS_LIKELIHOODS = ("bernoulli", "categorical")
INFERENCE_NAMES = ("auto", "coordinate", "svi", "structured", "enumeration")
# Strategies whose steps are derived by hand, so that fits may be calibrated and weights may shrink.
BY_HAND = ("auto", "coordinate")
INFERENCE = "{choices}; auto: coordinate, and in the end posteriors that are near exact."
# What of `DiscoverSettings` a run without mining, the 0-shot baseline, can follow.
BASELINE_SETTINGS = (
    *("link", "likelihood", "inference", "bayesian", "batch_size", "error_rate_prior", "calibration", "shrinkage"),
    *("error_rates", "direction", "smallest_share"),
    *("smallest_worth", "refit_steps", "final_steps", "seed", "test_fraction", "device"),
)
# Strategies that train a guide: by epochs, and in minibatches if asked.
GUIDED = ("svi", "structured")
# The most features whose 2^K combinations `enumeration` goes through; of more it takes those that matter.
MOST_ENUMERATED = 12
# The most beside which NUTS samples the other parameters.
MOST_SAMPLED = 10
# What answers alone predict has five times the weight of y given the features: see docs/error-rates.md.
CALIBRATION = 5.0
# Of two kinds of items more: embeddings of pairs are estimates, which invite answers to be held for wrong.
PAIR_CALIBRATION = 30.0
SHORTCUTS = "Take steps that were derived by hand where they stand for the Pyro program's; without, all goes through it, slowly."
EXPECTATION_NAMES = ("auto", "exact", "mode", "sample")
ERROR_RATE_NAMES = ("symmetric", "asymmetric", "auto")
RATES = "{choices}: whether answers yes are wrong as often as answers no"
ALGORITHM_NAMES = ("targeted", "basic")
# The panels of `--help`.
MODEL, SEARCH, FITTING, RUN = "Model", "Search", "Fitting", "Run"
# Who works on blocks of items.
ENGINE_NAMES = ("here", "dask")
POLARITY_NAMES = ("both", "positive", "negative")


def calibrating(default: float | None = CALIBRATION, panel: str = "", more: str = "") -> Any:
    """The field of `GenZ`'s calibration. more: words after the others."""
    words = "How much what answers alone predict counts, times y given the features; 0: the paper's bound (coordinate)."
    return setting(default, words.replace(" (", f"{more} ("), panel, low=0, high=1e6, whole=False)


def shrinking(default: bool | None = True, panel: str = "", more: str = "") -> Any:
    """The field of the prior of weights."""
    words = "Weights of features have a prior whose spreads are learned (coordinate, closed forms)."
    return setting(default, words.replace(" (", f"{more} ("), panel)


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
    if device != "cpu" and (inference not in BY_HAND or bayesian):
        asked = f"inference {inference}" + (" with bayesian" if bayesian else "")
        raise OptionError(f"device: {device} is for inference coordinate, got {asked}; use cpu, or choose coordinate")


@documented
@dataclass(frozen=True)
class FitSettings:
    """How a model is fitted to given answers."""

    link: str = setting("linear", "{choices}.", choices=LINK_NAMES)
    likelihood: str = setting("gaussian", "{choices}, or package.module:object.", choices=LIKELIHOOD_NAMES, code=True)
    inference: str = setting("auto", INFERENCE, choices=INFERENCE_NAMES)
    steps: int | None = setting(
        None, "E- and M-steps of coordinate and enumeration (none: 50), epochs of svi and structured (none: 1 000).", low=1
    )
    seed: int = setting(0, "Of all that is random.", low=0, high=2**32 - 1)
    error_rate_prior: tuple[float, float] = setting((1.0, 9.0), "(a, b) of the Beta prior of the error rates of answers.")
    expectation: str = setting(
        "auto",
        "coordinate only, how eq. 11 treats the other features: exact (links linear in the features; gaussian, isotropic, "
        "student_t, laplace), mode, sample, or auto (exact where it can be, else mode).",
        choices=EXPECTATION_NAMES,
    )
    joint_moves: bool = setting(
        True, "With exact expectations: let items move two features at once where that raises their bound."
    )
    bayesian: bool = setting(False, "A posterior over the parameters of link and likelihood, too (svi).")
    batch_size: int | None = setting(None, "Items in a minibatch (svi, structured); none: all of them.")
    shortcuts: bool = setting(True, SHORTCUTS)
    calibration: float = calibrating()
    shrinkage: bool = shrinking()
    error_rates: str = setting("symmetric", f"{RATES}; auto: both are fitted, the bound decides.", choices=ERROR_RATE_NAMES)

    def __post_init__(self) -> None:
        check_fields(self)
        check_strategy(self.inference, self.bayesian, self.batch_size)


# Algorithms 1-4 as published: the first wording of what positives share is taken, whatever the bound says.
PAPER: dict[str, Any] = {
    **{"proposals": 1, "polarity": "positive", "reconsider": False, "combine": 1, "suggestions": 0},
    **{"screen": 0, "splits": 1, "refinements": 0},
    **{"link": "linear", "likelihood": "gaussian", "direction": False},
    "smallest_gain": -1e9,
    "smallest_worth": 0.0,
    "calibration": 0.0,
    "shrinkage": False,
    "error_rates": "symmetric",
    "inference": "coordinate",
}
# Where answers cost nothing more wordings are tried: a question that matters only beside others stands far down on the list.
FREE: dict[str, Any] = {"proposals": 24}
# Where wordings are paid for, too: on films the search with so many for either group went the same way as with twice as many.
PAID: dict[str, Any] = {"proposals": 4}
# What a fit in blocks can do, so with --engine dask it is what a run does unless it is told otherwise; it then refuses.
IN_BLOCKS: dict[str, Any] = {
    **{"link": "linear", "inference": "coordinate", "likelihood": "gaussian"},
    **{"calibration": 0.0, "shrinkage": False, "error_rates": "symmetric"},
}
# Items that wordings of a served model are compared on, and questions that it suggests at the start, if nothing else is said.
SCREENED = 80
SUGGESTED = 10


@documented
@dataclass(frozen=True)
class DiscoverSettings:
    """How features are discovered (Algorithms 1-4 of the paper).

    paper changes the defaults of other settings to `PAPER`, the model rules to `FREE`, one behind a server to `PAID`; what is
    given still counts. With direction each item's vector of targets is divided by its length, so that long vectors, which have
    large errors, count no more than others: all that cosine similarity sees. What is written and returned is on the CPU, and a
    run may be resumed on another device.
    """

    model: str = setting(
        "rules", "rules, similarity, phrases, table:FILE, openai:NAME or package.module:object; several joined by +.", MODEL
    )
    link: str = setting(AUTO, "{choices}; auto: by held-out folds of the training items (numbers).", MODEL, choices=LINK_NAMES)
    likelihood: str = setting(
        AUTO,
        "{choices}, or package.module:object; auto: by the targets, classes, counts or numbers, and the tails of their noise.",
        MODEL,
        choices=LIKELIHOOD_NAMES,
        code=True,
    )
    inference: str = setting("auto", INFERENCE, MODEL, choices=INFERENCE_NAMES)
    bayesian: bool = setting(False, "A posterior over weights and noise, too, in the last fit (--inference svi).", MODEL)
    batch_size: int | None = setting(None, "Items in a minibatch (--inference svi or structured); none: all at once.", MODEL)
    error_rate_prior: tuple[float, float] = setting(
        (1.0, 9.0), "The Beta prior of the error rates of answers.", MODEL, metavar="A,B"
    )
    posterior: str | None = setting(
        None,
        "nuts: weights, noise and error rates of the last fit by four chains of NUTS (--inference enumeration).",
        MODEL,
        choices=("nuts",),
    )
    shortcuts: bool = setting(True, SHORTCUTS, MODEL)
    calibration: float | None = calibrating(None, MODEL, "; none: 5 with several targets, 0 with one")
    shrinkage: bool | None = shrinking(None, MODEL, "; none: with several targets")
    error_rates: str = setting("auto", f"{RATES}; auto: by the last fit's bound (closed forms).", MODEL, choices=ERROR_RATE_NAMES)
    direction: bool | None = setting(None, "Explain only the direction of the targets; none: if they are an embedding.", MODEL)
    algorithm: str = setting("targeted", "{choices}.", SEARCH, choices=ALGORITHM_NAMES)
    cycles: int = setting(10, "Rounds of additions and cuts.", SEARCH, low=1)
    add: int = setting(5, "Additions in a round.", SEARCH, low=1)
    updates: int = setting(0, "Replacements in a round: prune one, add one.", SEARCH, low=0)
    refinements: int = setting(
        0,
        "Features of a round for which a better wording is sought, from items where answer and posterior disagree.",
        SEARCH,
        low=0,
    )
    cut: int = setting(2, "Cuts in a round.", SEARCH, low=0)
    max_features: int | None = setting(None, "The most features at a time.", SEARCH, low=1)
    polarity: str = setting("both", "{choices}: whose common traits the model is asked for.", SEARCH, choices=POLARITY_NAMES)
    proposals: int = setting(8, "Wordings asked for a contrast and polarity; 24 with rules, 4 with openai:NAME.", SEARCH, low=1)
    exemplars: int = setting(40, "Items shown on either side of a contrast.", SEARCH, low=1)
    smallest_share: float = setting(
        0.02,
        "Features true of a smaller share of items, or of all but that, are discarded.",
        SEARCH,
        low=0,
        high=0.5,
        whole=False,
    )
    smallest_gain: float | None = setting(
        None,
        "Nats by which a feature must raise the bound; none: what the best of all wordings tried reaches by chance.",
        SEARCH,
        low=float("-inf"),
        whole=False,
    )
    smallest_worth: float | None = setting(
        None,
        "Nats a feature must be worth to stay in the end, 0 keeps all; none: the level of chance.",
        SEARCH,
        low=0,
        whole=False,
    )
    screen: int | None = setting(
        None,
        "Items on which wordings are compared before the best is asked about on all; 0: all on all; "
        "none: 80 with openai:NAME, whose answers are paid for, else 0.",
        SEARCH,
        low=0,
    )
    suggestions: int | None = setting(
        None,
        "Questions from the task alone that a run starts from and that compete with those mined; 0: none; "
        "none: 10 with openai:NAME, which knows something of the task, else 0.",
        SEARCH,
        low=0,
    )
    combine: int = setting(
        3,
        "The most questions of a rule, this and not that, and the most rules, this or that; 1: none. It costs no answers.",
        SEARCH,
        low=1,
    )
    sample: int = setting(200_000, "Training items that questions are sought on; the last fit has all. 0: all.", SEARCH, low=0)
    splits: int = setting(3, "Directions of the residuals from which a split is started.", SEARCH, low=1)
    patience: int = setting(5, "Additions in a row that find nothing before a run ends; more if finds are rare.", SEARCH, low=1)
    test_at_end: bool | None = setting(
        None,
        "Ask about test items once, with all questions of the end, and not after each addition; "
        "none: with openai:NAME, whose calls are paid for.",
        SEARCH,
    )
    reconsider: bool = setting(True, "Let wordings answered earlier compete again at every addition, at no cost.", SEARCH)
    paper: bool = setting(False, "The paper's algorithms: one wording, of what positives share, taken whatever it gains.", SEARCH)
    inner_steps: int = setting(10, "E- and M-steps before mining.", FITTING, low=1)
    refit_steps: int = setting(10, "E- and M-steps after each change.", FITTING, low=1)
    final_steps: int = setting(30, "E- and M-steps of the last fit.", FITTING, low=1)
    seed: int = setting(0, "Seed of the split and of the search.", RUN, low=0, high=2**32 - 1)
    test_fraction: float = setting(0.2, "Share of items kept for testing.", RUN)
    honest: float = setting(
        0.0,
        "Share of items held back, asked only about what was kept, at the end: genz effects tests each question on them.",
        RUN,
        low=0,
        high=0.9,
        whole=False,
    )
    engine: str = setting("here", "{choices}: who makes the last fit, in blocks of items with dask.", RUN, choices=ENGINE_NAMES)
    scheduler: str | None = setting(None, "Dask's, tcp://HOST:PORT; none: processes of this host.", RUN, metavar="URL")
    blocks: str | None = setting(None, "A folder that this host and Dask's workers see, for blocks.", RUN, metavar="DIR")
    device: str = setting("cpu", "Where models are fitted: cpu, cuda or cuda:1 (--inference coordinate).", RUN, metavar="NAME")

    def __post_init__(self) -> None:
        check_fields(self)
        check_strategy(self.inference, self.bayesian, self.batch_size)
        check_device_name(self.device, self.inference, self.bayesian)
        if self.engine == "here" and (self.scheduler or self.blocks):
            raise OptionError(f"{'scheduler' if self.scheduler else 'blocks'}: goes with engine dask; add it, or leave this out")
        fits = {"device": "cpu", "shortcuts": True, **IN_BLOCKS}
        for name, only in fits.items() if self.engine != "here" else ():
            if getattr(self, name) not in (only, self.__dataclass_fields__[name].default):  # by default `IN_BLOCKS`
                raise OptionError(f"engine: dask fits in blocks with {name} {only} alone, got {getattr(self, name)}; change one")
        for name in ("calibration", "shrinkage"):
            if getattr(self, name) and (self.inference not in BY_HAND or not self.shortcuts):
                how = self.inference if self.shortcuts else "a run without shortcuts"
                raise OptionError(f"{name}: {how} fits the paper's bound alone; choose inference coordinate, or leave {name} out")
        if self.posterior == "nuts" and (self.inference != "enumeration" or (self.max_features or 99) > MOST_SAMPLED):
            raise OptionError(
                f"posterior: nuts sums over all combinations of up to {MOST_SAMPLED} features; "
                f"pass inference enumeration and max_features {MOST_SAMPLED} or less, or leave posterior out"
            )


# Likelihoods of what is observed between two items, ways to fit, guides of the embeddings.
PAIR_LIKELIHOOD_NAMES = ("gaussian", "bernoulli", "poisson")
PAIR_FIT_NAMES = ("joint", "decoupled")
PAIR_GUIDE_NAMES = ("normal", "point")


@documented
@dataclass(frozen=True)
class PairSettings:
    """How the two-item model is fitted (Appendix C).

    fit: "decoupled", features are fitted to embeddings that were found without them (eqs. 35-37); "joint", embeddings and
    features are fitted together from there (eqs. 33-34). epochs: for the factorisation and
    again for each joint fit; none: as many as give some 1 200 gradient steps, from 10 to 150.
    """

    likelihood: str = setting("gaussian", "Of the values: {choices}.", MODEL, choices=PAIR_LIKELIHOOD_NAMES)
    dimensions: int = setting(8, "Of the embeddings, beside their biases.", MODEL, low=1)
    fit: str = setting("joint", "{choices}: features with the embeddings or after.", MODEL, choices=PAIR_FIT_NAMES)
    guide: str = setting("normal", "Posterior of the embeddings: {choices}.", MODEL, choices=PAIR_GUIDE_NAMES)
    epochs: int | None = setting(None, "Passes over the pairs, in every fit; none: by the number of pairs.", MODEL, low=1)
    batch_size: int = setting(65536, "Pairs in a minibatch, at most.", MODEL, low=1)
    learning_rate: float = setting(
        0.05, "Of the embeddings, by Adam; it falls to a fiftieth.", MODEL, low=1e-6, high=10, whole=False
    )
    alpha: float = setting(
        0.5,
        "The power of the singular values that the rows get; the columns get the rest (eq. 36).",
        MODEL,
        low=0,
        high=1,
        whole=False,
    )
    link: str = setting("linear", "Of both sides: {choices}.", MODEL, choices=LINK_NAMES)
    error_rate_prior: tuple[float, float] = setting(
        (1.0, 9.0), "The Beta prior of the error rates of answers.", MODEL, metavar="A,B"
    )
    calibration: float = calibrating(PAIR_CALIBRATION, panel=MODEL)
    shrinkage: bool = shrinking(False, panel=MODEL)
    error_rates: str = setting("symmetric", f"{RATES}.", MODEL, choices=ERROR_RATE_NAMES[:2])
    seed: int = setting(0, "Seed of the split and of the search.", RUN, low=0, high=2**32 - 1)

    def __post_init__(self) -> None:
        check_fields(self)
