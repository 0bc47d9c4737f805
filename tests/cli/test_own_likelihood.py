"""`--likelihood package.module:object`, from the fit to the report, and what a folder may not do with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from genz_ppl import Discovery
from genz_ppl.errors import RunDirectoryError
from genz_ppl.inference import fit as fit_answers
from genz_ppl.models import LIKELIHOODS

NAME = "own_likelihoods:contaminated"


@pytest.mark.slow  # five commands, and trained M-steps
def test_from_the_fit_to_the_report(genz: Any, fit: Any, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit(table, "run", "--likelihood", NAME, "--cycles", 1, "--no-ceiling").code == 0
    assert genz("resume", "run").code == 0
    assert genz("predict", "run", table, "-o", "predicted.csv").code == 0
    assert pd.read_csv("predicted.csv")["mean"].corr(pd.read_csv(table)["y"]) > 0.9
    assert genz("diagnose", "run").code == 0
    assert genz("report", "run").code == 0
    # In another process, of another user: the folder alone must not run code.
    LIKELIHOODS.pop(NAME)
    monkeypatch.setenv("XDG_CACHE_HOME", str(table.parent / "elsewhere"))
    with pytest.raises(RunDirectoryError, match=f"not known as a run of yours, and its likelihood is code, {NAME}"):
        Discovery.load("run")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere:Likelihood", "'nowhere:Likelihood' cannot be imported (ModuleNotFoundError"),
        ("math:pi", "'math:pi' is neither a Likelihood class nor a function"),
        ("torch:sum", "torch:sum does not take a location of shape (1, 1)"),
    ],
)
def test_what_is_no_likelihood_is_refused(fit: Any, table: Path, name: str, message: str) -> None:
    done = fit(table, "run", "--likelihood", name)
    assert done.code == 2
    assert message in done.message


def test_targets_outside_the_support_are_refused_by_a_function_too() -> None:
    import pyro.distributions as dist
    from torch import Tensor

    from genz_ppl.errors import InputError

    def exponential(loc: Tensor) -> dist.Distribution:
        return dist.Exponential((-loc).exp())

    with pytest.raises(InputError, match=r"expected values in the support of .*exponential, got -1 at row 1"):
        fit_answers([[0.0], [1.0]], [[1.0], [-1.0]], likelihood=exponential)
