"""Which engine moves a model on its data, and how often: the one place that asks what link and likelihood are."""

from __future__ import annotations

from genz_ppl.errors import OptionError
from genz_ppl.inference.engines.base import Engine
from genz_ppl.inference.engines.plug_in import PlugIn
from genz_ppl.inference.engines.plugged import Plugged
from genz_ppl.inference.engines.sums import closed_form_for
from genz_ppl.inference.guided.through import ThroughProgram
from genz_ppl.inference.state import Data
from genz_ppl.models import GenZ
from genz_ppl.setting_fields import check_choice
from genz_ppl.settings import EXPECTATION_NAMES

# Of the steps of a refit so many parts are left out where an M-step is a descent, and where it is the training of a network.
DESCENT, TRAINING = 3, 5


def engine_for(
    model: GenZ,
    data: Data,
    expectation: str = "auto",
    first: bool = True,
    joint_moves: bool = True,
    combinations: float = 0.0,
) -> Engine:
    """The engine that takes expectations as named: exact (see `closed_form`), mode, sample, or auto (exact if it can be).

    first: False when the model's parameters are already fitted, so that gradient M-steps may be short. joint_moves,
    combinations: see `ClosedForm`; without closed forms any but 0 is `Plugged`. Raises OptionError for exact where there is none.
    """
    check_choice("expectation", expectation, EXPECTATION_NAMES)
    if expectation == "exact" and not model.is_mixture:
        raise OptionError(
            "expectation: 'exact' needs the linear or interaction link with a gaussian, isotropic, student_t or laplace "
            "likelihood; use 'mode' or 'sample'"
        )
    if expectation in ("exact", "auto") and model.link.adds_up and not model.shortcuts:
        return ThroughProgram(data)
    if expectation in ("exact", "auto") and model.has_closed_form:
        return closed_form_for(model, data, joint_moves, combinations)
    if combinations and expectation == "auto":
        return Plugged(data, first)
    return PlugIn(data, mode=expectation != "sample", first=first)


def steps_of(model: GenZ, wanted: int) -> int:
    """E- and M-steps of a refit: fewer where an M-step is training."""
    return wanted if model.has_closed_form else max(1, wanted // (DESCENT if model.link.adds_up else TRAINING))
