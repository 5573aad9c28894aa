"""Small analyses to write as workspaces."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

import hepgen
from hepgen.inference.exact import ExactLikelihood
from hepgen.inference.exchange.binned_model import BinnedModel, Expected, Region, binned_model
from hepgen.inference.exchange.counts import At, Counts, DensityCounts, Difference
from hepgen.parameters import Normal, Parameter, ParameterSet, Uniform
from hepgen.simulators.chain import Chain
from hepgen.simulators.ee_mumu_exact import ElectronPositronDensity

CHAIN = hepgen.process("ee_mumu", energies=(89.0,))
EVENTS = 20_000.0


def free(chain: Chain, **priors: Uniform | Normal) -> ParameterSet:
    """The parameters of a chain, with priors for some."""
    return ParameterSet(
        [replace(p, prior=priors[p.name]) if p.name in priors else p for p in chain.parameters]
    )


ANGLE = free(CHAIN, sin2_theta_w=Uniform(0.21, 0.25), charge_confusion=Normal(0.005, 0.0005))


def exact(parameters: ParameterSet = ANGLE) -> ExactLikelihood:
    """The likelihood of ee_mumu."""
    return ExactLikelihood(ElectronPositronDensity.of(CHAIN), parameters)


def events(theta: Tensor) -> Tensor:
    """A rate that says nothing of θ."""
    return torch.full((len(theta),), EVENTS, dtype=torch.float64)


def edges(bins: int = 20) -> Tensor:
    """Of cos θ."""
    return torch.linspace(-0.95, 0.95, bins + 1, dtype=torch.float64)


def angle_model(data: Tensor | None = None, name: str = "dimuon", bins: int = 20) -> BinnedModel:
    """ee_mumu, filled by its exact density."""
    filled = {"z": Expected(DensityCounts(exact(), events))}
    region = Region(name, edges(bins), filled, data, "Dimuon_cos_theta")
    return binned_model([region], ANGLE, "sin2_theta_w", steps={"sin2_theta_w": 0.002})


BUMP = ParameterSet(
    [
        Parameter("mu", 1.0, prior=Uniform(-1.0, 5.0), role="interest"),
        Parameter("mass", 5.0, "GeV", prior=Uniform(3.0, 7.0)),
        Parameter("slope", 0.3, prior=Normal(0.3, 0.02)),
        Parameter("scale", 1.0, prior=Normal(1.0, 0.01)),
        Parameter("lumi_ratio", 1.0, prior=Normal(1.0, 0.03)),
    ]
)


def bump(theta: Tensor, where: Tensor) -> Counts:
    """A Gaussian peak of 50μ events on about 1000 of a falling exponential, simulated."""
    mu, mass, slope, scale, light = theta.double().T[..., None]
    peak = torch.special.ndtr((where - mass * scale) / 0.8).diff(dim=-1)
    falling = -torch.exp(-slope * where).diff(dim=-1)
    whole = math.exp(-0.3 * where[0].item()) - math.exp(-0.3 * where[-1].item())
    mean = light * (50 * mu * peak + 1000 * falling / whole)
    return Counts(mean, 0.02 * mean[0])


def bump_model() -> BinnedModel:
    """A bump with one parameter of each kind, and bins with statistics of the simulation."""

    def background(theta: Tensor, where: Tensor) -> Counts:
        return At(bump, BUMP, "mu", 0.0)(theta, where)

    samples = {
        "signal": Expected(Difference(bump, BUMP, "mu"), "mu"),
        "background": Expected(background),
    }
    region = Region("peak", torch.linspace(0.0, 10.0, 13).double(), samples, observable="mass")
    return binned_model([region], BUMP, "mu", steps={"mass": 0.1}, luminosity="lumi_ratio")
