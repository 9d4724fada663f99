"""What a block keeps between its forward and its backward pass: three answers, the same gradient.

store: everything that differentiation needs.
backward_in_forward: the gradient of the log-determinant, computed at once, and what g needs (paper, sec. 3.2).
recompute: the input, the probe v and the vector u of the Neumann series; the backward pass computes g once more.

For the same draw the three give the same gradient to rounding, per-sample weights of the loss included. Only
backward_in_forward cannot know the weights in time: it checks that they are equal (one number read from the device) and
computes the gradient afresh where they are not.

Under torch.autocast, g and its products run in autocast's dtype. Norms, the inner products that make the
log-determinant, and x + g(x) stay as they are.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..estimators.linearization import linearize, per_sample_dot

__all__ = ["GRADIENTS", "MEMORY", "residual_step"]

GRADIENTS = ("neumann", "series")
MEMORY = ("recompute", "backward_in_forward", "store")


def residual_step(
    branch: Any, x: Tensor, estimator: Any, draw: Any, gradient: str, memory: str
) -> tuple[Tensor, Tensor]:
    """g(x) and the log-determinant's estimate for that draw, with the gradient and the memory mode asked for."""
    neumann = gradient == "neumann" and hasattr(estimator, "neumann")
    if neumann and hasattr(branch, "tensors"):
        kind = x.device.type
        low = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        with torch.autocast(kind, enabled=False):  # or it would take the norms in low precision too
            tensors = branch.tensors(x)
        if low is not None:
            x, tensors, draw = x.to(low), [t.to(low) for t in tensors], replace(draw, probes=draw.probes.to(low))
        rule = _Merged(branch, estimator, draw, memory)
    else:
        rule = _Autograd(branch, estimator, draw, memory, neumann)
        if memory == "store":
            return rule.differentiable(x)
        tensors = [p for p in branch.parameters() if p.requires_grad]
    return _Saving.apply(rule, x, *tensors)


class _Saving(torch.autograd.Function):
    """Hands the two passes to a rule; only x and the tensors are kept by autograd."""

    @staticmethod
    def forward(ctx, rule, x, *tensors):
        ctx.rule = rule
        ctx.save_for_backward(x, *tensors)
        with torch.autocast(x.device.type, enabled=False):
            return rule.forward(x, tensors)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, d_output, d_value):
        x, *tensors = ctx.saved_tensors
        d_x, d_tensors = ctx.rule.backward(x, tensors, d_output, d_value)
        return None, d_x, *d_tensors


def _equal(weights: Tensor) -> bool:
    return bool((weights == weights[0]).all())


def _scaled(gradients: Sequence[Tensor], weight: Tensor, more: Sequence[Tensor]) -> list[Tensor]:
    return [weight.to(g.dtype) * g + m for g, m in zip(gradients, more)]


class _Merged:
    """The fast rule: a LipschitzBranch with the Neumann gradient and one merged sweep back."""

    def __init__(self, branch: Any, estimator: Any, draw: Any, memory: str) -> None:
        self.branch, self.estimator, self.draw, self.memory = branch, estimator, draw, memory

    def forward(self, x: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        g = self.branch.linearize(x, tensors, for_sweep=self.memory != "recompute")
        estimate, self.u = self.estimator.neumann(g, self.draw)
        self.v = self.draw.probes
        self.kept = None if self.memory == "recompute" else g
        if self.memory == "backward_in_forward":
            self.gradients = self._sweep(g, None, torch.ones_like(estimate.value))
        # a copy of the handle: autograd will hang the graph, and with it this rule, on what is returned
        return g.output.detach(), estimate.value

    def _sweep(self, g: Any, cotangent: Tensor | None, weights: Tensor) -> list[Tensor]:
        """Gradients of <cotangent, g> + sum_b weights_b log_det_b, of x first."""
        each = weights.to(self.u.dtype).view(-1, *[1] * (self.u.dim() - 2))
        control = getattr(self.estimator, "control_variate", False)
        sweeps = []
        for i, (u, v) in enumerate(zip(self.u, self.v)):
            share = v / len(self.v)
            # <u, J v> - <v, K v> + tr(K), the trace once for all probes; where K = J one sweep does both products
            same = control and not g.starts_with_activation
            first = (cotangent, weights if control else None) if i == 0 else (None, None)
            sweeps.append(g.sweep(first[0], each * (u - share if same else u), v, first[1]))
            if control and not same:
                sweeps.append(g.frozen_sweep(-each * share, v))
        return [sum(parts) for parts in zip(*([d_x, *d_tensors] for d_x, d_tensors in sweeps))]

    def backward(
        self, x: Tensor, tensors: Sequence[Tensor], d_output: Tensor, d_value: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        g = self.kept or self.branch.linearize(x, tensors, for_sweep=True)
        if self.memory == "backward_in_forward" and _equal(d_value):
            d_x, d_tensors = g.sweep(d_output)
            total = _scaled(self.gradients, d_value[0], [d_x, *d_tensors])
        else:
            total = self._sweep(g, d_output, d_value)
        return total[0], total[1:]


class _Autograd:
    """The readable rule: any module, automatic differentiation throughout."""

    def __init__(self, branch: Any, estimator: Any, draw: Any, memory: str, neumann: bool) -> None:
        self.branch, self.estimator, self.draw, self.memory, self.neumann = branch, estimator, draw, memory, neumann

    def differentiable(self, x: Tensor, u: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """g(x) and the estimate with its graph; in Neumann mode the value rides on the graph of <u, J v>."""
        g = linearize(self.branch, x)
        if not self.neumann:
            return g.output, self.estimator.estimate(g, self.draw).value
        value = None
        if u is None:
            estimate, u = self.estimator.neumann(g, self.draw)
            value = estimate.value
        probes = self.draw.probes
        surrogate = sum(per_sample_dot(g.vjp(one_u), one_v) for one_u, one_v in zip(u, probes))
        if getattr(self.estimator, "control_variate", False):
            frozen = sum(per_sample_dot(g.vjp_pair(v)[1], v) for v in probes) / len(probes)
            surrogate = surrogate + g.trace() - frozen
        return g.output, surrogate if value is None else surrogate + (value - surrogate).detach()

    def forward(self, x: Tensor, tensors: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        if self.memory == "backward_in_forward":
            with torch.enable_grad():
                self.x = x.detach().requires_grad_()
                self.output, value = self.differentiable(self.x)
            self.gradients = _grad(value, [self.x, *tensors], torch.ones_like(value), keep=True)
            return self.output.detach(), value.detach()
        self.u = None
        g = linearize(self.branch, x)
        if self.neumann:
            estimate, self.u = self.estimator.neumann(g, self.draw)
        else:
            estimate = self.estimator.estimate(g, self.draw)
        return g.output.detach(), estimate.value

    def backward(
        self, x: Tensor, tensors: Sequence[Tensor], d_output: Tensor, d_value: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        if self.memory == "backward_in_forward" and _equal(d_value):
            of_output = _grad(self.output, [self.x, *tensors], d_output, keep=True)
            total = _scaled(self.gradients, d_value[0], of_output)
        else:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                output, value = self.differentiable(x, getattr(self, "u", None))
            total = _grad([output, value], [x, *tensors], [d_output, d_value], keep=False)
        return total[0], total[1:]


def _grad(outputs: Any, inputs: Sequence[Tensor], cotangents: Any, keep: bool) -> list[Tensor]:
    """Gradients with zeros for inputs that have no influence."""
    found = torch.autograd.grad(outputs, inputs, cotangents, retain_graph=keep, allow_unused=True)
    return [torch.zeros_like(i) if f is None else f for f, i in zip(found, inputs)]
