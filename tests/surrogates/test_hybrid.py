"""Hybrid chains: what they refuse; the laws of a chain are in ``tests/contracts``."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch

from hepgen.errors import ParameterError, SimulationError, SurrogateError
from hepgen.simulators.chain import Chain
from hepgen.simulators.processes.registry import PROCESSES, process
from hepgen.surrogates.hybrid import hybrid, target_of
from hepgen.surrogates.same_stages import changed_options
from hepgen.surrogates.surrogate import Surrogate
from hepgen.surrogates.target import Target
from tests.contracts.hybrid import recoil, showers, small_calorimeter


def with_target(**changes: object) -> Surrogate:
    surrogate = recoil()
    target = dataclasses.replace(target_of(surrogate), **changes)  # type: ignore[arg-type]
    return dataclasses.replace(
        surrogate, manifest=surrogate.manifest | {"target": target.to_dict()}
    )


def simulate(surrogate: Surrogate, **parameters: float) -> None:
    chain = hybrid(process("zmumu"), surrogate)
    values = {n: torch.tensor(v, dtype=torch.float64) for n, v in parameters.items()}
    chain.simulate(chain.parameters.values() | values, 2000, seed=1)


def test_stages_before_it_are_as_they_were() -> None:
    """Each stage has its own random stream: a surrogate behind does not touch it."""
    whole, with_flow = process("zmumu"), hybrid(process("zmumu"), recoil())
    theta = whole.parameters.values()
    one, other = (c.simulate(theta, 500, seed=3).state for c in (whole, with_flow))
    assert torch.equal(one["mass"], other["mass"])
    assert not torch.equal(one["pt"], other["pt"])


def test_the_options_of_the_stages_it_stands_for_are_those_of_the_training() -> None:
    def trained(name: str, options: dict[str, float], stage: str) -> list[str]:
        return changed_options(process(name), options, [stage])

    assert trained("dijet_bump", {}, "reconstruction") == []
    assert trained("dijet_bump", {"pt_min": 60}, "reconstruction") == []
    assert trained("dijet_bump", {"pt_min": 30.0}, "reconstruction") == ["pt_min: 30, 60"]
    assert trained("dijet_bump", {"pt_min": 30.0}, "parton") == []  # another stage's
    surrogate = recoil()
    stages = target_of(surrogate).stages
    for name, parameter in inspect.signature(PROCESSES["zmumu"]).parameters.items():
        if isinstance(parameter.default, float):
            changed = {name: 1.5 * parameter.default}
            other = dataclasses.replace(surrogate, manifest=surrogate.manifest | {"chain": changed})
            if trained("zmumu", changed, stages[0]):
                with pytest.raises(SurrogateError, match=f"trained with other options.*{name}"):
                    hybrid(process("zmumu"), other)
            else:
                hybrid(process("zmumu"), other)


def test_what_follows_makes_no_difference_of_it() -> None:
    whole, with_flow = process("zmumu"), hybrid(process("zmumu"), recoil())
    assert [s.name for s in with_flow.stages] == [s.name for s in whole.stages]
    assert with_flow.observables == whole.observables
    assert with_flow.options != whole.options


def test_parameters_outside_the_training_range_are_refused() -> None:
    with pytest.raises(ParameterError, match=r"alpha_s between 0\.15 and 0\.15, and the surrogate"):
        simulate(recoil(), alpha_s=0.15)


def test_inputs_outside_the_training_range_are_refused() -> None:
    surrogate = recoil()
    domain = dataclasses.replace(surrogate.domain, high=(91.0, 0.14, 4.0))
    with pytest.raises(SimulationError, match="outside the range that the surrogate was trained"):
        simulate(dataclasses.replace(surrogate, domain=domain))


def test_a_parameter_that_did_not_vary_in_training_is_held() -> None:
    surrogate = with_target(fixed={"muon_scale": 0.0})
    simulate(surrogate, muon_scale=0.0)
    with pytest.raises(SimulationError, match=r"muon_scale = 0\.01, and the surrogate was trained"):
        simulate(surrogate, muon_scale=0.01)


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (("irs",), "no stage 'irs' in the chain 'zmumu'; did you mean 'isr'"),
        (("isr", "detector"), "expected stages in a row"),
        (("parton",), "stage 'isr' needs .* which the surrogate of 'parton' does not give"),
    ],
)
def test_stages_that_are_not_there(stages: tuple[str, ...], words: str) -> None:
    with pytest.raises((SurrogateError, SimulationError), match=words):
        hybrid(process("zmumu"), with_target(stages=stages, inputs=()))


def test_another_process() -> None:
    with pytest.raises(SurrogateError, match="of the process 'zmumu' in a chain of 'ee_mumu'"):
        hybrid(process("ee_mumu"), recoil())


def test_a_surrogate_of_a_whole_chain_has_no_place_in_one() -> None:
    surrogate = dataclasses.replace(recoil(), manifest={"process": "zmumu"})
    with pytest.raises(SurrogateError, match="does not stand for stages of a chain"):
        hybrid(process("zmumu"), surrogate)


def test_the_target_is_in_the_manifest() -> None:
    assert isinstance(target_of(recoil()), Target)


def test_one_event_at_the_edge_is_no_reason_to_stop() -> None:
    """Of 100,000 events one may be farther out than all of training; so of one hundred."""
    surrogate = recoil()
    chain = hybrid(process("zmumu"), surrogate)
    mass = chain.simulate(chain.parameters.values(), 200, seed=1).state["mass"].flatten()
    least, most = mass.sort().values[-2:].tolist()
    for edge, wrong in ((0.5 * (least + most), 1), (least * (1 - 1e-9), 2)):
        domain = dataclasses.replace(surrogate.domain, high=(edge, 0.14, 4.0))
        chain = hybrid(process("zmumu"), dataclasses.replace(surrogate, domain=domain))
        if wrong == 1:
            chain.simulate(chain.parameters.values(), 200, seed=1)
        else:
            with pytest.raises(SimulationError, match="2 of 200 events are outside"):
                chain.simulate(chain.parameters.values(), 200, seed=1)


def test_what_extrapolates_is_not_moved_to_the_edge() -> None:
    """Events at the edge would carry the name of a θ that they are not of."""
    daring = dataclasses.replace(recoil(), extrapolate=True)
    outside = {n: torch.tensor([[0.2]], dtype=torch.float64) for n in ("alpha_s",)}

    def recoils(surrogate: Surrogate) -> torch.Tensor:
        chain = hybrid(process("zmumu"), surrogate)
        return chain.simulate(chain.parameters.values() | outside, 100, seed=1).state["pt"]

    wider = dataclasses.replace(daring.domain, high=(160.0, 1.0, 4.0))
    assert torch.equal(recoils(daring), recoils(dataclasses.replace(daring, domain=wider)))


def shower_chain() -> Chain:
    return hybrid(small_calorimeter(), showers())


def test_images_stand_for_all_stages_before_the_readout() -> None:
    """What is read of an image is the image: each cell, and the observables of the simulator."""
    chain, whole = shower_chain(), small_calorimeter()
    assert [s.name for s in chain.stages] == ["profile+spots+digitisation", "reconstruction"]
    assert chain.observables == whole.observables
    assert (chain.image, chain.parameters.names) == (whole.image, whole.parameters.names)
    assert chain.without_density == ("profile+spots+digitisation",)

    one, other = (chain.simulate(chain.parameters.values(), 300, seed=2) for _ in range(2))
    assert torch.equal(one.state["Cell_energy"], other.state["Cell_energy"])
    (image,) = one.sites.values()
    read = torch.zeros_like(image)
    filled = torch.arange(one.state["Cell_index"].shape[-1]) < one.state["nCell"][..., None]
    group, event, _ = filled.nonzero(as_tuple=True)
    read[group, event, one.state["Cell_index"][filled]] = one.state["Cell_energy"][filled]
    torch.testing.assert_close(read, image, rtol=1e-12, atol=0)
    assert 0 < float((image > 0).double().mean()) < 1
    torch.testing.assert_close(one.state["Calo_energy"], image.sum(-1))


def test_the_density_of_images_in_a_chain_is_not_known() -> None:
    chain = shower_chain()
    trace = chain.simulate(chain.parameters.values(), 5, seed=2)
    with pytest.raises(SimulationError, match=r"density of stage .* is not known"):
        chain.log_prob(trace, chain.parameters.values())


@pytest.mark.parametrize(
    "options", [{"threshold": 0.02}, {"adc_step": 0.002}, {"light_yield": 100.0}]
)
def test_images_are_those_of_one_readout(options: dict[str, float]) -> None:
    with pytest.raises(SurrogateError, match=f"with other options .*{next(iter(options))}: "):
        hybrid(small_calorimeter(**options), showers())


@pytest.mark.parametrize("points", [1, 50, 500])
def test_particles_outside_of_the_training_of_images_are_refused(points: int) -> None:
    chain = shower_chain()
    energy = torch.full((points, 1), 90.0, dtype=torch.float64)
    with pytest.raises(ParameterError, match=r"energy between 90 and 90.*trained in \[30, 70\]"):
        chain.simulate(chain.parameters.values() | {"energy": energy}, 2, seed=1)


def test_one_of_many_points_in_the_tail_of_a_prior_is_no_reason_to_stop() -> None:
    """It is moved to the edge, and noted; among few points, which somebody chose, it is not."""
    chain = shower_chain()
    for points, refused in ((99, True), (500, False)):
        gain = torch.full((points, 1), 1.0, dtype=torch.float64)
        gain[7] = 1.03
        theta = chain.parameters.values() | {"gain": gain}
        if refused:
            with pytest.raises(ParameterError, match=r"gain between 1 and 1\.03"):
                chain.simulate(theta, 1, seed=1)
        else:
            assert chain.simulate(theta, 1, seed=1).notes["profile+spots+digitisation_outside"] == 1
