"""Several channels as one analysis: the posterior of the union, and what cannot be combined."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
import torch
from torch import Tensor

from hepgen.errors import HepgenError
from hepgen.inference.binned import correlated_background
from hepgen.inference.event_likelihood import EventLikelihood
from hepgen.inference.joint import JointLikelihood
from hepgen.pipeline.channel_tests import goodness_of_counts
from hepgen.pipeline.channels import Combination, Combined, EventChannel
from hepgen.pipeline.combine import combine_into
from hepgen.pipeline.likelihoods import likelihood_of
from hepgen.pipeline.monitor import Silent
from hepgen.pipeline.reproduce import reproduce
from hepgen.pipeline.session import Session
from hepgen.pipeline.show import result_words
from hepgen.pipeline.simulate import simulate_to_file
from hepgen.results import InferenceResult
from hepgen.simulators.campaign import Campaign
from tests.inference.gaussian_chain import MODEL

TINY = Path(__file__).parent / "tiny.toml"
SIGNAL, BACKGROUND, COUNT = 300.0, 500.0, 635.0
"""A published count: n ~ Pois(500 α(ν) + 300 θ), with the background known to 2 %."""


def workspace(name: str, **bounds: Any) -> dict[str, Any]:
    return {
        "channels": [
            {
                "name": "count",
                "samples": [
                    {"name": "signal", "data": [SIGNAL],
                     "modifiers": [{"name": name, "type": "normfactor", "data": None}]},
                    {"name": "background", "data": [BACKGROUND],
                     "modifiers": [{"name": "norm", "type": "normsys",
                                    "data": {"lo": 0.98, "hi": 1.02}}]},
                ],
            }
        ],
        "observations": [{"name": "count", "data": [COUNT]}],
        "measurements": [
            {"name": "m", "config": {"poi": name, "parameters": [{"name": name, **bounds}]}}
        ],
        "version": "1.0.0",
    }  # fmt: skip


SETTINGS = """
[inference]
draws = 100
chains = 2

[statements]
intervals = ["posterior", "profile"]

[checks]
coverage = 0.4
pull_mean = 1.0
pull_width = 0.8
effective_samples = 20.0
r_hat = 1.5
"""


def channel(name: str, run: Path, more: str = "") -> str:
    entries = ["nle.epochs=12", "nle.batch_size=512", f"folder={str(run)!r}"]
    return (
        f'[[channels]]\nname = "{name}"\nworkflow = "tiny.toml"\ndata = ["{name}.root"]\n'
        f"set = {json.dumps(entries)}\n{more}\n"
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two data sets of the gaussian chain, and a workspace."""
    folder = tmp_path_factory.mktemp("combination")
    (folder / "tiny.toml").write_text(TINY.read_text())
    session = Session.open(TINY)
    for name, number, seed in (("a", 60, 5), ("b", 40, 6)):
        data = Campaign(session.chain, session.parameters, number, seed, prior=False,
                        fixed={"theta_0": 0.4}, block_size=number)  # fmt: skip
        simulate_to_file(data, folder / f"{name}.root", provenance={}, monitor=Silent())
    spec = workspace("mu", bounds=[[-2.0, 2.0]])
    (folder / "count.json").write_text(json.dumps(spec))
    (folder / "bad.json").write_text(json.dumps({**spec, "channels": [{"name": "count"}]}))
    (folder / "open.json").write_text(json.dumps(workspace("theta_0", bounds=[[0.0, 9.0]])))
    events = channel("a", folder / "run") + channel("b", folder / "run")
    (folder / "events.toml").write_text(events + SETTINGS)
    count = '[[channels]]\nname = "count"\npyhf = "count.json"\nrenamed = { mu = "theta_0" }\n'
    (folder / "all.toml").write_text(events + count + SETTINGS)
    return folder


@pytest.fixture(scope="module")
def written(place: Path) -> tuple[InferenceResult, Path]:
    return combine_into(Combination.open(place / "all.toml"), place / "results")


def exact(x: Tensor, counts: bool) -> tuple[float, float]:
    """Mean and standard deviation of the posterior, by the closed form and quadrature."""
    theta = torch.linspace(-1.5, 1.5, 3001, dtype=torch.float64)
    height = MODEL.log_prob(x[:, None].double(), theta[:, None]).sum(0)
    if counts:
        nu = torch.linspace(-5, 5, 401, dtype=torch.float64)
        # Between ±1σ the interpolation is within 10⁻⁶ of 1.02^ν here.
        mean = BACKGROUND * torch.exp(nu * math.log(1.02)) + SIGNAL * theta[:, None]
        term = COUNT * mean.log() - mean - 0.5 * nu.square()
        height = height + term.logsumexp(1)
    return moments(height, theta)


def moments(height: Tensor, theta: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of a posterior on a grid."""
    p = (height - height.max()).exp()
    p = p / p.sum()
    centre = float((p * theta).sum())
    return centre, float((p * (theta - centre).square()).sum().sqrt())


def test_channels_of_one_estimator_are_the_union_of_their_data(place: Path) -> None:
    combination = Combination.open(place / "events.toml")
    read = {name: EventChannel.read(combination, name) for name in combination.sessions}
    combined = Combined.of(combination, read)
    x = torch.cat([one.x for one in read.values()])
    assert len(x) == 100
    union = likelihood_of(combination.sessions["a"], len(x))
    theta = torch.linspace(-1.2, 1.2, 7, dtype=torch.float64)[None, :, None]
    found = combined.likelihood.log_likelihoods(combined.data, theta)
    torch.testing.assert_close(found, union.log_likelihoods(union.encode([x], [None]), theta))

    mean, std = exact(x, counts=False)
    grid = torch.linspace(-1.5, 1.5, 301, dtype=torch.float64)
    height = combined.likelihood.log_likelihoods(combined.data, grid[None, :, None])[0].detach()
    learned = moments(height, grid)
    # The density was learned from 40,000 events: a third of the error of 100 events.
    assert abs(learned[0] - mean) < 0.5 * std
    assert learned[1] == pytest.approx(std, rel=0.2)


def test_a_published_count_is_a_channel(place: Path, written: tuple[InferenceResult, Path]) -> None:
    result, report = written
    combination = Combination.open(place / "all.toml")
    read = {name: EventChannel.read(combination, name) for name in combination.sessions}
    mean, std = exact(torch.cat([one.x for one in read.values()]), counts=True)
    _, error = exact(torch.cat([one.x for one in read.values()]), counts=False)
    assert std < 0.9 * error
    estimate = result.parameters["theta_0"]
    assert abs(estimate.mean - mean) < 0.5 * std
    # 200 draws of a chain know a standard deviation to some 7 %.
    assert estimate.std == pytest.approx(std, rel=0.3)
    assert set(result.parameters) == {"theta_0", "norm"}
    assert result.events == 100 + COUNT
    # θ̂ = (635 − 500)/300, and its error has the counts and the 2 %.
    (of_count,) = result.statements["channels"][2]["alone"]
    assert of_count["best"] == pytest.approx(0.45, abs=1e-3)
    half = (of_count["pieces"][0][1] - of_count["pieces"][0][0]) / 2
    assert half == pytest.approx(math.hypot(635**0.5, 10) / 300, rel=0.02)
    (profile,) = (i for i in result.statements["intervals"]
                  if i["method"] == "profile" and i["level"] == 0.68)  # fmt: skip
    low, high = profile["pieces"][0]
    assert (low, high) == pytest.approx(estimate.interval68, abs=0.4 * std)
    (impact,) = result.statements["impacts"]
    assert impact["ranking"][0]["parameter"] == "norm"
    assert result.passed, [check.name for check in result.checks if not check.passed]
    assert {"a: calibration: coverage of theta_0", "fit: convergence"} & {
        check.name for check in result.checks
    }
    words = result_words(result, report)
    assert "theta_0 of count alone (635 events): 0.45 ± 0.09" in words
    page = report.read_text()
    assert "theta_0 by channel" in page
    assert "Channel count: 635 events, likelihood pyhf." in page
    names = {check.name for check in result.checks}
    assert {
        "a: posterior predictive: x_0", "b: support: x_0", "count: posterior predictive: counts"
    } <= names  # fmt: skip
    assert "Data and prediction: x_0 of a" in page
    assert "Data and prediction: count of count" in page


def test_the_goodness_of_counts_is_uniform_at_the_truth_and_small_away_from_it() -> None:
    """By 400 data sets; false alarm 10⁻³."""
    likelihood = correlated_background([12, 11], [50, 52], [45, 57], [55, 47])
    truth = torch.tensor([1.0, 0.3], dtype=torch.float64)
    data = likelihood.generate(truth.expand(400, -1), 3)
    draws = truth.expand(200, -1)
    p = [goodness_of_counts("a", likelihood, data[i : i + 1], draws, i).value for i in range(400)]
    assert scipy.stats.kstest(p, "uniform").pvalue > 1e-3
    away = likelihood.observed([120.0, 20.0])
    assert goodness_of_counts("a", likelihood, away, draws, 1).value == pytest.approx(1 / 201)


def test_a_channel_that_goes_with_no_other_is_told(place: Path) -> None:
    """A second count that expects far more than there is: each by itself would be fitted."""
    spec = workspace("mu", bounds=[[-2.0, 2.0]])
    spec["observations"] = [{"name": "count", "data": [COUNT + 300.0]}]
    (place / "much.json").write_text(json.dumps(spec))
    parts = [
        f'[[channels]]\nname = "{n}"\npyhf = "{n}.json"\nrenamed = {{ norm = "{n}" }}\n'
        for n in ("count", "much")
    ]
    (place / "odd.toml").write_text("".join(parts) + SETTINGS)
    result, _ = combine_into(Combination.open(place / "odd.toml"), place / "odd")
    found = {check.name: check for check in result.checks}
    assert not found["much: posterior predictive: counts"].passed
    assert not result.passed


def test_a_result_that_is_there_is_not_made_again(
    place: Path, written: tuple[InferenceResult, Path]
) -> None:
    again, report = combine_into(Combination.open(place / "all.toml"), place / "results")
    assert again.provenance["seconds"] == written[0].provenance["seconds"]
    assert report == written[1]


def test_other_commands_say_what_it_is(place: Path, written: tuple[InferenceResult, Path]) -> None:
    with pytest.raises(HepgenError, match="use `hepgen combine"):
        Session.open(place / "all.toml")
    with pytest.raises(HepgenError, match="is of a combination, whose file names the data"):
        reproduce(written[1].parent, ["other.root"], monitor=Silent())


@pytest.mark.slow
def test_it_is_made_again_from_its_provenance(
    written: tuple[InferenceResult, Path], tmp_path: Path
) -> None:
    found = reproduce(written[1].parent, monitor=Silent())
    assert (found.differences, found.versions) == ((), ())
    # The workspace is part of what is reproduced.
    content = json.loads((written[1].parent / "result.json").read_text())
    content["provenance"]["workspaces"]["count"] = "another"
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(HepgenError, match=r"count\.json is not the workspace that"):
        reproduce(tmp_path, monitor=Silent())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"combination": "= 5"}, "its provenance.combination is no TOML"),
        ({"combination": 5}, "its provenance.combination is no TOML"),
        ({"channels": 5}, "does not say how its channels were read"),
        ({"channels": {}}, "says nothing of the channel 'a'"),
        ({"channels": {"a": {"workflow": 5}}}, "its provenance.workflow is no TOML"),
        ({"source": 5}, "a workflow from 5; expected the name of a file"),
    ],
)
def test_an_edited_provenance_is_refused(
    written: tuple[InferenceResult, Path], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    content = json.loads((written[1].parent / "result.json").read_text())
    content["provenance"] |= change
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(HepgenError, match=words):
        reproduce(tmp_path, monitor=Silent())


def test_kinds_of_likelihood(place: Path) -> None:
    for name, kind in (("events", EventLikelihood), ("all", JointLikelihood)):
        combination = Combination.open(place / f"{name}.toml")
        read = {n: EventChannel.read(combination, n) for n in combination.sessions}
        combined = Combined.of(combination, read)
        assert isinstance(combined.likelihood, kind)
        assert combined.likelihood.parameters.free_names == combination.parameters.free_names


COUNTS = '[[channels]]\nname = "count"\npyhf = "{}"\n{}\n'
TINIES = '[[channels]]\nname = "{}"\nworkflow = "tiny.toml"\n{}\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = 'x'", "missing key 'channels'"),
        (TINY.read_text(), "it is the workflow of one channel; use `hepgen infer"),
        (TINIES.format("a", "file = 'x'"), r"unknown key 'channels\.0\.file'"),
        (TINIES.format("a", "") * 2, "channel 'a' is there more than once"),
        ("[[channels]]\nname = 'a'", "expected a workflow, or a pyhf workspace"),
        (COUNTS.format("count.json", "data = ['a.root']"), "data of a pyhf workspace"),
        (TINIES.format("a", "measurement = 'm'"), "a measurement is one of a pyhf workspace"),
        (TINIES.format("a", "method = 'npe'"), "channel 'a': 'npe' has no likelihood"),
        (COUNTS.format("none.json", ""), r"cannot read .*none\.json"),
        (COUNTS.format("bad.json", ""), r"bad\.json is no valid workspace of pyhf"),
        (COUNTS.format("count.json", "renamed = { nu = 'x' }"), "'count' has no parameter 'nu'"),
        (COUNTS.format("count.json", "measurement = 'no'"), "no measurement 'no'"),
        # The workspace has no prior from -1.5 to 0.
        (TINIES.format("a", "") + COUNTS.format("open.json", ""),
         r"'theta_0' has the prior Uniform\(low=-1.5, high=1.5\) in 'a' and .* in 'count'"),
        (TINIES.format("a", "") + TINIES.format(
            "b", "set = ['parameters.theta_0.prior={ uniform = [-1, 1] }']"),
         r"'theta_0' has the prior Uniform\(low=-1.5, high=1.5\) in 'a' and .* in 'b'"),
    ],
)  # fmt: skip
def test_what_cannot_be_combined_is_refused(place: Path, text: str, words: str) -> None:
    path = place / "refused.toml"
    path.write_text(text)
    with pytest.raises(HepgenError, match=words) as refused:
        Combination.open(path)
    assert refused.value.exit_code == 2


def test_what_is_fixed_and_differs_is_no_parameter_in_common(place: Path) -> None:
    """Beams of two energies: the parameter that is measured is one nevertheless."""
    path = place / "apart.toml"
    path.write_text(
        TINIES.format("a", "") + TINIES.format("b", "set = ['parameters.noise_scale.default=2.0']")
    )
    parameters = Combination.open(path).parameters
    assert parameters.free_names == ("theta_0",)
    assert parameters["b/noise_scale"].default == 2.0
