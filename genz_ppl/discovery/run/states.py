"""Fitted states as arrays by name and back, and with them the whole `Progress` of a run as its state file holds it."""

from __future__ import annotations

import copy
from dataclasses import asdict, fields

import numpy as np
import torch
from torch import Tensor

from genz_ppl.discovery.run.bits import from_bits, to_bits
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.likelihood_choice import GAUSSIAN, STUDENT_T
from genz_ppl.discovery.run.progress import Counters, Progress, Snapshot
from genz_ppl.discovery.run.record import AllSides, RunRecord
from genz_ppl.discovery.run.state_file import PROGRESS, UNREADABLE, Arrays, features_of, packed
from genz_ppl.inference.guided.moments import Moments
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, build_model
from genz_ppl.inference.state import State
from genz_ppl.inference.strategies import model_options
from genz_ppl.inference.uncertainty import Uncertainty
from genz_ppl.inference.worth.links import INTERACTION, LINEAR, NEURAL
from genz_ppl.models import GenZ
from genz_ppl.settings import AUTO

# Of a `Progress`, what JSON holds as it is.
_PLAIN = (
    "bound",
    "n_test",
    "outcome",
    "link_scores",
    *(each.name for each in fields(Progress) if isinstance(each.default, int | str)),
)
# Answers by wording, of the items of each side.
POOLS = ("pool", "test_pool", "held_pool")
# The same by annotator, and by people: of runs that have such.
BESIDE = ("layers", "gold")


def state_bytes(progress: Progress) -> bytes:
    """The content of the state file of a run at a step boundary."""
    tensors, best = state_tensors("model", progress.state), progress.best
    if best is not None:
        tensors |= state_tensors("best", best.state)
    arrays = as_arrays(tensors)
    for name in POOLS:
        arrays[name] = to_bits(list(getattr(progress, name).values()))
    for name in BESIDE:
        if columns := list(getattr(progress, name).values()):
            arrays[name] = np.stack(columns)
    arrays["splits"] = np.stack(progress.splits) if progress.splits else np.zeros((0, 0), dtype=np.uint8)
    plain = {
        **{name: getattr(progress, name) for name in _PLAIN},
        "features": [asdict(record) for record in progress.features],
        "curve": [{**row, "seconds": 0.0} for row in progress.curve],
        "counters": asdict(progress.counters),
        **{name: list(getattr(progress, name)) for name in POOLS},
        **{name: list(getattr(progress, name)) for name in BESIDE if getattr(progress, name)},
        **({"bills": progress.bills} if progress.bills else {}),
        "best": None if best is None else {name: getattr(best, name) for name in ("step", "ids", "bound", "judged", "freedoms")},
    }
    return packed(arrays, plain)


def load_progress(directory: RunDirectory, record: RunRecord) -> Progress | None:
    """The last step boundary of a run, or None if it was stopped before its first."""
    if (found := directory.state(PROGRESS)) is None:
        return None
    try:
        arrays, plain = found
        if (turned := plain.get("likelihood", "")) not in ("", GAUSSIAN, STUDENT_T):  # others may name code
            raise ValueError(f"no run comes to the likelihood {turned!r} by itself")
        if (link := plain.get("link", "")) not in ("", AUTO, LINEAR, INTERACTION, NEURAL):
            raise ValueError(f"no run comes to the link {link!r} by itself")
        link = record.settings.link if link in ("", AUTO) else link
        tensors, model = as_tensors(arrays), blank_model(record, turned or record.settings.likelihood, link)
        best = None if plain["best"] is None else Snapshot(state=state_from("best", model, tensors), **plain["best"])
        progress = Progress(
            state=state_from("model", model, tensors),
            features=features_of(plain),
            curve=plain["curve"],
            counters=Counters(**plain["counters"]),
            splits=list(arrays.get("splits", ())),
            best=best,
            **{name: plain[name] for name in _PLAIN if name in plain},  # what an older version did not note has its default
        )
        progress.bills = plain.get("bills", {})
        for name in BESIDE:
            setattr(progress, name, dict(zip(plain.get(name, ()), arrays.get(name, ()), strict=True)))
        for name, side in zip(POOLS, AllSides.model_fields, strict=True):
            columns = from_bits(arrays[name], len(getattr(record.split, side))) if name in arrays else ()
            setattr(progress, name, dict(zip(plain.get(name, ()), columns, strict=True)))
        untested = bool(record.settings.test_at_end) and progress.status != "done"
        _check_sizes(progress, record.split, untested)
    except UNREADABLE as error:
        raise directory.unreadable(error) from None
    progress.seconds = progress.curve[-1]["seconds"]
    return progress


def scaling_of(record: RunRecord) -> Scaling:
    """The scaling of the run."""
    return Scaling(**{name: torch.tensor(values, dtype=torch.float64) for name, values in dict(record.scaling).items()})


def blank_model(record: RunRecord, likelihood: str, link: str) -> GenZ:
    """A model of the run's kind without features."""
    settings, scaling = record.settings, scaling_of(record)
    sizes = (0, len(scaling.target_centre), scaling.n_columns)
    kind = (link, likelihood, settings.error_rate_prior)
    with isolated(0):
        classes, pooling = record.n_classes, scaling.pooling
        model = build_model(*sizes, *kind, n_classes=classes, pooling=pooling, **model_options(settings, sizes[1]))
    if record.raters:
        model.features.pool_annotators(len(record.raters), int(record.gold))
    return model


def as_arrays(tensors: dict[str, Tensor]) -> Arrays:
    """A tensor may be a view with any strides and on any device; the arrays are plain rows."""
    return {name: value.detach().cpu().clone(memory_format=torch.contiguous_format).numpy() for name, value in tensors.items()}


def as_tensors(arrays: Arrays) -> dict[str, Tensor]:
    """The reverse of `as_arrays`."""
    return {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}


def state_tensors(prefix: str, state: State) -> dict[str, Tensor]:
    """A state as tensors whose names start with the prefix."""
    tensors = {f"{prefix}.{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"{prefix}_error_rates": state.error_rates, f"{prefix}_posterior": state.posterior}
    if state.uncertainty is not None:
        tensors[f"{prefix}_uncertainty"] = state.uncertainty.root
        if state.uncertainty.draws is not None:
            tensors[f"{prefix}_draws"] = state.uncertainty.draws
    if state.group_covariance is not None:
        tensors[f"{prefix}_effects"] = state.group_covariance
    if state.coefficient_covariance is not None:
        tensors[f"{prefix}_coefficient_covariance"] = state.coefficient_covariance
    if state.moments is not None:
        tensors |= {f"{prefix}_moments.{name}": value for name, value in state.moments.tensors().items()}
    return tensors


def state_from(prefix: str, blank: GenZ, tensors: dict[str, Tensor]) -> State:
    """The inverse of `state_tensors`. blank: a model of the same kind, any number of features."""
    model, rates = copy.deepcopy(blank), tensors[f"{prefix}_error_rates"]
    model.features.n_features = len(rates)
    if rates.dim() == 2 and model.features.common is None:  # told apart at the end of the run
        model.features.tell_apart()
    model.link = model.link.with_columns([], len(rates))
    start = len(prefix) + 1
    model.load_state_dict({name[start:]: value for name, value in tensors.items() if name.startswith(f"{prefix}.")})
    root = tensors.get(f"{prefix}_uncertainty")
    start = len(f"{prefix}_moments.")
    moments = {name[start:]: value for name, value in tensors.items() if name.startswith(f"{prefix}_moments.")}
    return State(
        model,
        rates,
        tensors[f"{prefix}_posterior"],
        None if root is None else Uncertainty(root, tensors.get(f"{prefix}_draws")),
        Moments.from_tensors(moments) if moments else None,
        tensors.get(f"{prefix}_effects"),
        tensors.get(f"{prefix}_coefficient_covariance"),
    )


def _has_its_covariance(state: State) -> bool:
    """Whether a state knows how uncertain coefficients are, where they have a prior whose spreads are learned, and only there."""
    link, covariance = state.model.link, state.coefficient_covariance
    if covariance is None or getattr(link, "shrinkage", None) is None:
        return covariance is None and getattr(link, "shrinkage", None) is None
    size = link.coefficients().shape[:2].numel()
    return covariance.shape == (link.n_targets, size, size) and covariance.dtype == torch.float64


def _check_sizes(progress: Progress, split: AllSides, untested: bool) -> None:
    """Raise ValueError unless features, answers and states of a run on these items belong together.

    untested: the test items need not have been asked about yet.
    """
    n_train, n_test, n_held = len(split.train), len(split.test), len(split.held)
    known, best = {record.id for record in progress.features}, [] if progress.best is None else [progress.best]
    agreed = (
        (progress.n_test, progress.n_held) == (n_test, n_held)
        and len(known) == len(progress.features)
        and all(known >= {*each.ids} for each in best)
    )
    for state, n_features in [(progress.state, len(progress.active)), *((each.state, len(each.ids)) for each in best)]:
        rates, posterior = state.error_rates, state.posterior
        features = state.model.features
        apart = (features.annotators,) if features.annotators else (2,) if features.asymmetric else ()
        agreed &= rates.shape == (n_features, *apart) and posterior.shape == (n_train, n_features)
        agreed &= rates.dtype == posterior.dtype == torch.float64 and bool(((posterior >= 0) & (posterior <= 1)).all())
        agreed &= bool(((rates > 0) & (rates < 1)).all()) and _has_its_covariance(state)
    for pool, n_items in ((progress.pool, n_train), (progress.test_pool, n_test), (progress.held_pool, n_held)):
        agreed &= all(column.shape == (n_items,) and column.dtype == np.int8 for column in pool.values())
    learned = (progress.state.model.features.annotators or 0) - progress.state.model.features.known
    for layer in progress.layers.values():
        agreed &= layer.shape == (n_train + n_test + n_held, learned) and layer.dtype == np.int8
    agreed &= all(labels.shape == (n_train,) and labels.dtype == np.int8 for labels in progress.gold.values())
    agreed &= progress.pool.keys() >= {record.text for record in progress.active} and (untested or progress.tested)
    agreed &= n_held == 0 or progress.status != "done" or progress.held_asked
    agreed &= all(shown.shape == (n_train,) and shown.dtype == np.uint8 for shown in progress.splits)
    if not agreed:
        raise ValueError("its parts do not belong together, or not to these items")
