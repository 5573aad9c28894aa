from __future__ import annotations

from dataclasses import replace

import pyhf
import pytest

from hepgen.errors import DataError, ParameterError
from hepgen.inference.exchange.combination import combine_workspaces
from hepgen.inference.exchange.pyhf_workspace import PyhfWorkspace
from tests.inference.exchange import analyses

# pyhf's own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Creating a tensor from a list:UserWarning"),
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
]


def test_two_data_sets_are_worth_the_root_of_two() -> None:
    one, other = (PyhfWorkspace.of(analyses.angle_model(name=n)) for n in ("first", "second"))
    both = combine_workspaces(one, other)
    pyhf.schema.validate(both.spec, "workspace.json")
    single, combined = one.fit(charge_confusion=0.005), both.fit(charge_confusion=0.005)
    name = "sin2_theta_w"
    assert combined[name].error == pytest.approx(single[name].error / 2**0.5, rel=3e-3)
    # The constraint is there once.
    assert both.model().config.auxdata_order == ["charge_confusion"]
    assert both.model().config.nauxdata == 1


def test_what_does_not_belong_together_is_refused() -> None:
    one = PyhfWorkspace.of(analyses.angle_model(name="first"))
    with pytest.raises(DataError, match="channels first are in both"):
        combine_workspaces(one, one)
    other = PyhfWorkspace.of(analyses.angle_model(name="second"))
    moved = replace(other.entries["sin2_theta_w"], centre=0.232)
    odd = replace(other, entries={**other.entries, "sin2_theta_w": moved})
    with pytest.raises(ParameterError, match=r"two ways: centre 0\.2312 and 0\.232"):
        combine_workspaces(one, odd)
    with pytest.raises(ParameterError, match="parameters of interest mu and sin2_theta_w"):
        combine_workspaces(one, PyhfWorkspace.of(analyses.bump_model()))
