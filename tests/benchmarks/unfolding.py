"""Unfolding of the dijet mass against the truth: bias, χ² with covariance, coverage.

    python tests/benchmarks/unfolding.py [--sets 40] [--events 4000] [--weighted 40]

The response and the posterior are learned from a falling spectrum (`dijet_bump` at μ = 0), the
pseudo-data have a resonance on it (μ = 20). Three unfoldings of the same data: bins (D'Agostini),
events by the learned posterior, events by the learned posterior weighted with the chain's own
density. The bias is against what was generated in each set, pulls and χ² are against its mean.
The number of generated events is fixed, which makes Poisson errors too large by a few per cent in
the fullest bin. One or two minutes on one core.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor

from hepgen.features import Feature
from hepgen.inference.unfolding import (
    Smearing,
    Unfolded,
    binned_smearing,
    density_weights,
    event_smearing,
    unfold,
)
from hepgen.simulators.processes.registry import process
from hepgen.surrogates.latent_posterior import learn_latent_posterior

CHAIN = process("dijet_bump")
PRIOR = CHAIN.parameters.values(signal_strength=0.0)
TRUTH = CHAIN.parameters.values(signal_strength=20.0, gamma_x=150.0)
FINE = torch.tensor([900.0, *range(1200, 3400, 100), 3600.0, 4000.0, 5000.0]).double()
RECO = torch.tensor([*range(1200, 3400, 50), 3600.0, 4000.0, 4500.0]).double()
SHOWN = torch.tensor([1200.0, *range(1400, 2601, 200)]).double()
MEASURED = ("cos_theta", "rapidity", "phi", "jet_measured_pt")


@dataclass
class Score:
    """Unfolded sets beside what was generated in each, and beside its expectation."""

    sets: list[Unfolded]
    generated: Tensor
    expected: Tensor

    def __str__(self) -> str:
        values, errors = (
            torch.stack([getattr(one, name) for one in self.sets]) for name in ("values", "errors")
        )
        pulls = (values - self.expected) / errors
        chi2 = torch.tensor([one.chi2(self.expected)[0] for one in self.sets])
        off = (values - self.generated[: len(values)]) / self.expected
        bias, error = off.mean(0), off.std(0) / len(off) ** 0.5
        return (
            f"bias {100 * bias.abs().mean():.1f} % a bin (statistical error "
            f"{100 * error.mean():.1f} %), χ²/bins {chi2.mean() / len(self.expected):.2f}, covered "
            f"{(pulls.abs() < 1).double().mean():.2f}, "
            f"scatter/error {(values.std(0) / errors.mean(0)).mean():.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=40)
    parser.add_argument("--events", type=int, default=4000, help="generated in a set")
    parser.add_argument("--weighted", type=int, default=40, help="sets for the chain's density")
    options = parser.parse_args()
    torch.set_num_threads(1)

    made = [CHAIN.simulate(PRIOR, 400_000, seed).state for seed in range(10, 14)]
    true, reco, kept = (
        torch.cat([one[n][0] for one in made]) for n in ("mass", "Dijet_mass", "selected")
    )
    bins = binned_smearing(true, reco, kept, FINE, RECO)
    q = learn_latent_posterior(
        CHAIN, [Feature("mass", "GeV", low=900.0)], [Feature("Dijet_mass", "GeV", low=1200.0)],
        PRIOR, events=400_000, method="spline-autoregressive", batch_size=512, epochs=6,
        options={"layers": 1, "hidden": [64, 64], "bins": 16}, device="cpu",
    )  # fmt: skip
    simulated = q.sample(20, reco[kept][:20_000, None], 4)[..., 0]

    data = CHAIN.simulate(TRUTH, options.sets * options.events, 2)
    masses = data.state["mass"].reshape(options.sets, options.events)
    generated = torch.stack([torch.histogram(m, SHOWN).hist for m in masses])
    spectra: dict[tuple[str, int], list[Unfolded]] = {}
    for number in range(options.sets):
        here = slice(number * options.events, (number + 1) * options.events)
        chosen = data.state["selected"][0, here]
        x = data.state["Dijet_mass"][0, here][chosen]
        smearings: dict[str, tuple[Smearing, Tensor | None]] = {
            "bins": (bins, torch.histogram(x, RECO).hist),
            "events, learned": (
                event_smearing(
                    q.sample(100, x[:, None], number)[..., 0], bins.bins, simulated=simulated
                ),
                None,
            ),
        }
        if number < options.weighted:
            observed = {n: data.sites[n][0, here][chosen] for n in MEASURED}
            drawn = density_weights(q, x[:, None], CHAIN, observed, PRIOR, draws=64, inner=4)
            smearings["events, chain's density"] = (
                event_smearing(drawn[0], bins.bins, drawn[1]), None,
            )  # fmt: skip
        for name, (smearing, counts) in smearings.items():
            for k in (1, 4, 16):
                found = unfold(smearing, counts, k).merged(SHOWN)
                spectra.setdefault((name, k), []).append(found)
    for (name, k), sets in sorted(spectra.items()):
        print(
            f"{name}, {k} iterations, {len(sets)} sets: asked bias → 0, χ²/bins → 1, covered → "
            f"0.68, measured {Score(sets, generated, generated.mean(0))}"
        )


if __name__ == "__main__":
    main()
