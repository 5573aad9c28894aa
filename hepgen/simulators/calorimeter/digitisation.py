"""From deposited energy to what the electronics reads."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import torch
from pyro.distributions import Normal, Poisson
from torch import Tensor

from hepgen.errors import WorkflowError
from hepgen.parameters import Parameter
from hepgen.simulators.calorimeter.counts import LEAST_RATE
from hepgen.simulators.distributions import Padded, RelativeLogNormal
from hepgen.simulators.stage import Stage, State

GAIN = Parameter("gain", 1.0, label="$g$", low=0.5, high=2.0)
CONSTANT_TERM = Parameter("constant_term", 0.003, label="$b$", low=1e-4, high=0.3)
SAMPLING_TERM = Parameter(
    "sampling_term", 0.03, r"sqrt(GeV)", label=r"$a_\mathrm{s}$", low=1e-3, high=0.5
)
NOISE = Parameter("noise", 0.003, "GeV", label=r"$\sigma_n$", low=1e-4, high=0.05)


class Digitisation(Stage):
    r"""Light, photo-electrons and noise.

    The response of an event (its place on the crystals, temperature) is log-normal of mean
    ``gain`` and relative width ``constant_term``; the light of a layer that holds E_l is
    log-normal of mean response·E_l and relative width ``sampling_term``/√E_l; a cell that has a
    share s of it gives N ~ Poisson(n_pe·s·E_l') photo-electrons, and its analogue signal is
    N/n_pe plus a normal noise of width ``noise``. The relative resolution is then

    .. math:: \frac{\sigma}{E} = \frac{a}{\sqrt E} \oplus b \oplus \frac{c}{E}, \qquad
              a^2 = a_\mathrm{s}^2 + \frac{1}{n_\mathrm{pe}}, \quad
              c = \sigma_n \sqrt{\mathrm{cells}}

    before containment, thresholds and rounding.

    The analogue signal is the site: rounding, saturation and suppression are deterministic
    and come after it, so that they leave the score as it is.

    Sites: ``response``, the jagged ``layer_light`` (GeV, layers with spots) and
    ``photoelectrons`` (cells with spots), and ``signal`` (GeV, every cell).

    Arguments:
        light_yield: n_pe, photo-electrons in each GeV.
    """

    name = "digitisation"
    parameters = (GAIN, CONSTANT_TERM, SAMPLING_TERM, NOISE)
    requires = ("layer_deposit", "cell_share")
    provides = ("cell_signal",)

    def __init__(self, light_yield: float = 4500.0) -> None:
        if not light_yield > 0:
            raise WorkflowError(f"light_yield = {light_yield}: expected a positive number per GeV")
        self.light_yield = light_yield

    def __call__(self, state: State, parameters: Mapping[str, Tensor]) -> State:
        """Draw the signal of every cell."""
        share = state["cell_share"]
        light = self._light(state["layer_deposit"], parameters)
        cells = share.shape[-1] // light.shape[-1]
        mean = self.light_yield * light.repeat_interleave(cells, dim=-1) * share
        lit = share > 0
        counts = Padded(Poisson(mean[lit].clamp_min(LEAST_RATE), validate_args=False), lit)
        clean = pyro.sample("photoelectrons", counts) / self.light_yield
        width = parameters["noise"][..., None].expand(clean.shape)
        reading = Normal(clean, width, validate_args=False).to_event(1)
        return state | {"cell_signal": pyro.sample("signal", reading)}

    def _light(self, deposit: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
        shape = deposit.shape[:-1]
        gain, spread = (parameters[n].expand(shape) for n in ("gain", "constant_term"))
        response = pyro.sample("response", RelativeLogNormal(gain, spread))
        filled = deposit > 0
        mean = (response[..., None] * deposit)[filled]
        term = parameters["sampling_term"][..., None].expand(deposit.shape)[filled]
        smeared = RelativeLogNormal(mean, term / deposit[filled].sqrt())
        light: Tensor = pyro.sample("layer_light", Padded(smeared, filled))
        return light


def digitise(signal: Tensor, step: float, bits: int, pedestal: int, threshold: float) -> Tensor:
    """What the converter reads of an analogue signal, in the unit of the signal.

    It rounds to whole counts above a pedestal, of which there are 2^bits, and readings that are
    not above the threshold are zero. A threshold of zero keeps all, negative ones too.

    >>> signal = torch.tensor([-0.004, 0.0112, 3.0, 99.0])
    >>> digitise(signal, step=0.01, bits=8, pedestal=20, threshold=0.0)
    tensor([-0.0000, 0.0100, 2.3500, 2.3500])
    """
    counts = (signal / step).round().clamp(-pedestal, 2**bits - 1 - pedestal)
    reading = counts * step
    return torch.where(reading > threshold, reading, 0.0) if threshold > 0 else reading
