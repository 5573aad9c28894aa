"""Streams of random numbers, and how a chain presents itself; its laws are in contracts/."""

from __future__ import annotations

import pytest
import torch

from hepgen.simulators.chain import Chain, stream
from hepgen.simulators.parton import DrellYan
from hepgen.simulators.processes.registry import process


def test_streams_are_distinct_and_fixed() -> None:
    seeds = {
        stream(seed, stage, block)
        for seed in range(10)
        for stage in ("parton", "isr", "fsr", "detector")
        for block in range(100)
    }

    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Files of an older version must be reproducible: this number may not change.
    assert stream(7, "parton", 3) == 302399191605553147


def test_parameters_of_all_stages_in_order() -> None:
    names = process("zmumu").parameters.names

    assert names == (
        "m_z", "gamma_z", "sin2_theta_w", "background_fraction", "background_slope",
        "alpha_s", "primordial_kt", "muon_scale", "muon_resolution", "muon_efficiency",
    )  # fmt: skip


def test_a_trace_knows_its_shape_and_its_jagged_latents() -> None:
    chain = process("zmumu")
    masses = torch.tensor([[90.0], [91.0], [92.0]], dtype=torch.float64)
    trace = chain.simulate(chain.parameters.values() | {"m_z": masses}, 40, seed=1)

    assert trace.shape == (3, 40)
    assert {n for n in trace.masks if n.startswith("photon")} == {
        "photon_fraction", "photon_leg", "photon_angle", "photon_azimuth",
    }  # fmt: skip
    count = trace.masks["photon_fraction"].sum(-1)
    assert torch.equal(count, trace.sites["n_photons"].long())
    assert "event" not in trace.state


def test_masses_follow_their_own_point() -> None:
    chain = Chain([DrellYan()])
    masses = torch.tensor([[85.0], [95.0]], dtype=torch.float64)
    trace = chain.simulate(chain.parameters.values() | {"m_z": masses}, 4000, seed=1)

    medians = trace.state["mass"].median(-1).values.tolist()
    assert medians == pytest.approx([85.0, 95.0], abs=0.5)
