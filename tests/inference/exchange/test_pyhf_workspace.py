from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyhf
import pytest
import torch
from torch import Tensor

from hepgen.errors import DataError, FileError, InputError, ParameterError
from hepgen.features import Feature
from hepgen.inference.exchange.binned_model import BinnedModel, Expected, Region, binned_model
from hepgen.inference.exchange.counts import (
    At,
    Counts,
    DensityCounts,
    Difference,
    SampledCounts,
    SimulatedCounts,
    histogram,
)
from hepgen.inference.exchange.pyhf_workspace import PyhfWorkspace
from hepgen.inference.nle import NLE
from hepgen.inference.statistics.fit import fit
from hepgen.parameters import ParameterSet, Uniform
from hepgen.simulators.campaign import Campaign
from tests.inference.exchange import analyses

# pyhf's own.
pytestmark = [
    pytest.mark.filterwarnings("ignore:Creating a tensor from a list:UserWarning"),
    pytest.mark.filterwarnings("ignore:jsonschema.RefResolver:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def model() -> BinnedModel:
    return analyses.bump_model()


def _at(workspace: PyhfWorkspace, values: Mapping[str, float]) -> tuple[float, float]:
    """log L by pyhf and by hepgen."""
    twin, data = workspace.likelihood()
    theirs = workspace.model()
    flat = np.array(theirs.config.suggested_init())
    for name, value in values.items():
        flat[theirs.config.par_map[name]["slice"]] = value
    theta = torch.tensor(
        [[[values.get(n, twin.parameters[n].default) for n in twin.parameters.free_names]]]
    )
    ours = twin.log_likelihoods(data, theta.double()).item()
    return float(theirs.logpdf(flat.tolist(), workspace.data())[0]), ours


def test_a_workspace_is_valid_against_the_schema(model: BinnedModel) -> None:
    workspace = PyhfWorkspace.of(model)
    pyhf.schema.validate(workspace.spec, "workspace.json")
    kinds = {m["type"] for s in workspace.spec["channels"][0]["samples"] for m in s["modifiers"]}
    assert kinds == {"normfactor", "lumi", "normsys", "histosys", "staterror"}
    assert workspace.model().config.poi_name == "mu"


def test_templates_at_one_sigma_are_those_of_the_filler(model: BinnedModel) -> None:
    theirs = PyhfWorkspace.of(model).model()
    for name, shift in (("slope", 1.0), ("slope", -1.0), ("scale", 1.0), ("scale", -1.0)):
        flat = np.array(theirs.config.suggested_init())
        flat[theirs.config.par_map[name]["slice"]] = shift
        theta = torch.tensor([[p.default for p in analyses.BUMP.free]], dtype=torch.float64)
        at = analyses.BUMP.free_names.index(name)
        theta[0, at] += shift * model.entries[name].unit
        exact = analyses.bump(theta, model.channels[0].edges).mean[0]
        assert theirs.expected_actualdata(flat.tolist()) == pytest.approx(exact.numpy(), rel=1e-9)


def test_a_linear_parameter_is_its_tangent_and_says_how_far_it_bends(model: BinnedModel) -> None:
    theirs = PyhfWorkspace.of(model).model()
    flat = np.array(theirs.config.suggested_init())
    flat[theirs.config.par_map["mass"]["slice"]] = 1.0
    theta = torch.tensor([[p.default for p in analyses.BUMP.free]], dtype=torch.float64)
    moved = theta.clone()
    moved[0, 1] += model.entries["mass"].unit
    edges = model.channels[0].edges
    exact, nominal = (analyses.bump(t, edges).mean[0] for t in (moved, theta))
    off = torch.from_numpy(theirs.expected_actualdata(flat.tolist())) - exact
    chi = float((off.square() / nominal).sum().sqrt())
    assert model.curvature["mass"] == pytest.approx(chi, rel=1e-6)
    assert 0 < chi < 0.05


def test_hepgen_reads_it_as_pyhf_does(model: BinnedModel) -> None:
    workspace = PyhfWorkspace.of(model)
    rng = np.random.default_rng(4)
    for _ in range(4):
        values = dict(
            zip(("mu", "mass", "slope", "scale", "lumi"), 1.4 * rng.normal(size=5), strict=True)
        )
        values |= {"mu": abs(values["mu"]), "lumi": 1.01}
        theirs, ours = _at(workspace, values)
        assert ours == pytest.approx(theirs, abs=1e-8)


def test_the_fit_of_pyhf_is_that_of_hepgen(model: BinnedModel) -> None:
    workspace = PyhfWorkspace.of(model)
    found, (twin, data) = workspace.fit(), workspace.likelihood()
    best = fit(twin, data)
    assert found["mu"].value == pytest.approx(1.0, abs=1e-4)
    assert found["lumi_ratio"].error == pytest.approx(best.error("lumi").item(), rel=0.03)
    for name in ("mu", "mass", "slope", "scale"):
        error = best.error(name).item() * model.entries[name].unit
        assert found[name].error == pytest.approx(error, rel=0.03)


def test_a_parameter_that_is_held_stays_and_the_others_follow(model: BinnedModel) -> None:
    workspace = PyhfWorkspace.of(model)
    held = workspace.fit(mass=5.1)
    assert held["mass"].value == pytest.approx(5.1)
    assert held["mass"].error == 0
    with pytest.raises(ParameterError, match="no parameter 'width'"):
        workspace.fit(width=1.0)


def test_it_is_written_and_read(model: BinnedModel, tmp_path: Path) -> None:
    workspace = PyhfWorkspace.of(model)
    workspace.save(tmp_path / "bump.json")
    again = PyhfWorkspace.load(tmp_path / "bump.json")
    assert again == workspace
    (tmp_path / "bump.parameters.json").unlink()
    with pytest.raises(FileError, match="not a workspace of hepgen"):
        PyhfWorkspace.load(tmp_path / "bump.json")


def _cosines(
    events: int, seed: int, parameters: ParameterSet, spread: bool
) -> tuple[Tensor, Tensor]:
    """Selected cosines of the chain, and the θ that made each."""
    campaign = Campaign(
        analyses.CHAIN, parameters, events, seed, prior=spread, block_size=events,
        columns=["Dimuon_cos_theta"], points=32,
    )  # fmt: skip
    found = campaign.simulate(0).events
    x = torch.from_numpy(found.flat(["Dimuon_cos_theta"]))
    names = [f"theta_{name}" for name in parameters.free_names]
    theta = torch.from_numpy(found.flat(names)) if spread else x.new_zeros(0)
    return x, theta.float()


def test_a_workspace_that_a_network_filled_finds_what_the_exact_fit_finds() -> None:
    # Where the asymmetry is large, and its slope nearly constant over the error.
    parameters = ParameterSet(
        [
            replace(p, default=0.21) if p.name == "sin2_theta_w" else p
            for p in analyses.free(analyses.CHAIN, sin2_theta_w=Uniform(0.18, 0.25))
        ]
    )
    x, theta = _cosines(160_000, 1, parameters, spread=True)
    feature = Feature("Dimuon_cos_theta", low=-0.95, high=0.95)
    nle = NLE.fit(
        x, theta, features=[feature], parameters=parameters, components=6, hidden=(32, 32),
        epochs=10, seed=2,
    )  # fmt: skip
    data = _cosines(4000, 5, parameters, spread=False)[0].double()

    def rate(points: Tensor) -> Tensor:
        return torch.full((len(points),), float(len(data)), dtype=torch.float64)

    def found(density: DensityCounts) -> tuple[float, float]:
        counts = histogram(data[:, 0], analyses.edges())
        region = Region("dimuon", analyses.edges(), {"z": Expected(density)}, counts)
        point = parameters["sin2_theta_w"].default
        # The second time around the estimate: the tangent at the default is too far away.
        for _ in range(2):
            filled = binned_model(
                [region], parameters, "sin2_theta_w",
                point={"sin2_theta_w": point}, steps={"sin2_theta_w": 0.004},
            )  # fmt: skip
            one = PyhfWorkspace.of(filled).fit()["sin2_theta_w"]
            point = one.value
        return one.value, one.error

    learned, error = found(DensityCounts(nle, rate))
    exact = analyses.exact(parameters)
    grid = torch.linspace(0.185, 0.24, 2001).double()[:, None]
    height = exact.log_likelihood(data, grid)
    best = grid[height.argmax(), 0].item()
    inside = grid[height > height.max() - 0.5, 0]
    sigma = 0.5 * (inside.max() - inside.min()).item()
    # Binning alone moves the estimate by √(1.03² − 1) = 0.25 σ; the network's density by as much.
    assert abs(learned - best) < 0.6 * sigma
    assert error == pytest.approx(sigma, rel=0.1)
    # With the exact density in the same bins only the binning is left.
    assert abs(found(DensityCounts(exact, rate))[0] - best) < 0.4 * sigma


def test_simulated_templates_are_those_of_the_density() -> None:
    density = analyses.exact()
    luminosity = 1.0 / density.density.rate(analyses.ANGLE.values()).item() * 1000
    theta = torch.tensor([[0.2312, 0.005], [0.235, 0.005], [0.2312, 0.0055]]).double()
    simulated = SimulatedCounts(
        analyses.CHAIN, analyses.ANGLE, "Dimuon_cos_theta", luminosity, 100_000, seed=3
    )(theta, analyses.edges(10))

    def rate(points: Tensor) -> Tensor:
        values = analyses.ANGLE.values(points)
        return luminosity * density.density.rate({n: v[..., None] for n, v in values.items()})

    expected = DensityCounts(density, rate)(theta, analyses.edges(10)).mean
    assert simulated.variance is not None
    pulls = (simulated.mean[0] - expected[0]) / simulated.variance.sqrt()
    # χ² of 10 bins: beyond 29.6 once in a thousand.
    assert float(pulls.square().sum()) < 29.6
    # All points have the same events: their ratio is known far better than each.
    slope = simulated.mean[1] / simulated.mean[0] / (expected[1] / expected[0])
    assert slope.numpy() == pytest.approx(np.ones(10), abs=0.005)


def test_sampled_templates_carry_their_statistics() -> None:
    class Uniforms:
        def sample(self, n: int, theta: Tensor, seed: int = 0) -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            return torch.rand(n, len(theta), 1, generator=generator)

    filler = SampledCounts(Uniforms(), lambda theta: 50.0 * torch.ones(len(theta)), 10_000)
    counts = filler(torch.zeros(2, 1), torch.tensor([0.0, 0.5, 1.0]).double())
    assert counts.mean.sum(1).tolist() == pytest.approx([50.0, 50.0])
    assert counts.variance is not None
    assert counts.variance.tolist() == pytest.approx([50.0**2 * 0.5 / 1e4] * 2, rel=0.05)


def test_the_signal_is_the_difference_of_two_strengths() -> None:
    theta = torch.tensor([[3.0, 5.0, 0.3, 1.0, 1.0]]).double()
    where = torch.tensor([0.0, 4.0, 10.0]).double()
    signal = Difference(analyses.bump, analyses.BUMP, "mu")(theta, where).mean
    rest = At(analyses.bump, analyses.BUMP, "mu", 0.0)(theta, where).mean
    whole = analyses.bump(theta, where).mean
    assert (rest + 3 * signal).numpy() == pytest.approx(whole.numpy())


def test_what_cannot_be_filled_is_refused() -> None:
    def region(filler: object, **options: object) -> Region:
        return Region("r", torch.tensor([0.0, 1.0, 2.0]), {"s": Expected(filler)}, **options)  # type: ignore[arg-type]

    def flat(theta: Tensor, edges: Tensor) -> Counts:
        return Counts(torch.ones(len(theta), len(edges) - 1).double())

    def empty(theta: Tensor, edges: Tensor) -> Counts:
        return Counts((edges[1:] < 1.5).double().expand(len(theta), 2))

    with pytest.raises(ParameterError, match="'mu' is not free"):
        binned_model([region(flat)], analyses.ANGLE, "mu")
    with pytest.raises(ParameterError, match="not proportional to 'lumi_ratio'"):
        binned_model([region(flat)], analyses.BUMP, "mu", luminosity="lumi_ratio")
    with pytest.raises(ParameterError, match="leaves its prior"):
        binned_model([region(flat)], analyses.BUMP, "mu", point={"mass": 6.99})
    with pytest.raises(DataError, match=r"nothing is expected in bin 1, \[1, 2\)"):
        binned_model([region(empty)], analyses.ANGLE, "sin2_theta_w")
    with pytest.raises(DataError, match="counts of 2 bins"):
        region(flat, data=torch.ones(3))
    with pytest.raises(DataError, match=r"2 of 3 events, e\.g\. -1, are in no bin"):
        histogram(torch.tensor([-1.0, 0.5, 3.0]), torch.tensor([0.0, 1.0]))
    still = binned_model([region(flat)], analyses.ANGLE, "sin2_theta_w")
    with pytest.raises(ParameterError, match="no template depends"):
        PyhfWorkspace.of(still)


def test_without_pyhf_the_extra_is_named(
    model: BinnedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyhf", None)
    workspace = PyhfWorkspace.of(model)
    with pytest.raises(InputError, match=r"pip install 'hepgen\[pyhf\]'"):
        workspace.model()


def test_the_backend_that_was_set_comes_back(model: BinnedModel) -> None:
    before = pyhf.get_backend()
    PyhfWorkspace.of(model).fit()
    assert pyhf.get_backend() == before
    assert torch.get_default_dtype() == torch.float32
