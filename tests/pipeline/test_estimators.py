"""Every estimator of the table, from a tiny workflow to a result: exact answers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hepgen.config import ESTIMATORS
from hepgen.errors import InputError, ParameterError, WorkflowError
from hepgen.events import Events
from hepgen.inference.augmented import AugmentedEvents
from hepgen.inference.ensemble import Ensemble
from hepgen.inference.posterior_ensemble import PosteriorEnsemble
from hepgen.inference.sally import SALLY
from hepgen.inference.score_likelihood import ScoreMean, load_score_likelihood
from hepgen.io.tables import event_writer
from hepgen.pipeline.data import DataRequest, read_observed
from hepgen.pipeline.estimators import TABLE, beside, reference_of, require_scores
from hepgen.pipeline.infer import Inference, infer
from hepgen.pipeline.likelihoods import likelihood_of
from hepgen.pipeline.load import load
from hepgen.pipeline.session import Session
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.pipeline.train import trained, training_key
from hepgen.pipeline.training_data import pair_campaign, simulated, training_campaign
from hepgen.pipeline.validate import posterior_of
from hepgen.simulators.campaign import Campaign
from hepgen.simulators.linear_gaussian import LinearGaussian

TINY = Path(__file__).parent / "tiny.toml"
WORKFLOWS = Path(__file__).parents[2] / "workflows"
TRUTH = 0.4
AMORTISED = [name for name, line in TABLE.items() if line.amortised]
NEW = [name for name in ESTIMATORS if name not in ("nle", *AMORTISED)]
SCORED = ["sally", "rascal", "alices", "scandal"]
MODEL = LinearGaussian.standard(1, 1, 1)

every_new = pytest.mark.parametrize("method", NEW)
every_amortised = pytest.mark.parametrize("method", AMORTISED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tiny") / "run"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.root"
    session = Session.open(TINY)
    campaign = Campaign(session.chain, session.parameters, 300, 9, fixed={"theta_0": TRUTH},
                        prior=False, block_size=300)  # fmt: skip
    simulate_to_file(campaign, path, provenance={}, monitor=session.monitor)
    return path


def opened(folder: Path, *overrides: str) -> Session:
    return Session.open(TINY, [f"folder={str(folder)!r}", *overrides])


def exact(x: torch.Tensor) -> tuple[float, float]:
    """The mean and the width of the posterior, of a prior that is flat and wide enough."""
    flat = 1e6 * torch.eye(1, dtype=torch.float64)
    found = MODEL.posterior(x, torch.zeros(1, dtype=torch.float64), flat)
    return found.mean.item(), found.variance.sqrt().item()


def test_the_table_has_what_the_workflow_file_has() -> None:
    assert tuple(TABLE) == ESTIMATORS


@every_new
def test_a_result_by_every_estimator(method: str, folder: Path, data: Path) -> None:
    session = opened(folder, "statements.intervals=['posterior','profile']")
    if method == "sally":
        session = opened(folder, "statements.intervals=['posterior','profile']", "sally.bins=30")
    inference = infer(session, DataRequest([str(data)]), method)
    assert tuple(inference.samples) == (method,)
    assert inference.result.method == method
    mean, std = exact(observed(inference))
    estimate = inference.result.parameters["theta_0"]
    # Trained for seconds: within a standard deviation, as wide to a third. The squared ratios of
    # RASCAL have tails, which takes more events than these.
    assert abs(estimate.mean - mean) < (3 if method == "rascal" else 1) * std
    assert estimate.std == pytest.approx(std, rel=0.35)
    profiled = [one for one in inference.statements.intervals if one.method == "profile"]
    assert profiled[0].best == pytest.approx(estimate.mean, abs=std)
    again = [one for one in inference.from_ratio if one.level == 0.68]
    assert len(again) == (method in ("nre", "classifier", "rascal", "alices"))
    for one in again:
        # A power of the likelihood, near one where the ratio has learned what it should.
        assert one.method == "recalibrated ratio"
        assert abs(one.best - estimate.mean) < estimate.std
        assert 0.5 < (one.high - one.low) / (2 * estimate.std) < 2
        assert any(entry["method"] == one.method
                   for entry in inference.result.statements["recalibrated"])  # fmt: skip


def observed(inference: Inference) -> torch.Tensor:
    return torch.from_numpy(inference.observed.events.flat(["x_0"]))


@every_new
def test_files_are_safetensors_and_json(method: str, folder: Path) -> None:
    session = opened(folder, *(["sally.bins=30"] if method == "sally" else []))
    model: Any = trained(session, method)
    files = [path for path in (folder / "models" / method).rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"model.json", "weights.safetensors"}
    again = load(folder / "models" / method)
    x, theta = torch.linspace(-1, 1, 5).double()[:, None], torch.tensor([[[0.1], [0.5]]]).double()
    one, other = (m.log_likelihoods(m.encode([x], [None]), theta) for m in (model, again))
    assert torch.equal(one, other)


def amortised(folder: Path, method: str, *overrides: str) -> Session:
    return opened(
        folder, "simulation.set_events=150000", f"{method}.embedding_epochs=6",
        f"{method}.density_epochs=30", "calibration.events=100", *overrides,
    )  # fmt: skip


@every_amortised
def test_a_posterior_by_every_amortised_estimator(method: str, folder: Path, data: Path) -> None:
    session = amortised(folder, method)
    x = torch.from_numpy(read_observed(session, DataRequest([str(data)])).events.flat(["x_0"]))
    sample = posterior_of(session, method).draw(1000, x, seed=1)
    assert sample.method == method
    mean, std = exact(x)
    # Trained for seconds on few sets: within a standard deviation, and wider rather than narrower.
    assert abs(sample.theta.mean().item() - mean) < std
    assert 0.7 < sample.theta.std().item() / std < 2
    place = session.folder / "models" / method
    assert {p.name for p in place.iterdir()} == {"model.json", "weights.safetensors"}
    theta = torch.tensor([[0.3], [0.4]]).double()
    both: list[Any] = [trained(session, method), load(place)]
    one, other = (m.posterior().log_prob(theta, x) for m in both)
    assert torch.equal(one, other)


def test_a_result_by_flow_matching(folder: Path, data: Path) -> None:
    session = amortised(folder, "fmpe", "inference.predictive_events=8192")
    inference = infer(session, DataRequest([str(data)]), "fmpe")
    assert tuple(inference.samples) == ("nle", "fmpe")
    assert {one.method for one in inference.calibrations} == {"nle", "fmpe"}
    names = " ".join(check.name for check in inference.result.checks)
    for word in ("FMPE on", "NLE against FMPE"):
        assert word in names, word


def test_members_of_a_posterior_are_an_equal_mixture(folder: Path, data: Path) -> None:
    session = amortised(folder, "npe", "npe.members=3", "npe.scheme='parts'")
    model: Any = trained(session, "npe")
    assert isinstance(model, PosteriorEnsemble)
    assert len(model) == 3
    again = load(folder / "models/npe")
    x = torch.from_numpy(read_observed(session, DataRequest([str(data)])).events.flat(["x_0"]))
    theta = torch.linspace(-1.5, 1.5, 601).double()[:, None]
    each = torch.stack([m.posterior().log_prob(theta, x) for m in model.members])
    found = model.posterior().log_prob(theta, x)
    assert torch.allclose(found.exp(), each.exp().mean(0))
    assert torch.equal(found, again.posterior().log_prob(theta, x))
    draws = posterior_of(session, "npe").draw(3000, x, seed=1).theta
    # Of its own mean: 4 standard errors of 3000 draws.
    mean = torch.trapezoid(found.exp() * theta[:, 0], theta[:, 0])
    assert abs(draws.mean() - mean) < 4 * draws.std() / 3000**0.5
    again_drawn = posterior_of(session, "npe").draw(3000, x, seed=1).theta
    assert torch.equal(draws, again_drawn)


@pytest.mark.parametrize("method", ["nle", "nre"])
def test_unequal_weights_are_those_of_the_density(method: str, tmp_path: Path) -> None:
    """x ~ N(aθ + b, σ²) with weights e^{cx} has the mean aθ + b + cσ²: θ moves by −cσ²/a."""
    c, plain = 0.3, opened(tmp_path / "plain")
    marginal = MODEL.marginal(torch.tensor([[0.0], [1.0]], dtype=torch.float64))
    slope = (marginal.mean[1] - marginal.mean[0]).item()
    move = -c * marginal.variance[0].item() / slope
    with event_writer(tmp_path / "weighted.parquet") as writer:
        for block in simulated(plain, training_campaign(plain), "events", "simulate"):
            x, theta = (block.flat([name])[:, 0] for name in ("x_0", "theta_theta_0"))
            weight = np.exp(c * (x - slope * theta))
            writer.write(
                Events.from_columns({"x_0": x, "theta_theta_0": theta, "genWeight": weight})
            )
    files = f"simulation.files={[str(tmp_path / 'weighted.parquet')]!r}"
    with torch.random.fork_rng():
        torch.manual_seed(3)
        seen = MODEL.marginal(torch.tensor([0.4], dtype=torch.float64)).sample((300,))
    mean, std = exact(seen)
    assert abs(move) > 3 * std
    session = opened(tmp_path / "run", files, f"{method}.epochs=12", f"{method}.batch_size=500")
    draws = posterior_of(session, method).draw(2000, seen, seed=1).theta
    assert abs(draws.mean().item() - (mean + move)) < std
    assert draws.std().item() == pytest.approx(std, rel=0.35)


def test_pairs_in_blocks_are_the_pairs_of_one_call() -> None:
    session = Session.open(TINY, ["simulation.augmented_events=2048", "simulation.block_size=1024"])
    campaign = pair_campaign(session, {"theta_0": 0.25})
    made = campaign.sample([campaign.simulate(n).events for n in range(campaign.blocks)])
    reference = torch.tensor([0.25], dtype=torch.float64)
    whole = AugmentedEvents.pairs(
        session.chain, session.parameters, session.features, reference, 2048,
        seed=campaign.seed, block_size=1024,
    )  # fmt: skip
    for name in ("x", "theta", "score", "log_ratio", "at_theta", "reference"):
        assert torch.equal(getattr(made, name), getattr(whole, name)), name


def test_a_training_is_done_once_and_again_with_another_option(folder: Path) -> None:
    session = opened(folder)
    trained(session, "nre")
    weights = folder / "models/nre/weights.safetensors"
    before = weights.stat().st_mtime_ns
    trained(session, "nre")
    assert weights.stat().st_mtime_ns == before
    other = opened(folder, "nre.loss='binary'")
    assert training_key(session, "nre") != training_key(other, "nre")
    assert training_key(session, "nle") == training_key(other, "nle")


def test_an_ensemble_of_three_is_one_likelihood(folder: Path) -> None:
    session = opened(folder, "nre.members=3", "nre.epochs=1")
    model = trained(session, "nre")
    assert isinstance(model, Ensemble)
    assert len(model) == 3
    files = {str(p.relative_to(folder)) for p in (folder / "models/nre").rglob("model.json")}
    assert files == {"models/nre/model.json", *(f"models/nre/member-{m}/model.json"
                                                for m in (1, 2, 3))}  # fmt: skip
    x, theta = torch.randn(20, 1).double(), torch.tensor([[[0.1], [0.5]]]).double()
    each = [m.log_likelihoods(m.encode([x], [None]), theta) for m in model.members]
    assert not torch.equal(each[0], each[1])
    again = load(folder / "models/nre")
    assert torch.equal(
        model.log_likelihoods(model.encode([x], [None]), theta),
        again.log_likelihoods(again.encode([x], [None]), theta),
    )
    events = likelihood_of(session, 20, "nre")
    sets = events.encode([x], [None])
    mean = torch.stack(each).mean(0)
    shift = events.log_likelihoods(sets, theta) - mean
    # Up to the rounding of single precision, and to a term without θ.
    assert torch.allclose(shift, shift[:, :1].expand_as(shift), atol=1e-3)


def test_the_observables_of_sally_are_a_model_of_their_own(folder: Path) -> None:
    session = opened(folder, "sally.likelihood='mean'")
    model = trained(session, "sally")
    assert isinstance(model, ScoreMean)
    assert isinstance(SALLY.load(folder / "models/sally"), SALLY)
    assert isinstance(load_score_likelihood(folder / "models/sally"), ScoreMean)
    with pytest.raises(WorkflowError, match="sally with likelihood = 'histogram'"):
        likelihood_of(session, 20, "sally")


@pytest.mark.parametrize("method", SCORED)
def test_a_parameter_without_a_score_is_refused_by_name(method: str, folder: Path) -> None:
    cutoff = "parameters.shower_cutoff={prior={uniform=[0.8, 1.5]}}"
    session = Session.open(WORKFLOWS / "ee_jets.toml", [f"folder={str(folder)!r}", cutoff])
    with pytest.raises(WorkflowError, match="'shower_cutoff' decides") as refusal:
        trained(session, method)
    for word in (method, "ee_jets", "no prior", "nle, npe, fmpe, npse, nre, classifier"):
        assert word in str(refusal.value)
    require_scores(session, "nre")


def test_references() -> None:
    session = Session.open(TINY, ["alices.reference={theta_0=0.25}"])
    assert reference_of(session, "alices") == {"theta_0": 0.25}
    assert reference_of(session, "rascal") == {"theta_0": 0.0}
    with pytest.raises(WorkflowError, match=r"alices\.reference: 'theta_1' is no free parameter"):
        reference_of(Session.open(TINY, ["alices.reference={theta_1=0.25}"]), "alices")
    with pytest.raises(ParameterError, match="theta_0"):
        reference_of(Session.open(TINY, ["alices.reference={theta_0=7.0}"]), "alices")


def test_what_is_set_beside_the_headline() -> None:
    session = Session.open(TINY)
    assert beside(session) == beside(session, "npe") == ("nle", "npe")
    assert beside(session, "fmpe") == ("nle", "fmpe")
    assert beside(session, "alices") == ("alices",)
    assert beside(Session.open(TINY, ["inference.beside=['nle']"]), "alices") == ("nle", "alices")
    assert beside(Session.open(TINY, ["inference.luminosity=1.0"])) == ("nle",)
    with pytest.raises(InputError, match="expected one of nle, npe, fmpe, npse, nre"):
        trained(session, "magic")


def test_options_are_checked_before_anything_is_simulated() -> None:
    for entry, words in (
        ("alices.alfa=1", "did you mean 'alpha'"),
        ("nre.loss='ternary'", "nre.loss"),
        ("nle.members=0", "nle.members"),
        ("npe.members=0", "npe.members"),
        ("fmpe.widht=3", "did you mean 'width'"),
        ("npse.blocks=0", "npse.blocks"),
        ("inference.method='magic'", "inference.method"),
        ("scandal.hidden=[16]", "scandal.hidden"),
    ):
        with pytest.raises(WorkflowError, match=words):
            Session.open(TINY, [entry])


def test_the_seeds_of_all_estimators_are_in_the_provenance() -> None:
    seeds = Session.open(TINY, ["rascal.seed=17"]).provenance()["seeds"]
    assert set(ESTIMATORS) <= set(seeds)
    assert json.loads(json.dumps(seeds))["rascal"] == 17
