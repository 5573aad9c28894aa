"""A final-state shower of colour dipoles, ordered in transverse momentum."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.compiled import compilable
from hepgen.simulators.coupling import Coupling, FixedCoupling, RunningCoupling
from hepgen.simulators.dipole_cascade import DipoleCascade
from hepgen.simulators.history import Recorder
from hepgen.simulators.stage import Stage, State

ALPHA_S = Parameter("alpha_s", 0.125, label=r"$\alpha_s(m_Z)$", low=0.05, high=0.145)
CUTOFF = Parameter(
    "shower_cutoff", 1.0, "GeV", label=r"$k_{T,\mathrm{min}}$", low=0.5, high=10.0,
    moves_support=True,
)  # fmt: skip


class DipoleShower(Stage):
    r"""Quarks radiate gluons, and gluons split: dipoles ordered in k_T, as in ARIADNE.

    Between two partons that share a colour, with 1 − x the energy fractions lost by its ends in
    its rest frame, k_T² = s(1 − x_1)(1 − x_2) and y = ½ ln[(1 − x_1)/(1 − x_2)],

    .. math:: dP_{q\bar q} = \frac{\alpha_s C_F}{2\pi} (x_1^2 + x_2^2)\,d\ln k_T^2\,dy, \qquad
              dP_{gg} = \frac{\alpha_s C_A}{4\pi} (x_1^3 + x_2^3)\,d\ln k_T^2\,dy

    and for q g one power of each, with the colour factor of the nearer end (Gustafson and
    Pettersson, Nucl. Phys. B 306 (1988) 746). The first emission is the exact leading-order
    matrix element. A gluon at end 2 becomes a pair of one flavour, above its threshold, with

    .. math:: dP_{g \to q\bar q} = \frac{\alpha_s}{8\pi} (1 - x_2)
              [(1 - x_2)^2 + (1 - x_3)^2]\,d\ln k_T^2\,dy.

    α_s runs at one loop with five flavours and is evaluated at k_T². The nearer end takes the
    recoil, exactly massless, and each step conserves four-momentum. Quarks are massless.

    Trials come from a clock that does not depend on α_s (see ``coupling``); an outcome has the
    probability α_s(k_T²; θ)/α_over(k_T²) times its weight, so the density of the history, its
    score and its ratios are exact.

    Sites: ``shower_trials`` and, for each trial, ``shower_scale`` (ln k_T²/GeV²),
    ``shower_position`` (along the dipoles, 0 to 1), ``shower_azimuth``, ``shower_outcome``
    (0: veto, 1: gluon, 2 to 6: d, u, s, c, b from the gluon at the right end, 7 to 11: left).

    ``shower_cutoff`` decides which trials are possible: it has no score.

    Arguments:
        alpha_s_max: The largest α_s(m_Z): that of the clock. Larger is slower, and raises the
            smallest cutoff.
        running: Whether α_s runs.
    """

    name = "shower"
    requires = ("sqrt_s", "hard_flavour", "cos_theta", "phi")
    provides = ("Parton_px", "Parton_py", "Parton_pz", "Parton_e", "Parton_id", "nParton")

    def __init__(self, alpha_s_max: float = 0.145, running: bool = True) -> None:
        if not 0.05 < alpha_s_max <= 0.2:
            raise WorkflowError(f"alpha_s_max = {alpha_s_max}: expected a number from 0.05 to 0.2")
        self.coupling: Coupling = FixedCoupling(alpha_s_max)
        low = 0.2
        if running:
            self.coupling = RunningCoupling(alpha_s_max)
            low = max(0.5, 1.5 * math.exp(0.5 * self.coupling.pole))
        default = min(ALPHA_S.default, alpha_s_max)
        self.parameters = (
            replace(ALPHA_S, default=default, high=alpha_s_max),
            replace(CUTOFF, default=max(CUTOFF.default, low), low=low),
        )

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Shower every pair."""
        shape = state["event"].shape
        cascade = self.cascade(state, parameters)
        Recorder(cascade, shape).run()
        momenta, ids = cascade.ordered()
        e, x, y, z = momenta
        columns = zip(self.provides, (x, y, z, e, ids, cascade.partons), strict=True)
        return state | {name: value.unflatten(0, shape) for name, value in columns}

    def cascade(self, state: State, parameters: Mapping[str, Tensor]) -> DipoleCascade:
        """The walk of a block's pairs."""
        shape = state["event"].shape
        c, phi = state["cos_theta"].flatten(), state["phi"].flatten()
        sine = (1 - c.square()).clamp_min(0).sqrt()
        direction = torch.stack([sine * torch.cos(phi), sine * torch.sin(phi), c])
        alpha_s, cutoff = (parameters[p.name].expand(shape).flatten() for p in self.parameters)
        energy, flavour = state["sqrt_s"].flatten(), state["hard_flavour"].flatten()
        walk = DipoleCascade
        if compilable(energy, direction, cutoff):
            from hepgen.simulators.compiled.walks import CompiledCascade as walk  # noqa: N813
        return walk(energy, flavour, direction, alpha_s, cutoff, self.coupling)
