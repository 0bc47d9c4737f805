"""The export runs through ArviZ, comes back from disk as it was, and says what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genz_ppl.diagnostics.inference_data import effect_summary, leave_one_out, to_inference_data, write_netcdf
from genz_ppl.inference.feature_effects import feature_effects


@pytest.fixture(scope="module")
def exported(world: Any) -> Any:
    return to_inference_data(world.fitted, world.draws)


def test_groups_dimensions_and_coordinates(exported: Any) -> None:
    groups = {"posterior", "features", "posterior_predictive", "log_likelihood", "observed_data", "constant_data"}
    assert set(exported.groups()) == groups
    posterior = exported.posterior
    assert exported.features["z"].dims == ("chain", "draw", "item", "feature")
    assert posterior["p_e"].dims == ("chain", "draw", "feature")
    assert posterior["weights"].dims == ("chain", "draw", "feature")
    assert posterior["covariate_weights"].dims == ("chain", "draw", "covariate")
    assert exported.log_likelihood["y"].dims == ("chain", "draw", "item")
    assert posterior["feature"].values.tolist() == ["größer als zehn", "colour is red", "colour is red (2)"]
    assert exported.features["item"].values[:2].tolist() == ["item 0", "item 1"]
    assert posterior.sizes["chain"] == 1
    assert posterior.sizes["draw"] == 100


def test_draws_are_about_the_fit(exported: Any, world: Any) -> None:
    q = exported.features["z"].mean(("chain", "draw")).values
    np.testing.assert_allclose(q, world.result.posterior, atol=5 * 0.5 / np.sqrt(100))
    weights = exported.posterior["weights"].values[0]
    point, spread = world.result.parameters["weights"][:, 0], weights.std(axis=0)
    np.testing.assert_allclose(weights.mean(axis=0), point, atol=0.15)
    # The spread of a least-squares estimate with this noise, of both densities by their shares, and these many items.
    features = world.result.posterior
    design = np.column_stack([features, np.ones(150), world.fitted.covariates.numpy()])[np.arange(150) != 5]
    model = world.result.state.model
    precision = (
        model.share * float(model.likelihood.scale.detach()) ** -2
        + (1 - model.share) * float(model.marginal.scale.detach()) ** -2
    )
    noise = float(world.result.scaling.target_spread[0]) * precision**-0.5
    theory = noise * np.sqrt(np.diag(np.linalg.inv(design.T @ design)))[:3]
    np.testing.assert_allclose(spread, theory, rtol=0.35)


def test_error_rates_are_uncertain_by_as_much_as_the_answers_leave_them(exported: Any, world: Any) -> None:
    rates = exported.posterior["p_e"].values[0]
    wrong = np.mean(world.fitted.answers.numpy()[:, 0] != world.truth[:, 0])
    assert rates[:, 0].mean() == pytest.approx(wrong, abs=0.04)
    theory = np.sqrt(wrong * (1 - wrong) / 150)
    assert 0.6 * theory < rates[:, 0].std() < 2 * theory
    assert rates[:, 1].mean() < 0.03


def test_it_comes_back_from_disk_as_it_was(exported: Any, tmp_path: Path) -> None:
    import arviz

    write_netcdf(exported, tmp_path / "posterior.nc")
    again = arviz.from_netcdf(str(tmp_path / "posterior.nc"))
    assert set(again.groups()) == set(exported.groups())
    for group in exported.groups():
        for name, values in exported[group].data_vars.items():
            np.testing.assert_array_equal(again[group][name].values, values.values)
            assert again[group][name].dims == values.dims
    assert again.posterior["feature"].values.tolist() == exported.posterior["feature"].values.tolist()
    first = (tmp_path / "posterior.nc").read_bytes()
    write_netcdf(exported, tmp_path / "posterior.nc")
    assert (tmp_path / "posterior.nc").read_bytes() == first
    assert [path.name for path in tmp_path.iterdir()] == ["posterior.nc"]


@pytest.mark.filterwarnings("ignore")  # ArviZ's own, of pandas, matplotlib and its coming version
def test_arviz_runs_on_it(exported: Any) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import arviz
    from matplotlib import pyplot

    assert np.isfinite(arviz.loo(exported).elpd_loo)
    table = arviz.compare({"one": exported, "other": exported})
    assert len(table) == 2
    assert arviz.plot_ppc(exported, num_pp_samples=20) is not None
    # By default, and without a word: z of all items is not among what they take.
    assert len(arviz.summary(exported, kind="stats")) == 12
    for plot in (arviz.plot_forest, arviz.plot_trace, arviz.plot_posterior):
        assert plot(exported) is not None
    seen = exported.sel(item=exported.observed_data["item"].values[6:])
    assert arviz.plot_loo_pit(seen, y="y") is not None
    pyplot.close("all")


def test_leave_one_out_counts_the_parameters(exported: Any) -> None:
    found = leave_one_out(exported)
    assert found.elpd == pytest.approx(found.pointwise.sum())
    assert 3 < found.effective_parameters < 12  # three weights, intercept, covariate, scale, and error rates
    assert found.pareto_k.shape == (150,)
    assert found.pareto_k[5] == 0  # it has no target, so that nothing hangs on it: NaN where rounding had its say
    assert np.unique(exported.log_likelihood["y"].values[..., 5]).tolist() == [0.0]
    assert np.mean(found.pareto_k > 0.7) < 0.05


def test_summary_has_the_effects_of_the_table_and_no_r_hat(exported: Any, world: Any) -> None:
    table = effect_summary(world.fitted, exported)
    assert list(table.columns) == ["mean", "sd", "lower", "upper"]
    assert (table["lower"] < table["mean"]).all()
    names = [f"effect[{text}]" for text in ("größer als zehn", "colour is red", "colour is red (2)")]
    assert list(table.index) == [*names, "scale"]
    found, drawn = feature_effects(world.fitted), exported.posterior["effect"].values[0]
    np.testing.assert_array_equal(table["mean"][:3], found.mean[:, 0])
    np.testing.assert_array_equal(np.array(found.table)[1:, :].T, table[["lower", "upper"]][:3])
    # The mean of 100 draws, and their spread, within four standard errors.
    np.testing.assert_array_less(np.abs(drawn.mean(axis=0) - found.mean[:, 0]), 4 * found.sd[:, 0] / 10)
    np.testing.assert_allclose(drawn.std(axis=0), found.sd[:, 0], rtol=4 / np.sqrt(200))


def test_same_fit_same_export(world: Any) -> None:
    from genz_ppl.inference.posterior import posterior_draws

    again = posterior_draws(world.fitted, n=100)
    np.testing.assert_array_equal(again.z, world.draws.z)
    np.testing.assert_array_equal(again.log_likelihood, world.draws.log_likelihood)
