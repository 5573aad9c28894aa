r"""The score test: how many standard deviations of a parameter its gradient at a value is worth.

.. math:: z = \frac{\partial \log L}{\partial \mu} \sqrt{\bigl[(-H)^{-1}\bigr]_{\mu\mu}}
          \quad \text{at } (\mu_0, \hat{\hat\nu}(\mu_0))

(Rao, Proc. Camb. Phil. Soc. 44 (1948) 50.) No fit of μ is needed, so that none meets a bound.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hepgen.inference.likelihood import DataSets, Likelihood
from hepgen.inference.statistics.fit import curvature_error, fit, fit_points, index


def score_test(
    likelihood: Likelihood,
    sets: DataSets,
    parameter: str,
    value: float = 0.0,
    start: Tensor | None = None,
) -> Tensor:
    """z of S data sets, shape ``(S,)``; positive where they want more than the value.

    Arguments:
        likelihood: With the parameters.
        sets: S data sets.
        parameter: μ.
        value: μ₀, inside of its range.
        start: Where the conditional fit begins, shape ``(D,)``.

    Of n events on a known background b it is (n − b)/√n:

    >>> from hepgen.inference.binned import uncorrelated_background
    >>> model = uncorrelated_background([10], [100], [1e-3], low=-5.0)
    >>> round(score_test(model, model.observed([130]), "mu").item(), 2)
    2.63
    """
    there = fit(likelihood, sets, fixed={parameter: value}, start=start).theta[:, None]
    held = torch.zeros_like(there, dtype=torch.bool)
    found = fit_points(likelihood, sets, there, held, steps=0).at(0)
    gradient = found.gradient[..., index(likelihood.parameters, parameter)]
    return gradient * curvature_error(found, parameter)
