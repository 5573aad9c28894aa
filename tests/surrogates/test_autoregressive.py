"""The inverse of an autoregressive layer, beside zuko's."""

import pytest
import torch
import zuko
from torch import Tensor
from torch.distributions import AffineTransform, Transform

from hepgen.surrogates.autoregressive import Autoregressive

SHAPES = {"order": torch.tensor([2, 0, 3, 1]), "hidden_features": (16,)}


@pytest.mark.parametrize("context", [0, 2])
def test_the_inverse_is_that_of_zuko(context: int) -> None:
    torch.manual_seed(0)
    ours = Autoregressive(4, context, **SHAPES)
    theirs = zuko.flows.MaskedAutoregressiveTransform(4, context, **SHAPES)
    theirs.load_state_dict(ours.state_dict())
    z, c = torch.randn(50, 4), torch.randn(50, context) if context else None
    assert torch.allclose(ours(c).inv(z), theirs(c).inv(z), atol=1e-6)
    assert torch.allclose(ours(c)(ours(c).inv(z)), z, atol=1e-5)


def test_each_variable_is_mapped_once() -> None:
    mapped = []

    class Counted(AffineTransform):
        def _inverse(self, y: Tensor) -> Tensor:
            mapped.append(y.shape[-1])
            return super()._inverse(y)  # type: ignore[no-any-return, no-untyped-call]

    def univariate(shift: Tensor, log_scale: Tensor) -> Transform:
        return Counted(shift, log_scale.exp())

    layer = Autoregressive(4, 0, univariate=univariate, **SHAPES)
    layer().inv(torch.randn(10, 4))
    assert mapped == [1, 1, 1, 1]


def test_the_inverse_has_the_gradient_of_the_map() -> None:
    torch.manual_seed(1)
    layer = Autoregressive(4, 0, **SHAPES).double()
    z = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: layer().inv(value), z)
