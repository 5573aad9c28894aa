"""Values that cannot be used are found at every depth."""

from __future__ import annotations

import awkward as ak

from hepgen.io.validity import is_missing, not_finite

NAN = float("nan")


def test_not_finite_and_missing_look_into_every_depth() -> None:
    deep = ak.Array([[[1.0], [NAN]], [], [[2.0]]])
    assert not_finite(deep).tolist() == [True, False, False]
    assert is_missing(ak.Array([[1, None], [], None, [2]])).tolist() == [True, False, True, False]
    assert not not_finite(ak.Array(["nan"])).any()
