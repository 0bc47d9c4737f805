"""The paper's first experiment: the numbers 0 to 511 are explained by their bits, the largest first.

python examples/binary.py     # there is no other data; `genz demo` does the same on the command line
"""

from __future__ import annotations

from genz_ppl import discover
from genz_ppl.data import open_source

run = discover(open_source("binary"), model="rules", algorithm="basic", cycles=1, add=9, cut=0)
print(run.features[["text", "gain"]].to_string(index=False))
