"""Augmented events and the efficiency of a selection, against closed forms of e⁺e⁻ → μ⁺μ⁻."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, ParameterError
from hepgen.features import Feature
from hepgen.inference.augmented import AugmentedEvents, concatenate
from hepgen.inference.selection_efficiency import SelectionEfficiency
from hepgen.parameters import ParameterSet, Uniform
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity
from hepgen.simulators.processes.registry import process

CHAIN = process("ee_mumu", energies=(89.0,))
DENSITY = ElectronPositronDensity.of(CHAIN)
# The slope is the efficiency's: it says how many muon pairs are lost at large cosines.
FREE = {"sin2_theta_w": Uniform(0.2, 0.26), "efficiency_slope": Uniform(0.1, 0.7)}
PARAMETERS = ParameterSet(
    [dataclasses.replace(p, prior=FREE.get(p.name)) for p in CHAIN.parameters]
)
COSINE = (Feature("Dimuon_cos_theta", low=-DENSITY.cos_max, high=DENSITY.cos_max),)
REFERENCE = torch.tensor([0.23, 0.4], dtype=torch.float64)


def log_efficiency(theta: Tensor) -> Tensor:
    """Exact, shape ``(K,)``."""
    values = {n: v[:, None] if v.dim() else v for n, v in PARAMETERS.values(theta).items()}
    total = CHAIN.stages[0].cross_section(values)
    assert total is not None
    return DENSITY.rate(values).log() - total.log().reshape(-1)


@pytest.fixture(scope="module")
def events() -> AugmentedEvents:
    return AugmentedEvents.pairs(CHAIN, PARAMETERS, COSINE, REFERENCE, 60_000, seed=1)


def test_the_efficiency_comes_from_the_scores(events: AugmentedEvents) -> None:
    """ε falls by a fifth over the prior; of it 1 % is asked."""
    efficiency = events.efficiency()
    theta = PARAMETERS.prior().sample((200,), torch.Generator().manual_seed(0))
    found = efficiency.log(theta) - efficiency.log(REFERENCE)
    exact = log_efficiency(theta) - log_efficiency(REFERENCE[None])
    assert exact.max() - exact.min() > 0.15
    assert (found - exact).abs().max() < 0.01


def test_mean_scores_and_ratios_of_selected_events(events: AugmentedEvents) -> None:
    """E[t] = 0 at θ, E[r] = 1 over the reference and E[1/r] = 1 over θ: within 4.5 σ."""
    selected = events.selected(events.efficiency())
    for raw, one in ((True, events), (False, selected)):
        assert one.at_theta is not None
        assert one.log_ratio is not None
        terms = one.score[one.at_theta]
        pull = terms.mean(0) / terms.std(0) * len(terms) ** 0.5
        assert (pull.abs() < 4.5).all() != raw
        ratio = torch.where(one.at_theta, -one.log_ratio, one.log_ratio).exp()
        for part in (ratio[one.at_theta], ratio[~one.at_theta]):
            off = abs(part.mean() - 1) / part.std() * len(part) ** 0.5
            assert raw or off < 4.5


def test_columns_of_a_campaign(events: AugmentedEvents) -> None:
    """From a file's columns comes what the chain gives directly."""
    names, point = PARAMETERS.free_names, dict(zip(PARAMETERS.free_names, [0.23, 0.4], strict=True))
    campaign = Campaign(
        CHAIN, PARAMETERS, 20_000, seed=5, points=16, scores=names, ratios={"middle": point}
    )
    columns = campaign.simulate(0).events
    found = AugmentedEvents.from_events(
        columns, COSINE, PARAMETERS, ratio="middle", reference=REFERENCE
    )
    assert found.score.shape == found.theta.shape == (len(columns), 2)
    selected = found.selected(events.efficiency())
    assert selected.log_ratio is not None
    inverse = (-selected.log_ratio).exp()
    assert abs(inverse.mean() - 1) < 4.5 * inverse.std() / len(inverse) ** 0.5
    with pytest.raises(DataError, match=r"no column 'logr_other'.*--augment"):
        AugmentedEvents.from_events(columns, COSINE, PARAMETERS, ratio="other")
    plain = Campaign(CHAIN, PARAMETERS, 100, seed=5).simulate(0).events
    with pytest.raises(DataError, match=r"'score_sin2_theta_w'.*no joint scores.*--augment"):
        AugmentedEvents.from_events(plain, COSINE, PARAMETERS)


def test_a_parameter_without_a_score_is_refused() -> None:
    chain = process("ee_jets", detector=False)
    prior = {"shower_cutoff": Uniform(0.8, 1.2)}
    free = ParameterSet([dataclasses.replace(p, prior=prior.get(p.name)) for p in chain.parameters])
    with pytest.raises(ParameterError, match="'shower_cutoff' decides which events are possible"):
        AugmentedEvents.pairs(
            chain, free, (Feature("nCharged"),), torch.tensor([1.0]).double(), 100
        )


def test_parts_and_choices(events: AugmentedEvents) -> None:
    first, rest = events[:100], events[100:300]
    again = concatenate([first, rest])
    assert torch.equal(again.x, events.x[:300])
    assert len(events.own) + len(events.at_reference) == len(events)
    assert torch.equal(events.at_reference.theta[0], REFERENCE)
    with pytest.raises(DataError, match="some have not"):
        concatenate([first, dataclasses.replace(rest, log_ratio=None)])
    with pytest.raises(ParameterError, match=r"expected \(2,\): sin2_theta_w"):
        AugmentedEvents.pairs(CHAIN, PARAMETERS, COSINE, REFERENCE[:1], 100)


def test_a_polynomial_is_found_with_signed_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    theta = torch.rand(4000, 2, generator=generator, dtype=torch.float64)
    slope = torch.stack([2 * theta[:, 0] + theta[:, 1], theta[:, 0]], -1)
    weight = torch.where(torch.arange(4000) % 3 == 0, -1.0, 1.0).double()
    found = SelectionEfficiency.fit(theta, slope, weight, degree=2)
    torch.testing.assert_close(found.score(theta), slope)
    exact = theta[:, 0] ** 2 + theta[:, 0] * theta[:, 1]
    difference = found.log(theta) - exact
    assert difference.std() < 1e-9
    with pytest.raises(DataError, match=r"expected \(N, D\) of both"):
        SelectionEfficiency.fit(theta, slope[:, :1])
