"""Samplers are fixed loops: they become graphs for any number of events."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hepgen.surrogates.conditional import ConditionalDensity
from hepgen.surrogates.families import build


class Generator(nn.Module):
    """What is exported: noise and contexts to events."""

    def __init__(self, model: ConditionalDensity) -> None:
        super().__init__()
        self.model = model

    def forward(self, noise: Tensor, context: Tensor) -> Tensor:
        return self.model.generate(noise, context)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("diffusion", {"sampler": "heun"}),
        ("diffusion", {"sampler": "ancestral"}),
        ("distilled", {}),
    ],
)
def test_a_graph_for_any_batch(method: str, options: dict[str, str]) -> None:
    model = build(method, 2, 1, {"hidden": 8, "blocks": 1, "steps": 2, **options}).eval()
    batch = torch.export.Dim("batch")
    graph = torch.export.export(
        Generator(model), (torch.randn(4, model.noise), torch.randn(4, 1)),
        dynamic_shapes=({0: batch}, {0: batch}),
    ).module()  # fmt: skip
    noise, c = torch.randn(7, model.noise), torch.randn(7, 1)
    torch.testing.assert_close(graph(noise, c), model.generate(noise, c))
