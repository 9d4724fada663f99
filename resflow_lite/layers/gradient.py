"""How a residual block is differentiated: four ways.

Through the series: autograd keeps the graph of every term (gradient "series"; the memory modes do not apply).

By the Neumann series: no graph through the terms. They are folded into one vector u, and the gradient of <u, J v> is
taken once, together with that of g. What a block keeps until then is its memory mode:
    store: the linearization of g.
    backward_in_forward: the same and the gradient of the log-determinant, computed at once (paper, sec. 3.2).
    recompute: the input, the probe v and u; the backward pass computes g once more.
For the same draw the three give the same gradient to rounding, per-sample weights of the loss included. Only
backward_in_forward cannot know the weights in time: it checks that they are equal (one number read from the device) and
computes the gradient afresh where they are not.

Under torch.autocast, g and its products run in autocast's dtype. Norms, the inner products that make the
log-determinant, and x + g(x) stay as they are.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..errors import SettingsError
from ..estimators.linearization import linearize, replay

GRADIENTS = ("neumann", "series")
MEMORY = ("recompute", "backward_in_forward", "store")


def residual_step(
    branch: Any, x: Tensor, estimator: Any, draw: Any, gradient: str, memory: str
) -> tuple[Tensor, Tensor]:
    """g(x) and the log-determinant's estimate for that draw, differentiated in the way asked for.

    An estimator without `neumann` is differentiated through its series; where gradients are off nothing is.
    """
    recorded = torch.is_grad_enabled()
    if gradient == "series" or not recorded or not hasattr(estimator, "neumann"):
        estimate = estimator.estimate(linearize(branch, x), draw)
        found = estimate.output, estimate.value
        return found if recorded else tuple(t.detach() for t in found)
    inputs, again = replay(branch, x)
    if draw.probes.dtype != inputs[0].dtype:
        draw = replace(draw, probes=draw.probes.to(inputs[0].dtype))
    try:
        return _Neumann.apply(estimator, draw, memory, again, *inputs)
    except RuntimeError as error:
        if "functorch" not in str(error):
            raise
        raise SettingsError(
            'torch.func does not reach through gradient="neumann", which has a backward pass of its own. Set '
            'gradient="series"'
        ) from error


class _Neumann(torch.autograd.Function):
    """g(x) and the estimate's value, with the gradients of g and of the surrogate."""

    @staticmethod
    def forward(ctx, estimator, draw, memory, again, *inputs):
        with torch.autocast(inputs[0].device.type, enabled=False):
            g = again(inputs, to_pull_back=memory != "recompute")
            estimate, u = estimator.neumann(g, draw)
            ctx.probes, ctx.control = (u, draw.probes), getattr(estimator, "control_variate", False)
            ctx.gradients = None
            if memory == "backward_in_forward":
                ones = torch.ones_like(estimate.value)
                ctx.gradients = g.pull_back(None, ones, *ctx.probes, control_variate=ctx.control)
        ctx.save_for_backward(*inputs)
        ctx.again, ctx.g = again, None if memory == "recompute" else g
        # a copy of the handle: autograd will hang the graph, and with it this ctx, on what is returned
        return g.output.detach(), estimate.value

    @staticmethod
    def backward(ctx, d_output, d_value):
        if torch.is_grad_enabled():
            raise SettingsError(
                'create_graph=True: the gradient of a block with gradient="neumann" cannot be differentiated again, as '
                'it takes u for constant. Set gradient="series" for second derivatives'
            )
        inputs = ctx.saved_tensors
        g = ctx.g or ctx.again(inputs, to_pull_back=True)
        if ctx.gradients is None or not bool((d_value == d_value[0]).all()):
            total = g.pull_back(d_output, d_value, *ctx.probes, control_variate=ctx.control)
        else:
            of_output = g.pull_back(d_output)
            total = [d_value[0].to(a.dtype) * a + b for a, b in zip(ctx.gradients, of_output)]
        return None, None, None, None, *total
