"""What explorers show of trained flows: a grid of the plane after every block, and the Jacobians of blocks."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ...estimators.linearization import linearize
from ...estimators.logdet import dense_jacobian
from ...lab.checkpoints import pretrained
from ...layers.elementwise import ActNorm
from ...layers.residual import residual_blocks
from ...models.flow import Flow
from ...models.systems import systems


def deep_flows() -> dict[str, Flow]:
    """The small flows of the pinwheel that the project ships, by the system's label."""
    return {systems[name].label: pretrained(f"pinwheel-{name}").float() for name in ("resflow", "realnvp")}


@torch.no_grad()
def grid_through(flow: Flow, points: Tensor, limit: float = 4.0) -> list[tuple[str, Tensor, Tensor]]:
    """Stages for chapter07.pushed_grid: a grid on [-limit, limit]^2, and points, after 0, 1, ... blocks."""
    ticks, along = torch.linspace(-limit, limit, 17), torch.linspace(-limit, limit, 161)
    level = torch.stack(torch.meshgrid(ticks, along, indexing="ij")[::-1], -1)
    lines = torch.cat([level, level.flip(2)])  # (lines, points of a line, 2)
    x, stages = torch.cat([lines.view(-1, 2), points]).to(next(flow.parameters()).dtype), []
    for layer in flow.bijection.layers:
        x = layer.transform(x)
        if isinstance(layer, ActNorm):
            depth = len(stages)
            label = f"after {depth} block{'s' if depth > 1 else ''}" if depth else "the data"
            stages.append((label, x[: -len(points)].view(lines.shape), x[-len(points) :]))
    return stages


@torch.no_grad()
def block_jacobians(flow: Flow, images: Tensor) -> Mapping[str, np.ndarray]:
    """{name of the block: (D, D) Jacobian of its branch} where the first of these events passes through the flow."""
    jacobians = {}

    def keep(block, inputs, name):
        jacobians[name] = dense_jacobian(linearize(block.branch, inputs[0][:1]))[0].double().cpu().numpy()

    blocks = residual_blocks(flow).items()
    hooks = [b.register_forward_pre_hook(lambda block, inputs, name=n: keep(block, inputs, name)) for n, b in blocks]
    try:
        flow.encode(images[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return jacobians
