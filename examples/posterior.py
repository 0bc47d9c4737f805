"""The posterior in ArviZ: effects with intervals, leave-one-out, and features by the texts they have.

python examples/posterior.py
genz diagnose runs/houses     # of a run on real data, see houses.py; writes posterior.nc, which arviz.from_netcdf opens
"""

from __future__ import annotations

import arviz
import numpy as np
import pandas as pd

from genz_ppl import Items, discover

random = np.random.default_rng(0)
frame = pd.DataFrame({"colour": random.choice(["red", "green", "blue"], 150), "size": random.integers(0, 10, 150)})
frame["price"] = 3.0 * (frame["colour"] == "red") + 1.0 * (frame["size"] >= 5) + 0.3 * random.normal(size=150)

run = discover(Items.from_frame(frame, target="price"), cycles=1, add=3, cut=0)
posterior = run.to_inference_data()
print(arviz.summary(posterior, var_names=["effect", "p_e"], kind="stats"))
loo = arviz.loo(posterior)
print(f"elpd {loo.elpd_loo:.1f}, {loo.p_loo:.1f} effective parameters")
