"""Large fits, whose posteriors are float32, find what fits in float64 find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genz_ppl.errors import InputError
from genz_ppl.inference import fit, packed
from genz_ppl.inference.packed import packed_data
from genz_ppl.settings import FitSettings


def made(n_items: int = 9000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers of 5 questions, one in twenty wrong and some missing, 3 targets far from 0, 2 covariates."""
    random = np.random.default_rng(5)
    z = (random.random((n_items, 5)) < 0.4).astype(float)
    answers = np.where(random.random(z.shape) < 0.05, 1 - z, z)
    answers[random.random(z.shape) < 0.03] = np.nan
    covariates = 100 + 7 * random.normal(size=(n_items, 2))
    targets = 50 + z @ random.normal(size=(5, 3)) + covariates @ random.normal(size=(2, 3)) + random.normal(size=(n_items, 3))
    return answers, targets, covariates


@pytest.mark.parametrize(
    "options",
    [{}, {"calibration": 0.0, "shrinkage": False}, {"likelihood": "isotropic"}, {"inference": "coordinate"}],
    ids=["defaults", "the paper's", "isotropic", "coordinate"],
)
def test_packed_fits_are_those_in_float64(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    answers, targets, covariates = made()
    usual = fit(answers, targets, covariates, steps=8, **options)
    monkeypatch.setattr(packed, "LARGE", 0)
    found = fit(answers, targets, covariates, steps=8, **options)
    assert [str(one.posterior.dtype) for one in (usual, found)] == ["float64", "float32"]
    assert "float32" in repr(found)
    assert "float32" not in repr(usual)
    np.testing.assert_allclose(found.posterior, usual.posterior, atol=1e-6)
    np.testing.assert_allclose(found.error_rates, usual.error_rates, atol=1e-7)
    np.testing.assert_allclose(found.bounds, usual.bounds, rtol=1e-8)
    for name, value in usual.parameters.items():
        np.testing.assert_allclose(found.parameters[name], value, rtol=1e-6, atol=1e-7)
    expected = usual.predict(answers[:50], covariates[:50])
    np.testing.assert_allclose(found.predict(answers[:50], covariates[:50]), expected, atol=1e-6)
    density = found.fitted(answers, targets, covariates)
    assert density.state.posterior.dtype == torch.float64


def test_a_fit_without_noise_is_summed_item_by_item(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, _, _ = made()
    answers = np.nan_to_num(answers)
    targets = answers @ np.array([[1.0], [2.0], [0.5], [0.0], [1.0]])
    options: dict[str, Any] = {"steps": 8, "calibration": 0.0, "shrinkage": False, "error_rate_prior": (1.0, 1e6)}
    usual = fit(answers, targets, **options)
    monkeypatch.setattr(packed, "LARGE", 0)
    found = fit(answers, targets, **options)
    np.testing.assert_allclose(found.parameters["scale"], usual.parameters["scale"], rtol=1e-3)
    assert float(found.parameters["scale"][0]) < 1e-2


def test_numbers_of_any_type_and_files_are_taken_as_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    answers, targets, _ = made()
    answers = np.nan_to_num(answers)
    monkeypatch.setattr(packed, "LARGE", 0)
    small = answers.astype(np.int8), targets.astype(np.float32)
    data = packed_data(*small, None, FitSettings())
    assert data is not None
    assert data.given_targets is small[1]
    found = fit(*small, steps=3)
    np.testing.assert_allclose(found.posterior, fit(answers, small[1].astype(np.float64), steps=3).posterior, atol=1e-6)
    given = torch.from_numpy(answers), torch.from_numpy(small[1])
    np.testing.assert_array_equal(fit(*given, steps=3).posterior, found.posterior)
    np.save(tmp_path / "targets.npy", small[1])
    mapped = np.load(tmp_path / "targets.npy", mmap_mode="r")
    np.testing.assert_array_equal(fit(small[0], mapped, steps=3).posterior, found.posterior)


def test_what_steps_do_not_hold_for_or_is_wrong_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, targets, covariates = made(200)
    usual = FitSettings()
    assert packed_data(answers, targets, covariates, usual) is None, "not large"
    monkeypatch.setattr(packed, "LARGE", 0)
    assert packed_data(answers, targets, covariates, usual) is not None
    for settings in (
        FitSettings(likelihood="student_t"),
        FitSettings(link="interaction"),
        FitSettings(error_rates="auto"),
        FitSettings(inference="svi", calibration=0.0, shrinkage=False),
        FitSettings(shortcuts=False, calibration=0.0, shrinkage=False),
    ):
        assert packed_data(answers, targets, covariates, settings) is None
    missing, constant, infinite = targets.copy(), targets.copy(), targets.copy()
    missing[3, 1], constant[:, 0], infinite[5, 2] = np.nan, 1.5, np.inf
    assert fit(answers, missing, covariates, steps=2).posterior.dtype == np.float64
    for given, expected in ((constant, "column 0 is constant"), (infinite, "expected finite numbers or NaN")):
        with pytest.raises(InputError, match=expected):
            fit(answers, given, covariates)
    answers[7, 2] = 3
    with pytest.raises(InputError, match="expected 1, 0 or NaN, got 3 at row 7, column 2"):
        fit(answers, targets, covariates)
    free = answers.copy()
    free[:, 1] = np.nan
    assert packed_data(free, targets, covariates, usual) is None
