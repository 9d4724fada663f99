"""The residual branch g: Lipschitz layers and activations, with the products of its Jacobian written by hand.

Autograd could do everything here (and does, for any other module). The rules below give the same numbers with less work
and less memory, and they are short enough to read: they are the chain rule.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from ..estimators.linearization import Linearization
from .activations import Activation
from .lipschitz import LearnedOrder, LipschitzLayer, channels_last
from .trace import branch_trace, exact_trace_exists

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

    def vjp(self, u: Tensor, owned: bool = False) -> Tensor:
        return self.layer.transpose(self.weight, u)

    def merged(self, tangent: Tensor | None, y_bar: Tensor, p: Tensor | None, direct: Tensor | None) -> Pulled:
        """One step of BranchLinearization.sweep; direct: a gradient of the weight from elsewhere."""
        weight = self.layer.outer(self.weight, y_bar, self.z)
        if direct is not None:
            weight += direct
        bias = y_bar.sum([axis for axis in range(y_bar.dim()) if axis != 1])
        if tangent is None:
            return self.vjp(y_bar), None, [weight, bias]
        weight += self.layer.outer(self.weight, p, tangent)
        return self.vjp(y_bar), self.vjp(p), [weight, bias]


class _Pair:
    """y = (z, -z) along axis 1, before an activation that acts on pairs."""

    def value(self, z: Tensor) -> Tensor:
        return torch.cat([z, -z], 1)

    def jvp(self, v: Tensor) -> Tensor:
        return torch.cat([v, -v], 1)

    def vjp(self, u: Tensor, owned: bool = False) -> Tensor:
        plus, minus = u.chunk(2, 1)
        return plus - minus

    def merged(self, tangent: Tensor | None, y_bar: Tensor, p: Tensor | None, direct: Tensor | None) -> Pulled:
        return self.vjp(y_bar), None if p is None else self.vjp(p), []


class _Pointwise:
    """y = a(z) at one point: the tensor is the activation's scale, if it has one."""

    def __init__(self, activation: Activation, scale: Tensor | None, order: int) -> None:
        self.activation, self.scale, self.order = activation, scale, order

    def value(self, z: Tensor) -> Tensor:
        y, self.slope, *curvature = self.activation.derivatives(z, self.order, self.scale)
        self.point = (z, y, self.slope, *curvature) if curvature else ()
        return y

    def jvp(self, v: Tensor) -> Tensor:
        return self.slope * v

    def vjp(self, u: Tensor, owned: bool = False) -> Tensor:
        """owned: u is nobody else's, so that it may be overwritten where no graph is kept; memory is what costs."""
        return u.mul_(self.slope) if owned and not torch.is_grad_enabled() else self.slope * u

    def merged(self, tangent: Tensor | None, y_bar: Tensor, p: Tensor | None, direct: Tensor | None) -> Pulled:
        """One step of BranchLinearization.sweep, over its arguments; direct: a cotangent of the slope."""
        z_bar, q, s_bar = self.activation.pull_back(self.point, y_bar, tangent, p, direct, self.scale)
        return z_bar, q, [] if s_bar is None else [s_bar.view_as(self.scale)]


class BranchLinearization(Linearization):
    """g at x, with J as the product of its layers: J = W_m D_(m-1) ... D_1 W_1, D_i = diag(a'(z_i))."""

    def __init__(self, steps: Sequence[_Affine | _Pair | _Pointwise], x: Tensor) -> None:
        self.steps = steps
        y = channels_last(x)
        for step in steps[:-1]:
            y = step.value(y)
        steps[-1].z = y
        if not isinstance(steps[-1], _Affine):
            self.output = steps[-1].value(y)

    @cached_property
    def output(self) -> Tensor:
        """g(x), computed when it is asked for: a backward pass does without."""
        return self.steps[-1].value(self.steps[-1].z)

    def jvp(self, v: Tensor) -> Tensor:
        v = channels_last(v)
        for step in self.steps:
            v = step.jvp(v)
        return v

    def vjp(self, u: Tensor) -> Tensor:
        u, owned = channels_last(u), False
        for step in reversed(self.steps):
            u, owned = step.vjp(u, owned), True
        return u

    @property
    def starts_with_activation(self) -> bool:
        return isinstance(self.steps[0], _Pointwise)

    def frozen_slope(self) -> Tensor:
        """The slope of a leading activation, averaged over the batch and all pixels of a channel; constant."""
        slope = self.steps[0].slope.detach()
        return slope.mean([axis for axis in range(slope.dim()) if axis != 1], keepdim=True)

    def vjp_pair(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """J^T u and K^T u: K is J with the leading activation's slope frozen, so that all but one step is shared."""
        if not self.starts_with_activation:
            return super().vjp_pair(u)
        u = channels_last(u)
        for step in reversed(self.steps[1:]):
            u = step.vjp(u)
        return self.steps[0].vjp(u), self.frozen_slope() * u

    def _traced(self) -> tuple[list[_Affine], list[_Pointwise]]:
        """The three layers and the two activations between them that an exact trace needs; empty where they are not."""
        body = self.steps[self.starts_with_activation :]
        layers, activations = list(body[::2]), list(body[1::2])
        fits = len(body) == 5 and exact_trace_exists([s.layer for s in layers if isinstance(s, _Affine)], self.output)
        return (layers, activations) if fits else ([], [])

    def trace(self) -> Tensor | None:
        """tr(K) = tr(W3 D2 W2 D1 W1 D0), D0 frozen: see trace.py."""
        layers, activations = self._traced()
        if not layers:
            return None
        frozen = self.frozen_slope() if self.starts_with_activation else None
        return branch_trace([s.slope for s in activations], [s.weight for s in layers], frozen)

    def _trace_gradient(self, weights: Tensor) -> dict[Any, Tensor]:
        """Gradient of sum_b weights_b tr(K_b) in every slope and every weight that it holds, by step."""
        layers, activations = self._traced()
        frozen = self.frozen_slope() if self.starts_with_activation else None
        with torch.enable_grad():
            slopes = [s.slope.detach().requires_grad_() for s in activations]
            matrices = [s.weight.detach().requires_grad_() for s in layers]
            total = (weights * branch_trace(slopes, matrices, frozen)).sum()
        return dict(zip([*activations, *layers], torch.autograd.grad(total, [*slopes, *matrices])))

    @torch.no_grad()
    def sweep(
        self,
        cotangent: Tensor | None,
        u: Tensor | None = None,
        v: Tensor | None = None,
        trace_weights: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """Gradient of <cotangent, g(x)> + <u, J v> in x and in every tensor of the branch, u and v constant.

        Tangents first: z'_i = (J v up to step i). Then one sweep back with two cotangents per step, y_bar of the value
        and p of the tangent. An affine step gives z_bar = W^T y_bar, q = W^T p and dW = y_bar z^T + p z'^T; an
        activation gives q = D p and z_bar = D y_bar + a''(z) z' p: through the curvature the log-determinant's gradient
        enters the value's.

        trace_weights: (B,) add the gradient of sum_b trace_weights_b tr(K_b).
        """
        direct = {} if trace_weights is None else self._trace_gradient(trace_weights)
        return self._back(cotangent, u, None if v is None else channels_last(v), direct, 0)

    @torch.no_grad()
    def frozen_sweep(self, u: Tensor, v: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Gradient of <u, K v>, for a branch that starts with an activation."""
        return self._back(None, u, self.frozen_slope() * channels_last(v), {}, 1)

    def _back(
        self, cotangent: Tensor | None, u: Tensor | None, v: Tensor | None, direct: dict[Any, Tensor], start: int
    ) -> tuple[Tensor, list[Tensor]]:
        """The sweep, with the tangent v entering at step `start`."""
        tangents: list[Tensor | None] = [None] * start + [None if v is None else v.clone()]
        for step in self.steps[start:-1]:
            v = step.jvp(v) if v is not None else None
            tangents.append(v)
        y_bar = channels_last(torch.zeros_like(u) if cotangent is None else cotangent)
        if isinstance(self.steps[-1], _Pointwise):  # it writes over what it gets
            y_bar, u = y_bar.clone(), None if u is None else u.clone()
        gradients: list[list[Tensor]] = []
        for step, tangent in zip(reversed(self.steps), reversed(tangents)):
            y_bar, u, of_step = step.merged(tangent, y_bar, u, direct.get(step))
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
        self._check()

    def _check(self) -> None:
        """Refuse foreign steps, and widths or norms that do not fit or do not return to the first."""
        start, width, before = None, None, 1
        for step in self.steps:
            if isinstance(step, LipschitzLayer):
                n_out, n_in = step.weight.shape[:2]
                if width not in (None, n_in):
                    raise SettingsError(f"a layer of {n_in} inputs follows {width} outputs in a LipschitzBranch")
                start, width = n_in // before if start is None else start, n_out
            elif not isinstance(step, Activation):
                raise SettingsError(
                    f"a LipschitzBranch holds Lipschitz layers and Activations, not {type(step).__name__}"
                )
            elif step.pairs:
                before, width = (2 * before, None) if width is None else (before, 2 * width)
        if width is None or width != start:
            raise SettingsError(f"this LipschitzBranch maps {start} channels to {width}: a residual needs as many")
        layers = [step for step in self.steps if isinstance(step, LipschitzLayer)]
        for one, following in zip(layers, [*layers[1:], layers[0]]):
            learned = isinstance(one.codomain, LearnedOrder) or isinstance(following.domain, LearnedOrder)
            meets = one.codomain is following.domain if learned else one.codomain == following.domain
            if not meets:
                raise SettingsError(
                    f"a layer ends in the {one.orders()[1]:g}-norm and the next starts in the "
                    f"{following.orders()[0]:g}-norm: the product of their norms bounds nothing. Make the chain close: "
                    "each codomain the next domain, the last codomain the first domain"
                )

    def order(self) -> float:
        """The norm in which the branch contracts: domain of its first layer and codomain of its last."""
        return next(step.orders()[0] for step in self.steps if isinstance(step, LipschitzLayer))

    def lipschitz_bound(self) -> float:
        """A proven bound of Lip(g) in the norm `order()`: the layers' certified norms times the activations' constants.

        Each activation is taken in the norm between its neighbours, the domain of the layer that follows.
        """
        bound, order = 1.0, self.order()
        for step in reversed(self.steps):
            if isinstance(step, LipschitzLayer):
                bound *= step.norm_upper()
                order = step.orders()[0]
            else:
                bound *= step.constant(order)
        return bound

    def forward(self, x: Tensor) -> Tensor:
        return self.value(x, self.tensors(x))

    def value(self, x: Tensor, tensors: Sequence[Tensor]) -> Tensor:
        """g(x) alone, with the given tensors."""
        remaining, x = iter(tensors), channels_last(x)
        for step in self.steps:
            if isinstance(step, LipschitzLayer):
                x = step.product(next(remaining), x, next(remaining))
            else:
                x = torch.cat([x, -x], 1) if step.pairs else x
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
        steps: list[_Affine | _Pair | _Pointwise] = []
        for step in self.steps:
            if isinstance(step, LipschitzLayer):
                steps.append(_Affine(step, next(remaining), next(remaining)))
            else:
                steps += [_Pair()] if step.pairs else []
                steps.append(_Pointwise(step, next(remaining) if step.scale() is not None else None, 1 + for_sweep))
        return BranchLinearization(steps, x)
