"""Export to ArviZ, and what is asked of it; no other module imports it.

ArviZ's convergence diagnostics (R-hat, effective sample size) are for the chains of a sampler, and left out elsewhere: draws
from a fitted guide are independent by construction, so they always look converged, however wrong the guide is.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.inference.feature_effects import NINE_IN_TEN, effect_draws, feature_effects
from genz_ppl.inference.pairs.fit import PairState
from genz_ppl.inference.posterior import FittedItems, PosteriorDraws, posterior_draws
from genz_ppl.output import in_one_stroke, not_written
from genz_ppl.types import GOLD, AnswerErrors, FloatArray

with warnings.catch_warnings():
    # ArviZ announces its version 1.0 at import, which is none of a user's business here.
    warnings.filterwarnings("ignore", category=FutureWarning)
    import arviz
    import xarray

# Beyond this Pareto shape an item's leave-one-out estimate is unreliable (Vehtari, Gelman and Gabry, 2017).
LARGEST_SHAPE = 0.7
# Log likelihoods are rounded to so many digits after the point: of an item without targets, or of one that the model is sure of,
# draws differ by rounding alone, whose tail has equal numbers in it, and ArviZ's Pareto fit makes NaN of that.
DIGITS = 12
# What rates apart are of.
ANSWERS = ("yes", "no")


@dataclass(frozen=True)
class LeaveOneOut:
    """PSIS-LOO: expected log predictive density, its standard error, effective parameters; by item: elpd and Pareto shape."""

    elpd: float
    standard_error: float
    effective_parameters: float
    pointwise: FloatArray
    pareto_k: FloatArray


def to_inference_data(fitted: FittedItems, draws: PosteriorDraws | None = None) -> Any:
    """An `arviz.InferenceData` of a fit; items, features and targets are named by their ids, texts and columns.

    Groups: posterior (p_e, beside p_e_by_answer where answers yes and no have rates of their own, the parameters of link and
    likelihood, and unless the link is a network effect, what yes instead of no adds to each target or class, as in the table of
    a run's features), features (z), posterior_predictive (y), log_likelihood (y, one value an item, its features integrated
    out), observed_data (y), constant_data (answers, covariates). One chain of independent draws, or those of the sampler. A
    single target has no dimension; z has a group of its own, because summaries and plots of all of `posterior` would drown in a
    value for every item and feature.
    """
    draws = posterior_draws(fitted) if draws is None else draws
    coords = {"item": list(fitted.item_ids), "feature": _distinct(fitted.feature_texts)}
    coords["target"] = _distinct(fitted.column_names)
    numbered = tuple(f"covariate {p}" for p in range(fitted.numbers.shape[1]))
    coords["covariate"] = _distinct(fitted.covariate_names or numbered)
    coords |= {"group": list(fitted.levels), "term": ["intercept", *coords["covariate"]]}
    likelihood = fitted.state.model.likelihood
    observed = likelihood.comparable(fitted.targets).numpy()
    posterior = _rates("", "feature", draws.error_rates, draws.z.mean(axis=1), fitted.raters)
    coords["answer"] = list(ANSWERS)
    coords["annotator"] = list(fitted.raters)
    for name, value in draws.parameters.items():
        posterior[name] = (_dimensions(name, value), value)
    if "weights" in draws.parameters:
        posterior["effect"] = (("feature", "target"), effect_draws(fitted, draws.parameters))
    chains, density = draws.chains, np.round(draws.log_likelihood, DIGITS)
    groups = {
        "posterior": _dataset(posterior, coords, chains),
        "features": _dataset({"z": (("item", "feature"), draws.z)}, coords, chains),
        "posterior_predictive": _dataset({"y": (("item", "target"), draws.replicated)}, coords, chains),
        "log_likelihood": _dataset({"y": (("item",), density)}, coords, chains),
        "observed_data": _dataset({"y": (("item", "target"), observed)}, coords),
        "constant_data": _dataset(_constants(fitted), coords),
    }
    if len(coords["target"]) == 1:
        groups = {name: group.squeeze("target", drop=True) if "target" in group.dims else group for name, group in groups.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "features group is not defined", UserWarning)  # ArviZ knows no group for it
        return arviz.InferenceData(**groups)


def _constants(fitted: FittedItems) -> dict[str, tuple[tuple[str, ...], Any]]:
    constants: dict[str, tuple[tuple[str, ...], Any]] = {
        "answers": (("item", "feature", *(["annotator"] if fitted.raters else [])), fitted.answers.numpy()),
        "covariates": (("item", "covariate"), fitted.numbers.numpy()),
    }
    if fitted.levels:
        constants["groups"] = (("item", "group"), fitted.covariates[:, -len(fitted.levels) :].numpy().astype(np.int8))
    return constants


def pair_inference_data(
    state: PairState, ids: Mapping[str, Sequence[str]], texts: Mapping[str, Sequence[str]], draws: int = 500, seed: int = 0
) -> Any:
    """An `arviz.InferenceData` of a fitted two-item model; ids and texts by side, "rows" and "columns".

    Group posterior: of each side the embeddings (item by entry, the bias first), z and p_e (a point, the same in each draw);
    constant_data: the answers. One chain of independent draws from q.
    """
    random = np.random.default_rng(seed)
    posterior: dict[str, Any] = {}
    constant: dict[str, Any] = {}
    coords: dict[str, list[str]] = {}
    for (name, items), side, embedding in zip(ids.items(), state.sides, state.embeddings, strict=True):
        mean, sd, q = embedding.mean.numpy(), embedding.sd.numpy(), side.state.posterior.numpy()
        coords |= {f"{name}_item": list(items), f"{name}_feature": _distinct(tuple(texts[name]))}
        coords["entry"] = ["bias", *(f"dimension {d}" for d in range(1, mean.shape[1]))]
        posterior[f"{name}_embedding"] = ((f"{name}_item", "entry"), mean + sd * random.standard_normal((draws, *mean.shape)))
        if q.shape[1]:
            features, rates = f"{name}_feature", side.state.error_rates.expand(draws, *side.state.error_rates.shape).numpy()
            posterior[f"{name}_z"] = ((f"{name}_item", features), (random.random((draws, *q.shape)) < q).astype(np.int8))
            posterior |= _rates(f"{name}_", features, rates, np.tile(q.mean(axis=0), (draws, 1)))
            coords["answer"] = list(ANSWERS)
            constant[f"{name}_answers"] = ((f"{name}_item", features), side.answers.numpy())
    groups = {"posterior": _dataset(posterior, coords, 1)}
    if constant:
        groups["constant_data"] = _dataset(constant, coords)
    return arviz.InferenceData(**groups)


def _rates(prefix: str, dimension: str, rates: FloatArray, prevalence: FloatArray, raters: Sequence[str] = ()) -> dict[str, Any]:
    """p_e of draws of rates, (S, K), and of rates apart, (S, K, 2), or of raters, (S, K, A), those too; prevalence: (S, K)."""
    if rates.ndim == 2:
        return {f"{prefix}p_e": ((dimension,), rates)}
    if raters:
        learned = sum(name != GOLD for name in raters)
        together = np.stack([AnswerErrors.together(one[:, :learned], one[:, 0]).overall for one in rates])
        return {f"{prefix}p_e": ((dimension,), together), f"{prefix}p_e_by_annotator": ((dimension, "annotator"), rates)}
    flat = AnswerErrors.of(rates.reshape(-1, 2), prevalence.ravel())
    overall = flat.overall.reshape(prevalence.shape)
    return {f"{prefix}p_e": ((dimension,), overall), f"{prefix}p_e_by_answer": ((dimension, "answer"), rates)}


def _dataset(variables: dict[str, tuple[tuple[str, ...], Any]], coords: Mapping[str, list[str]], chains: int = 0) -> Any:
    """chains: that the draws, which come first, are of, one chain after the other; 0: there are no draws."""
    contents, size = {}, 0
    for name, (dimensions, value) in variables.items():
        contents[name] = (dimensions, value)
        if chains:
            size = len(value) // chains
            contents[name] = (("chain", "draw", *dimensions), value.reshape(chains, size, *value.shape[1:]))
    used = {dimension for dimensions, _ in contents.values() for dimension in dimensions}
    known: dict[str, Any] = {name: list(labels) for name, labels in coords.items() if name in used}
    if chains:
        known |= {"chain": np.arange(chains), "draw": np.arange(size)}
    return xarray.Dataset(contents, coords=known)


def _dimensions(name: str, value: FloatArray) -> tuple[str, ...]:
    known = {
        "weights": ("feature", "target"),
        "intercept": ("target",),
        "covariate_weights": ("covariate", "target"),
        "interactions": ("feature", "covariate", "target"),
        "group_effects": ("group", "term", "target"),
        "group_spread": ("term", "target"),
        "scale": ("target",),
        "degrees_of_freedom": ("target",),
        "concentration": ("target",),
        "base": ("target",),
        "factor": ("target", "rank"),
    }
    found = known.get(name)
    if found is not None and len(found) == value.ndim - 1:
        return found
    return tuple(f"{name}_{axis}" for axis in range(value.ndim - 1))


def _distinct(names: tuple[str, ...]) -> list[str]:
    """The names, with a number behind those that occurred before: coordinates must differ."""
    seen: dict[str, int] = {}
    distinct = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        distinct.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return distinct


def leave_one_out(inference_data: Any) -> LeaveOneOut:
    """PSIS-LOO of an exported fit, on the training items it was exported with."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of large Pareto shapes, which are reported here
        found = arviz.loo(inference_data, pointwise=True)
    density = inference_data.log_likelihood["y"]
    same = (density.max(("chain", "draw")) == density.min(("chain", "draw"))).values
    return LeaveOneOut(
        elpd=float(found.elpd_loo),
        standard_error=float(found.se),
        effective_parameters=float(found.p_loo),
        pointwise=np.asarray(found.loo_i, dtype=np.float64),
        pareto_k=np.where(same, 0.0, np.asarray(found.pareto_k, dtype=np.float64)),  # equal weights have no tail
    )


def effect_summary(fitted: FittedItems, inference_data: Any) -> pd.DataFrame:
    """mean, sd and a 90 % interval: of each effect as in the table of a run's features, and of products and noise from draws.

    Of several chains all is from draws, with R-hat and effective sample sizes.
    """
    columns = _distinct(fitted.column_names)
    ends = [f", {column}" for column in columns] if len(columns) > 1 else [""]
    names = [f"effect[{text}{end}]" for text in _distinct(fitted.feature_texts) for end in ends]
    effects = feature_effects(fitted)
    mean, sd = effects.mean.ravel(), effects.sd.ravel()
    own = {"mean": mean, "sd": sd, "lower": mean - NINE_IN_TEN * sd, "upper": mean + NINE_IN_TEN * sd}
    sampled = inference_data.posterior.sizes["chain"] > 1
    drawn = [name for name in (*(("effect",) if sampled else ()), "interactions", "scale") if name in inference_data.posterior]
    table = pd.DataFrame(own, index=names)[:0] if sampled else pd.DataFrame(own, index=names)
    if drawn:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a single chain, which it is by design
            kind = "all" if sampled else "stats"
            found = arviz.summary(inference_data, var_names=drawn, kind=kind, round_to="none", hdi_prob=0.9)
        found = found.drop(columns=["mcse_mean", "mcse_sd"], errors="ignore")
        found.columns = [*table.columns, *found.columns[4:]]
        table = found if sampled else pd.concat([table, found])
    return table


def write_netcdf(inference_data: Any, path: Path) -> None:
    """Write posterior.nc in one stroke: a reader never meets half a file. Raises OptionError where it cannot be written."""
    try:
        with in_one_stroke(path) as partial:
            inference_data.to_netcdf(str(partial), engine="h5netcdf")
    except OSError as error:
        raise not_written(str(path), error) from None
