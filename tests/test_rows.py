from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.cells import coded, text_cells
from genz_ppl.rows import places_of

NAMES = st.text("ab", max_size=4)


@given(st.lists(NAMES, max_size=6), st.lists(NAMES, max_size=60))
def test_names_are_found_where_they_are_first(names: list[str], known: list[str]) -> None:
    expected = [known.index(name) if name in known else -1 for name in names]
    for cells in (text_cells, coded):
        found = places_of(cells(names), cells(known))
        assert found.dtype == np.int64
        assert found.tolist() == expected
