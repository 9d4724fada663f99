"""The chain rule of a residual branch, written by hand: products with its Jacobian, and their gradients.

Autograd could do everything here (and does, for any other module). The rules below give the same numbers with less work
and less memory, and they are short enough to read.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..estimators.linearization import Linearization
from ..numerics.kernels import channel_sums, scaled
from .activations import Activation
from .lipschitz import LipschitzLayer, channels_last
from .trace import branch_trace, exact_trace_exists

# cotangents of a step's input and of its tangent, gradients of its tensors
Pulled = tuple[Tensor, Tensor | None, list[Tensor]]


class Affine:
    """y = W z + b at one point: tensors are the weight as applied, prepared for the layer's products, and the bias."""

    def __init__(self, layer: LipschitzLayer, weight: Tensor, bias: Tensor) -> None:
        self.layer, self.weight, self.bias, self.linear = layer, weight, bias, layer.linear(weight)

    def meet(self, z: Tensor) -> None:
        self.z = z

    def value(self) -> Tensor:
        return self.linear.product(self.z, self.bias)

    def jvp(self, v: Tensor) -> Tensor:
        return self.linear.product(v)

    def vjp(self, u: Tensor, scale: Tensor | None = None) -> Tensor:
        return self.linear.transpose(u, scale)

    def merged(self, tangent: Tensor | None, y_bar: Tensor, p: Tensor | None, direct: Tensor | None) -> Pulled:
        """One step of BranchLinearization._sweep; direct: a gradient of the weight from elsewhere."""
        weight = self.linear.outer(y_bar, self.z)
        if direct is not None:
            weight += direct
        bias = channel_sums(y_bar)
        if tangent is None:
            return self.vjp(y_bar), None, [weight, bias]
        self.linear.add_outer_(weight, p, tangent)
        return self.vjp(y_bar), self.vjp(p), [weight, bias]


class Pair:
    """y = (z, -z) along axis 1, before an activation that acts on pairs."""

    def meet(self, z: Tensor) -> None:
        self.y = self.jvp(z)

    def value(self) -> Tensor:
        return self.y

    def jvp(self, v: Tensor) -> Tensor:
        return torch.cat([v, -v], 1)

    def vjp(self, u: Tensor) -> Tensor:
        plus, minus = u.chunk(2, 1)
        return plus - minus

    def merged(self, tangent: Tensor | None, y_bar: Tensor, p: Tensor | None, direct: Tensor | None) -> Pulled:
        return self.vjp(y_bar), None if p is None else self.vjp(p), []


class Pointwise:
    """y = a(z) at one point: the tensor is the activation's scale, if it has one.

    Cotangents are written over where no graph is kept: memory is what costs.
    """

    def __init__(self, activation: Activation, scale: Tensor | None, *, to_pull_back: bool) -> None:
        self.activation, self.scale, self.to_pull_back = activation, scale, to_pull_back

    def meet(self, z: Tensor) -> None:
        curved = self.to_pull_back and self.activation.keeps_curvature(z)
        y, self.slope, *curvature = self.activation.derivatives(z, 1 + curved, self.scale)
        self.y, self.point = y, (z, y, self.slope, *curvature) if self.to_pull_back else ()

    def value(self) -> Tensor:
        return self.y

    def jvp(self, v: Tensor) -> Tensor:
        return self.slope * v

    def vjp(self, u: Tensor) -> Tensor:
        return scaled(u, self.slope[: len(u)])

    def merged(self, tangent: Tensor | None, y_bar: Tensor, p: Tensor | None, direct: Tensor | None) -> Pulled:
        """One step of BranchLinearization._sweep, over its arguments; direct: a cotangent of the slope."""
        z_bar, q, s_bar = self.activation.pull_back(self.point, y_bar, tangent, p, direct, self.scale)
        return z_bar, q, [] if s_bar is None else [s_bar.view_as(self.scale)]


class BranchLinearization(Linearization):
    """g at x, with J as the product of its layers: J = W_m D_(m-1) ... D_1 W_1, D_i = diag(a'(z_i))."""

    def __init__(self, steps: Sequence[Affine | Pair | Pointwise], x: Tensor) -> None:
        self.steps = steps
        steps[0].meet(channels_last(x))
        for step, following in pairwise(steps):
            following.meet(step.value())

    @cached_property
    def output(self) -> Tensor:
        """g(x), computed when it is asked for: a backward pass does without."""
        return self.steps[-1].value()

    def jvp(self, v: Tensor) -> Tensor:
        v = channels_last(v)
        for step in self.steps:
            v = step.jvp(v)
        return v

    def vjp(self, u: Tensor) -> Tensor:
        return _pulled(self.steps, self._at_the_end(u))

    first_vjp = vjp  # every step takes the first rows of what it knows

    def _at_the_end(self, u: Tensor) -> Tensor:
        """A cotangent of g, a copy of it where the last step may write over it."""
        return channels_last(u.clone() if isinstance(self.steps[-1], Pointwise) else u)

    @cached_property
    def frozen_slope(self) -> Tensor | None:
        """The slope of a leading activation, averaged over the batch and all pixels of a channel; constant."""
        if not isinstance(self.steps[0], Pointwise):
            return None
        slope = self.steps[0].slope.detach()
        return slope.mean([axis for axis in range(slope.dim()) if axis != 1], keepdim=True)

    def vjp_pair(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """J^T u and K^T u: K is J with the leading activation's slope frozen, so that all but one step is shared."""
        if self.frozen_slope is None:
            return super().vjp_pair(u)
        u = _pulled(self.steps[1:], self._at_the_end(u))
        frozen = self.frozen_slope * u
        return self.steps[0].vjp(u), frozen

    def _traced(self) -> tuple[list[Affine], list[Pointwise]]:
        """The three layers and the two activations between them that an exact trace needs; empty where they are not."""
        body = self.steps[self.frozen_slope is not None :]
        layers, activations = list(body[::2]), list(body[1::2])
        fits = len(body) == 5 and exact_trace_exists(
            [s.layer for s in layers if isinstance(s, Affine)], activations[0].slope
        )
        return (layers, activations) if fits else ([], [])

    def trace(self) -> Tensor | None:
        """tr(K) = tr(W3 D2 W2 D1 W1 D0), D0 frozen: see trace.py."""
        layers, activations = self._traced()
        slopes, weights = [s.slope for s in activations], [s.layer.restored(s.weight) for s in layers]
        return branch_trace(slopes, weights, self.frozen_slope) if layers else None

    def _trace_gradient(self, weights: Tensor) -> dict[Any, Tensor]:
        """Gradient of sum_b weights_b tr(K_b) in every slope and every weight that it holds, by step."""
        layers, activations = self._traced()
        with torch.enable_grad():
            slopes = [s.slope.detach().requires_grad_() for s in activations]
            matrices = [s.weight.detach().requires_grad_() for s in layers]
            restored = [s.layer.restored(matrix) for s, matrix in zip(layers, matrices)]
            total = (weights * branch_trace(slopes, restored, self.frozen_slope)).sum()
        return dict(zip([*activations, *layers], torch.autograd.grad(total, [*slopes, *matrices])))

    @torch.no_grad()
    def pull_back(
        self,
        cotangent: Tensor | None,
        weights: Tensor | None = None,
        u: Tensor | None = None,
        v: Tensor | None = None,
        *,
        control_variate: bool = False,
    ) -> list[Tensor]:
        """As the base class, by one sweep for g and s together (`_sweep`), one more for each further probe, and with a
        control variate behind a leading activation one for each <v, K v>."""
        if u is None:
            return self._sweep(cotangent, None, None)
        # where K = J one sweep does both products
        same = control_variate and self.frozen_slope is None
        each = weights.to(u.dtype).view(-1, *[1] * (u.dim() - 2))
        # the trace is there once for all probes
        direct = self._trace_gradient(weights) if control_variate else None
        sweeps = []
        for one_u, one_v in zip(u, v):
            one_u = one_u - one_v / len(v) if same else one_u
            sweeps.append(self._sweep(cotangent, each * one_u, one_v, direct))
            if control_variate and not same:
                sweeps.append(self._sweep(None, each * one_v / -len(v), self.frozen_slope * one_v, start=1))
            cotangent = direct = None
        return [reduce(torch.add, parts) for parts in zip(*sweeps)]

    def _sweep(
        self,
        cotangent: Tensor | None,
        u: Tensor | None,
        v: Tensor | None,
        direct: Mapping[Any, Tensor] | None = None,
        start: int = 0,
    ) -> list[Tensor]:
        """Gradient of <cotangent, g(x)> + <u, J v> in x and in every tensor of the branch, u and v constant.

        Tangents first: z'_i = (J v up to step i). Then one sweep back with two cotangents per step, y_bar of the value
        and p of the tangent. An affine step gives z_bar = W^T y_bar, q = W^T p and dW = y_bar z^T + p z'^T; an
        activation gives q = D p and z_bar = D y_bar + a''(z) z' p: through the curvature the log-determinant's gradient
        enters the value's.

        start: the step at which the tangent v enters.  direct: more gradients, by step (see `merged`).
        """
        v = None if v is None else channels_last(v)
        tangents: list[Tensor | None] = [None] * start + [None if v is None else v.clone()]
        for step in self.steps[start:-1]:
            v = step.jvp(v) if v is not None else None
            tangents.append(v)
        y_bar = self._at_the_end(torch.zeros_like(u) if cotangent is None else cotangent)
        u = None if u is None else self._at_the_end(u)
        gradients: list[list[Tensor]] = []
        for step, tangent in zip(reversed(self.steps), reversed(tangents)):
            y_bar, u, of_step = step.merged(tangent, y_bar, u, direct.get(step) if direct else None)
            gradients.append(of_step)
        return [y_bar, *(g for of_step in reversed(gradients) for g in of_step)]


def _pulled(steps: Sequence[Affine | Pair | Pointwise], u: Tensor) -> Tensor:
    """u through the transposes of the steps, from the last; a layer multiplies by the slope before it in one go."""
    remaining = list(steps)
    while remaining:
        step = remaining.pop()
        if isinstance(step, Affine) and remaining and isinstance(remaining[-1], Pointwise):
            u = step.vjp(u, remaining.pop().slope[: len(u)])
        else:
            u = step.vjp(u)
    return u
