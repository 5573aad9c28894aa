"""Targets: columns of a chain to vectors and back."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hepgen.errors import SurrogateError
from hepgen.simulators.stage import State
from hepgen.surrogates.target import Column, Target, TargetColumns, related

TARGET = Target(
    stages=("detector",),
    inputs=(Column("true_pt", 2), Column("true_phi", 2, kind="circular")),
    outputs=(
        Column("pt", 2, relation="ratio", to="true_pt"),
        Column("phi", 2, kind="circular", relation="difference", to="true_phi"),
        Column("charge", dtype="int", kind="discrete"),
        Column("found", dtype="bool", kind="discrete", low=0.0, high=1.0),
    ),
    parameters=("scale",),
    fixed={"width": 1.0},
)


def state(seed: int = 0) -> State:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    true_pt, true_phi = 20 + 50 * draw(3, 5, 2), (2 * draw(3, 5, 2) - 1) * math.pi
    phi = torch.remainder(true_phi + 0.3 * draw(3, 5, 2) + math.pi, 2 * math.pi) - math.pi
    return {
        "true_pt": true_pt,
        "true_phi": true_phi,
        "pt": true_pt * (0.9 + 0.2 * draw(3, 5, 2)),
        "phi": phi,
        "charge": (4 * draw(3, 5)).long() - 2,
        "found": draw(3, 5) > 0.5,
    }


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 1000))
def test_decoding_what_was_encoded_gives_the_columns_back(seed: int) -> None:
    before = state(seed)
    after = TARGET.decode(TARGET.encode(before), before)
    assert set(after) == {"pt", "phi", "charge", "found"}
    for name, value in after.items():
        assert value.dtype == before[name].dtype
        torch.testing.assert_close(value, before[name])


def test_relative_variables_do_not_jump_where_an_angle_does() -> None:
    x = TARGET.encode(state())
    assert bool((x[..., 2:4] > -1e-9).all() and (x[..., 2:4] < 0.31).all())


def test_the_context_is_the_columns_and_then_the_parameters() -> None:
    before = state()
    context = TARGET.context(before, {"scale": torch.tensor([[1.0], [2.0], [3.0]])})
    assert context.shape == (3, 5, len(TARGET.context_names))
    assert TARGET.context_names[:3] == ("true_pt_0", "true_pt_1", "cos true_phi_0")
    assert TARGET.context_names[-1] == "scale"
    torch.testing.assert_close(context[..., 0], before["true_pt"][..., 0])
    torch.testing.assert_close(context[..., 2], before["true_phi"][..., 0].cos())
    torch.testing.assert_close(context[:, 0, -1], torch.tensor([1.0, 2.0, 3.0]).double())


def test_an_angle_of_the_context_has_no_seam() -> None:
    before = state()
    turned = before | {"true_phi": before["true_phi"] + 2 * math.pi}
    scale = {"scale": torch.tensor(1.0)}
    torch.testing.assert_close(TARGET.context(before, scale), TARGET.context(turned, scale))


def test_the_training_columns_are_the_same_numbers() -> None:
    before, stage = state(), TargetColumns(TARGET)
    after = stage(before, {})
    x = torch.stack([after[name] for name in stage.x], -1)
    c = torch.stack([after[name] for name in stage.c], -1)
    torch.testing.assert_close(x, TARGET.encode(before))
    torch.testing.assert_close(c, TARGET.context(before, {"scale": torch.ones(())})[..., :-1])


def test_plain_values_and_back() -> None:
    assert Target.from_dict(TARGET.to_dict()) == TARGET


def test_a_column_like_a_value() -> None:
    assert Column.like("a", torch.zeros(2, 3)) == Column("a")
    assert Column.like("a", torch.zeros(2, 3, 4).long()) == Column("a", 4, "int", "discrete")
    assert Column.like("a", torch.zeros(2, 3).bool()) == Column(
        "a", 0, "bool", "discrete", 0.0, 1.0
    )
    with pytest.raises(SurrogateError, match="column 'a' has the shape"):
        Column.like("a", torch.zeros(2, 3, 4, 5))


def test_what_only_selected_events_have() -> None:
    """It is zero in others, and an event without it, or outside the window, is not selected."""
    mass = Column("mass", relation="ratio", to="true", if_selected=True, window=(60.0, 120.0))
    target = Target(
        ("reco",), (Column("true"),),
        (mass, Column("selected", dtype="bool", kind="discrete", low=0.0, high=1.0)), (), {},
    )  # fmt: skip
    assert Target.from_dict(target.to_dict()) == target
    assert mass.feature("mass").kind == "zero_inflated"
    true = torch.full((1, 4), 100.0, dtype=torch.float64)
    made = {
        "true": true,
        "mass": torch.tensor([[95.0, math.nan, 70.0, 80.0]]).double(),
        "selected": torch.tensor([[True, False, True, False]]),
    }
    x = target.encode(made)
    assert x[0, :, 0].tolist() == pytest.approx([0.95, 0.0, 0.7, 0.0])
    drawn = torch.tensor([[[0.9, 1.0], [0.0, 1.0], [1.3, 1.0], [0.9, 0.0]]]).double()
    assert target.decode(drawn, {"true": true})["selected"].tolist() == [
        [True, False, False, False]
    ]


def test_a_count_of_zero_is_no_reason_not_to_be_selected() -> None:
    count = Column("tags", kind="discrete", low=0.0, high=2.0, if_selected=True)
    missing = Column("met", kind="zero_inflated", if_selected=True)
    chosen = Column("selected", dtype="bool", kind="discrete", low=0.0, high=1.0)
    target = Target(("reco",), (), (count, missing, chosen), (), {})
    columns = target.decode(torch.tensor([[[0.0, 0.0, 1.0]]]).double(), {})
    assert bool(columns["selected"].all())


def test_what_kind_a_column_is_follows_from_the_events_that_have_it() -> None:
    value = torch.tensor([[0.0, 91.2, 88.3]], dtype=torch.float64)
    assert Column.like("mass", value).kind == "zero_inflated"
    assert Column.like("mass", value, value > 0).kind == "continuous"


def test_an_angle_of_an_event_that_is_not_selected_is_spread_evenly() -> None:
    """At one value it would be an atom in a density."""
    phi = Column("phi", kind="circular", if_selected=True)
    target = Target(
        ("reco",), (), (phi, Column("selected", dtype="bool", kind="discrete", low=0.0, high=1.0)),
        (), {},
    )  # fmt: skip
    nothing = torch.full((1, 1000), math.nan, dtype=torch.float64)
    x = target.encode({"phi": nothing, "selected": torch.zeros(1, 1000, dtype=torch.bool)})[..., 0]
    assert bool(((x >= -math.pi) & (x < math.pi)).all())
    counts = torch.histc(x, 10, -math.pi, math.pi)
    assert bool(((counts - 100).abs() <= 2).all())


def test_what_a_workflow_says_of_columns() -> None:
    columns = related(
        [Column("phi"), Column("pt")],
        {"phi": {"difference": "true_phi", "kind": "circular"}},
    )
    assert columns == [
        Column("phi", kind="circular", relation="difference", to="true_phi"), Column("pt")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1.5, 2.5, -3.0], "continuous"),
        ([1.5, 0.0, 2.5], "zero_inflated"),
        ([-1.0, 1.0, -1.0], "discrete"),
        ([1.0, 1.0, 1.0], "discrete"),
        ([0.0, 0.0, 0.0], "continuous"),
    ],
)
def test_a_column_is_of_the_kind_of_its_values(values: list[float], kind: str) -> None:
    assert Column.like("x", torch.tensor(values, dtype=torch.float64)[None]).kind == kind
