"""A nuisance parameter that no stage has, from two varied files to the posterior."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from hepgen.errors import HepgenError
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.held import Held
from hepgen.inference.interpolation import difference
from hepgen.inference.posterior import PosteriorSample
from hepgen.inference.reweighting import ShapeVariation
from hepgen.inference.statistics.fit import fit
from hepgen.parameters import ParameterSet
from hepgen.pipeline import likelihoods, variations
from hepgen.pipeline.data import DataRequest, read_observed, tensors
from hepgen.pipeline.infer import infer
from hepgen.pipeline.information import information
from hepgen.pipeline.likelihoods import likelihood_of
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.session import Session
from hepgen.pipeline.show import result_words
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.pipeline.variations import variation_key
from hepgen.simulators.campaign import Campaign
from tests.inference.gaussian_chain import MODEL

TINY = Path(__file__).parent / "tiny.toml"
SHIFT, EVENTS = 0.15, 60
"""At ±1 the events are those of θ ± 0.15: the same shift of x at every θ, as it is linear in θ."""

VARIATION = '\n[[variations]]\nname = "scale"\nup = "up.root:Events"\ndown = "down.root:Events"\n'
SETTINGS = ["nle.epochs=12", "nle.batch_size=512", "classifier.epochs=6",
            "classifier.batch_size=2048", "classifier.max_learning_rate=1e-2",
            "statements.intervals=['posterior', 'profile']", "inference.predictive_events=4096",
            "inference.draws=60"]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the gaussian chain at θ = 0 and ± 0.15, and a workflow that names them."""
    folder = tmp_path_factory.mktemp("variations")
    (folder / "varied.toml").write_text(TINY.read_text() + VARIATION)
    for name, theta, number in (("up", SHIFT, 40_000), ("down", -SHIFT, 40_000),
                                ("data", 0.0, EVENTS)):  # fmt: skip
        simulated(folder / f"{name}.root", theta, number, seed=7)
    return folder


def simulated(file: Path, theta: float, events: int, seed: int) -> None:
    chain = Session.open(TINY)
    campaign = Campaign(chain.chain, chain.parameters, events, seed, prior=False,
                        fixed={"theta_0": theta}, block_size=min(events, 8192))  # fmt: skip
    simulate_to_file(campaign, file, provenance={}, monitor=Silent())


def opened(place: Path, *more: str) -> Session:
    run = f"folder={str(place / 'run')!r}"
    return Session.open(place / "varied.toml", [run, *SETTINGS, *more])


def test_a_shift_of_two_files_is_the_shift_of_the_simulator(place: Path) -> None:
    """The exact log p(x | θ + 0.15 ν), and what was learned of it, on the data."""
    session = opened(place)
    x, _ = tensors(session, read_observed(session, data(place)).events)
    likelihood = likelihood_of(session, len(x))
    assert likelihood.parameters.free_names == ("theta_0", "scale")
    sets = likelihood.encode([x], [None])
    best, held = fit(likelihood, sets), fit(likelihood, sets, fixed={"scale": 0.0})
    added = best.error("theta_0")[0].item() ** 2 - held.error("theta_0")[0].item() ** 2
    # Of the two errors, 0.113 and 0.15, that of the variation: with 60 events, noise of the
    # networks looks like a weak measurement of ν.
    assert math.sqrt(added) == pytest.approx(SHIFT, rel=0.4)
    assert best.error("scale")[0].item() == pytest.approx(1.0, rel=0.25)
    # By how much ν changes log L at a θ, whatever the density is that it multiplies.
    theta = torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.1, -1.0], [-0.1, 1.0]]).double()
    nominal = theta * torch.tensor([1.0, 0.0])
    found = likelihood.log_likelihoods(sets, theta[None])[0]
    found = found - likelihood.log_likelihoods(sets, nominal[None])[0]
    exact = MODEL.log_prob(x[:, None].double(), theta[:, :1] + SHIFT * theta[:, 1:]).sum(0)
    exact = exact - MODEL.log_prob(x[:, None].double(), nominal[:, :1]).sum(0)
    # 60 events times an error of r of 2 %, in part common to all.
    torch.testing.assert_close(found, exact - 0.5, atol=0.7, rtol=0)


def test_toys_are_varied(place: Path) -> None:
    likelihood = likelihood_of(opened(place), 4000)
    assert isinstance(likelihood, EventLikelihood)
    toys = likelihood.generate(torch.tensor([[0.0, 1.0], [0.0, -1.0]]).double(), seed=3)
    up, down = toys.channels["data"].events.mean(1)[:, 0].tolist()
    slope = float(MODEL.marginal(torch.ones(1).double()).mean
                  - MODEL.marginal(torch.zeros(1).double()).mean)  # fmt: skip
    # Four standard errors of the mean of 4000 events, twice.
    assert up - down == pytest.approx(2 * SHIFT * slope, abs=0.02 + 4 * (2 * 2 / 4000) ** 0.5)


def test_the_nuisance_is_in_the_result(place: Path) -> None:
    session = opened(place)
    result = infer(session, data(place)).result
    assert result.method == "nle"
    assert list(result.parameters) == ["theta_0", "scale"]
    statistics = 1 / math.sqrt(EVENTS * float(MODEL.information()[0, 0]))
    assert result.parameters["theta_0"].std == pytest.approx(math.hypot(statistics, SHIFT), rel=0.3)
    (impacts,) = result.statements["impacts"]
    (row,) = impacts["ranking"]
    assert row["parameter"] == "scale"
    assert "scale" in result_words(result, None)


@pytest.fixture(scope="module")
def impact(tmp_path_factory: pytest.TempPathFactory) -> float:
    """Files of 200,000 events, of whose effect trainings with other seeds had 0.93 to 0.97.

    The files themselves have 0.97 of it. Where Z was a parabola in θ, it was 0.72 of the shift.
    """
    files = ", ".join(f"{name} = '{name}.root'" for name in ("up", "down", "nominal"))
    tmp_path = tmp_path_factory.mktemp("impact")
    (tmp_path / "varied.toml").write_text(
        TINY.read_text() + "\n[[variations]]\nname = 'scale'\nsymmetric = true\n"
        + files.replace(", ", "\n")
    )  # fmt: skip
    for seed, (name, theta) in enumerate(
        {"nominal": 0.0, "up": SHIFT, "down": -SHIFT, "data": 0.0}.items()
    ):
        simulated(tmp_path / f"{name}.root", theta, EVENTS if name == "data" else 200_000, seed)
    better = ["nle.hidden=[32, 32]", "nle.components=3", "classifier.epochs=6",
              "classifier.batch_size=4096", "classifier.max_learning_rate=5e-3"]  # fmt: skip
    result = infer(opened(tmp_path, *better), data(tmp_path)).result
    (impacts,) = result.statements["impacts"]
    return float(max(map(abs, impacts["ranking"][0]["post"])))


def test_the_impact_is_nearer_to_the_shift_than_with_a_parabola(impact: float) -> None:
    assert impact == pytest.approx(SHIFT, rel=0.2)


@pytest.mark.xfail(
    strict=True, reason="a known fault: a classifier has 0.93 to 0.97 of a small effect"
)
def test_the_impact_is_the_shift(impact: float) -> None:
    assert impact == pytest.approx(SHIFT, rel=0.1)


def test_a_changed_file_is_learned_again(place: Path) -> None:
    session = opened(place)
    (entry,) = session.workflow.variations
    before = variation_key(session, entry)
    assert variation_key(opened(place), entry) == before
    changed = entry.model_copy(update={"up": "down.root:Events"})
    assert variation_key(session, changed) != before
    settings = opened(place, "classifier.epochs=7")
    assert variation_key(settings, entry) != before


def test_a_rate_alone_counts_where_numbers_do() -> None:
    """e⁺e⁻ → μμ with 2 % on its rate: the factor is exponential."""
    workflow = Path(__file__).parents[2] / "workflows" / "ee_mumu.toml"
    rate = "variations=[{ name = 'lumi', rate = [0.98, 1.02] }]"
    session = Session.open(workflow, [rate, "inference.luminosity=1.0"])
    assert session.likelihood_parameters.free_names[-1] == "lumi"
    assert session.nuisances["lumi"].default == 0.0


def data(place: Path) -> DataRequest:
    return DataRequest([str(place / "data.root")])


REFUSED: list[tuple[Mapping[str, str], str]] = [
    ({"up": "'up.root'"}, "variation 'scale' has no down: expected both"),
    ({}, "variation 'scale': expected up and down, or a rate"),
    ({"rate": "[0.9, 1.1]", "symmetric": "true"}, "'scale' is symmetric, and has no up and down"),
    ({"rate": "[0.0, 1.1]"}, "expected two positive numbers"),
    ({"rate": "[1.1]"}, "at least 2 items"),
    ({"rate": "[0.9, 1.1]"}, "'scale' has a rate alone, and the number of events does not count"),
    ({"up": "'none.root'", "down": "'down.root'"}, r"none\.root"),
    ({"name": "'theta_0'", "rate": "[0.9, 1.1]"}, "variation 'theta_0': the chain .* has a param"),
]


@pytest.mark.parametrize(("entry", "words"), REFUSED)
def test_what_says_nothing_is_refused(place: Path, entry: Mapping[str, str], words: str) -> None:
    given = {"name": "'scale'", **entry}
    text = ", ".join(f"{key} = {value}" for key, value in given.items())
    with pytest.raises(HepgenError, match=words) as refused:
        likelihood_of(opened(place, f"variations=[{{ {text} }}]"), 10)
    assert refused.value.exit_code == 2


def test_npe_knows_nothing_of_it(place: Path) -> None:
    with pytest.raises(HepgenError, match="'npe' learns from the chain"):
        infer(opened(place), data(place), "npe")


def test_expected_errors_have_the_variation(place: Path) -> None:
    """Of θ and ν that shift x alike: (σ² + 0.15²)^½, and σ where ν is known."""
    session = opened(place, "statements.fisher=true", "statements.fisher_events=5000")
    x, _ = tensors(session, read_observed(session, data(place)).events)
    start = PosteriorSample(torch.zeros(2, 2), ("theta_0", "scale"), "nuts", (2.0, 2.0))
    (table,) = information(session, x, None, {"nle": start}, "nle")
    (row,) = table.rows
    assert "no stage has scale" in " ".join(table.warnings)
    sigma = float(MODEL.information()[0, 0] * EVENTS) ** -0.5
    assert row.known == pytest.approx(sigma, rel=0.2)
    assert math.sqrt(row.profiled**2 - row.known**2) == pytest.approx(SHIFT, rel=0.4)


def test_an_export_in_bins_of_what_no_stage_has_is_refused(place: Path) -> None:
    with pytest.raises(HepgenError, match="does not know the variations scale"):
        infer(opened(place, "exchange.formats=['pyhf']"), data(place))


def log_normal(x: Tensor, mean: Tensor | float, width: Tensor | float) -> Tensor:
    found: Tensor = Normal(mean, width).log_prob(x)  # type: ignore[no-untyped-call]
    return found


class Shifted:
    """N(aθ, s²) of one θ and the scale of the noise, which s depends on, in closed form."""

    slope = float(MODEL.marginal(torch.ones(1).double()).mean)

    def __init__(self, parameters: ParameterSet) -> None:
        self.parameters = parameters

    @staticmethod
    def variance(noise: Tensor) -> Tensor:
        one, two = (
            MODEL.marginal(torch.zeros(1).double(), n).covariance_matrix for n in (1.0, 2.0)
        )
        return one + (noise**2 - 1) * (two - one) / 3

    def prepare(self, x: Tensor) -> Tensor:
        return x.double()

    def log_densities(self, prepared: Tensor, theta: Tensor) -> Tensor:
        values = dict(zip(self.parameters.free_names, theta[:, None].unbind(-1), strict=True))
        width = self.variance(values["noise_scale"]).sqrt()
        return log_normal(prepared, self.slope * values["theta_0"], width)


class Tilts(ShapeVariation):
    """log r± of a shift of θ by ±0.15 at θ = 0 and a noise of 1, and their Z, in closed form."""

    def __init__(self, density: Shifted) -> None:
        self.density = density
        self.at_one = density.variance(torch.ones(1, dtype=torch.float64))
        self.steps = torch.tensor([SHIFT, -SHIFT]).double() * density.slope
        self.log_norm = cast(Any, self._log_norm)

    def log_ratios(self, x: Tensor) -> Tensor:
        return (self.steps * x - self.steps**2 / 2) / self.at_one

    def _log_norm(self, theta: Tensor, nu: Tensor) -> Tensor:
        names = self.density.parameters.free_names
        values = dict(zip(names, theta.unbind(-1), strict=True))
        variance = self.density.variance(values["noise_scale"][..., None, None])[..., 0, 0]
        tilt, even = nu * self.steps[0] / self.at_one, -(self.steps[0] ** 2) / 2 / self.at_one
        along = self.density.slope * values["theta_0"]
        return difference(nu, even, even) + tilt * along + tilt**2 * variance / 2


def test_a_scan_has_the_variation_at_every_value(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is N(aθ, s²) at a value of the noise is N(aθ ± 0.15 a s²/s₁², s²) at ν = ±1."""
    free = "parameters.noise_scale={prior={uniform=[0.5, 2.0]}}"
    session = opened(place, free, "statements.scan={parameter='noise_scale', values=[0.6, 1.7]}")
    exact = Shifted(session.for_training().parameters)
    known = Held(exact, "noise_scale", 1.0)
    monkeypatch.setattr(likelihoods, "density_of", lambda *_: known)
    monkeypatch.setattr(variations, "shape_variation", lambda *_: Tilts(exact))
    x = torch.linspace(-2, 2, EVENTS, dtype=torch.float64)[:, None]
    theta = torch.tensor([[0.3, 1.0], [0.3, -1.0], [-0.2, 0.0]], dtype=torch.float64)
    for value in (None, 0.6, 1.7):
        likelihood = likelihood_of(session, EVENTS, "nle", value)
        assert likelihood.parameters.free_names == ("theta_0", "scale")
        found = likelihood.log_likelihoods(likelihood.encode([x], [None]), theta[None])[0]
        variance = exact.variance(torch.tensor(value or 1.0).double())[0]
        moved = (
            theta[:, 0] + SHIFT * theta[:, 1] * variance / exact.variance(torch.ones(1).double())[0]
        )
        sets = log_normal(x, exact.slope * moved, variance.sqrt()).sum(0)
        torch.testing.assert_close(found, sets + log_normal(theta[:, 1], 0.0, 1.0))
