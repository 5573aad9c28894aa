"""Options that no family can use are named when it is built, before hours of training."""

from __future__ import annotations

import math
from typing import Any

import pytest

from hepgen.errors import SurrogateError
from hepgen.features import Feature
from hepgen.surrogates.families import FAMILIES, build, check_distilled
from tests.contracts.families import CASES

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("flow", {"layers": 0}, "layers = 0; expected a whole number, 1 at least"),
    ("flow", {"bins": 0}, "bins = 0"),
    ("flow", {"hidden": [16, 0]}, r"hidden = \[16, 0\]; expected a width"),
    ("coupling", {"tail": math.nan}, "tail = nan; expected a number from 0"),
    ("diffusion", {"variance": "learned", "steps": 1}, "variance = 'learned'"),
    ("diffusion", {"steps": 2.5}, "steps = 2.5"),
    ("diffusion", {"likelihood_steps": 15}, "likelihood_steps = 15; expected an even number"),
    ("diffusion", {"likelihood_steps": 0}, "likelihood_steps = 0"),
    ("diffusion", {"probes": -2}, "probes = -2"),
    ("diffusion", {"drop": 1.5}, "drop = 1.5; expected a number from 0 to 1"),
    ("diffusion", {"hidden": "wide"}, "hidden = 'wide'"),
    ("mixture", {"components": 0}, "components = 0"),
    ("mixture", {"hidden": []}, "options of the autoregressive mixture"),
    ("cnf", {"training_steps": 0}, "training_steps = 0"),
    ("cnf", {"kinetic": -1.0}, "kinetic = -1.0"),
    ("cnf", {"width": 0}, "width = 0"),
    ("vae", {"latent": -1}, "latent = -1"),
    ("vae", {"beta": -1.0}, "beta = -1.0"),
    ("vae", {"free_bits": math.nan}, "free_bits = nan"),
    ("vae", {"latnet": 2}, "there is no 'latnet'"),
]


@pytest.mark.parametrize(("method", "options", "words"), REFUSED)
def test_what_no_family_can_use_is_named(method: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(SurrogateError, match=words):
        build(method, 3, 1, options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.method)
def test_every_family_is_built_with_its_defaults_and_with_small_ones(case: Any) -> None:
    assert build(case.method, 3, 1, {}).features == 3
    assert build(case.method, 3, 1, case.options).features == 3
    assert {one.method for one in CASES} == set(FAMILIES)


@pytest.mark.parametrize("kind", ["circular", "discrete", "zero_inflated"])
def test_what_cannot_be_distilled_is_said_before_the_teacher_is_trained(kind: Any) -> None:
    check_distilled([Feature("mass"), Feature("pt")])
    with pytest.raises(SurrogateError, match=f"'n' is {kind}, and what is distilled are plain"):
        check_distilled([Feature("mass"), Feature("n", low=0.0, high=6.0, kind=kind)])
