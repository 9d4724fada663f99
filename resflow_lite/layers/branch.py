"""The residual branch g: Lipschitz layers and activations, with the products of its Jacobian written by hand.

Autograd could do everything here (and does, for any other module). The rules below give the same numbers with less work
and less memory, and they are short enough to read: they are the chain rule.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from ..estimators.linearization import Linearization
from .activations import Activation
from .lipschitz import LipschitzLayer, channels_last

__all__ = ["LipschitzBranch", "BranchLinearization"]


# cotangents of a step's input and of its tangent, gradients of its tensors
Pulled = tuple[Tensor, Tensor | None, list[Tensor]]


class _Affine:
    """y = W z + b at one point: tensors are the weight as applied and the bias."""

    def __init__(self, layer: LipschitzLayer, weight: Tensor, bias: Tensor) -> None:
        self.layer, self.weight, self.bias = layer, weight, bias

    def value(self, z: Tensor) -> Tensor:
        self.z = z
        return self.layer.product(self.weight, z, self.bias)

    def jvp(self, v: Tensor) -> Tensor:
        return self.layer.product(self.weight, v)

    def vjp(self, u: Tensor) -> Tensor:
        return self.layer.transpose(self.weight, u)

    def merged(self, tangent: Tensor | None, y_bar: Tensor, p: Tensor | None) -> Pulled:
        """Cotangents of z and of its tangent, and the gradients of weight and bias (see BranchLinearization.sweep)."""
        weight = self.layer.outer(self.weight, y_bar, self.z)
        bias = y_bar.sum([axis for axis in range(y_bar.dim()) if axis != 1])
        if tangent is None:
            return self.vjp(y_bar), None, [weight, bias]
        weight += self.layer.outer(self.weight, p, tangent)
        return self.vjp(y_bar), self.vjp(p), [weight, bias]


class _Pointwise:
    """y = a(z) at one point: the tensor is the activation's scale, if it has one."""

    def __init__(self, activation: Activation, scale: Tensor | None, order: int) -> None:
        self.activation, self.scale, self.order = activation, scale, order

    def value(self, z: Tensor) -> Tensor:
        y, self.slope, *more = self.activation.derivatives(z, self.order, self.scale)
        self.for_sweep = (z, y, *more)
        return y

    def jvp(self, v: Tensor) -> Tensor:
        return self.slope * v

    def vjp(self, u: Tensor) -> Tensor:
        return self.slope * u

    def merged(self, tangent: Tensor | None, y_bar: Tensor, p: Tensor | None) -> Pulled:
        z, y, curvature = self.for_sweep
        if tangent is None:
            z_bar, q = self.slope * y_bar, None
        else:
            z_bar, q = self.activation.pull_back(self.slope, curvature, y_bar, tangent, p)
        if self.scale is None:
            return z_bar, q, []
        # a(z) = F(s z) / s is homogeneous: s da/ds = z a' - a, and s da'/ds = z a''
        influence = torch.addcmul(z * z_bar, y, y_bar, value=-1).sum()
        return z_bar, q, [(influence / self.scale).view_as(self.scale)]


class BranchLinearization(Linearization):
    """g at x, with J as the product of its layers: J = W_m D_(m-1) ... D_1 W_1, D_i = diag(a'(z_i))."""

    def __init__(self, steps: Sequence[_Affine | _Pointwise], x: Tensor) -> None:
        self.steps = steps
        y = channels_last(x)
        for step in steps:
            y = step.value(y)
        self.output = y

    def jvp(self, v: Tensor) -> Tensor:
        v = channels_last(v)
        for step in self.steps:
            v = step.jvp(v)
        return v

    def vjp(self, u: Tensor) -> Tensor:
        u = channels_last(u)
        for step in reversed(self.steps):
            u = step.vjp(u)
        return u

    @torch.no_grad()
    def sweep(
        self, cotangent: Tensor | None, u: Tensor | None = None, v: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Gradient of <cotangent, g(x)> + <u, J v> in x and in every tensor of the branch, u and v constant.

        Tangents first: z'_i = (J v up to step i). Then one sweep back with two cotangents per step, y_bar of the value
        and p of the tangent. An affine step gives z_bar = W^T y_bar, q = W^T p and dW = y_bar z^T + p z'^T; an
        activation gives q = D p and z_bar = D y_bar + a''(z) z' p: through the curvature the log-determinant's gradient
        enters the value's.
        """
        v = None if v is None else channels_last(v)
        tangents: list[Tensor | None] = []
        for step in self.steps:
            tangents.append(v)
            v = step.jvp(v) if v is not None else None
        y_bar = channels_last(torch.zeros_like(self.output) if cotangent is None else cotangent)
        gradients: list[list[Tensor]] = []
        for step, tangent in zip(reversed(self.steps), reversed(tangents)):
            y_bar, u, of_step = step.merged(tangent, y_bar, u)
            gradients.append(of_step)
        return y_bar, [g for of_step in reversed(gradients) for g in of_step]


class LipschitzBranch(nn.Module):
    """g as a sequence of Lipschitz layers and activations, ending as wide as it starts.

    Lip(g) <= product of the layers' norms and the activations' constants: below 1 by construction, as far as the norms
    are right.
    """

    def __init__(self, steps: Iterable[LipschitzLayer | Activation]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        layers = [s for s in self.steps if isinstance(s, LipschitzLayer)]
        for step in self.steps:
            if not isinstance(step, LipschitzLayer | Activation):
                raise SettingsError(
                    f"a LipschitzBranch holds Lipschitz layers and Activations, not {type(step).__name__}"
                )
        sizes = [(layer.weight.shape[1], layer.weight.shape[0]) for layer in layers]
        closed = sizes and all(a[1] == b[0] for a, b in pairwise(sizes)) and sizes[0][0] == sizes[-1][1]
        if not closed:
            raise SettingsError(f"layers of widths {sizes} do not form a map from a space to itself")

    def forward(self, x: Tensor) -> Tensor:
        return self.value(x, self.tensors(x))

    def value(self, x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """g(x) alone, with the given tensors."""
        remaining, x = iter(tensors), channels_last(x)
        for step in self.steps:
            if isinstance(step, LipschitzLayer):
                x = step.product(next(remaining), x, next(remaining))
            else:
                x = step.derivatives(x, 0, next(remaining) if step.scale() is not None else None)[0]
        return x

    def tensors(self, x: Tensor) -> list[Tensor]:
        """Weights as applied, biases and scales in order, for inputs of the size of x; differentiable."""
        found: list[Tensor] = []
        for step in self.steps:
            if isinstance(step, LipschitzLayer):
                found += [step.normalized_weight(x), step.bias]
            elif (scale := step.scale()) is not None:
                found.append(scale)
        return found

    def linearize(
        self, x: Tensor, tensors: Sequence[Tensor] | None = None, for_sweep: bool = False
    ) -> BranchLinearization:
        """g at x with the given tensors (default: the branch's own, normalised now); `sweep` needs for_sweep."""
        remaining = iter(self.tensors(x) if tensors is None else tensors)
        steps: list[_Affine | _Pointwise] = []
        for step in self.steps:
            if isinstance(step, LipschitzLayer):
                steps.append(_Affine(step, next(remaining), next(remaining)))
            else:
                steps.append(_Pointwise(step, next(remaining) if step.scale() is not None else None, 1 + for_sweep))
        return BranchLinearization(steps, x)
