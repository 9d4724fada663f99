"""Activation functions with the derivatives and the Lipschitz constant that residual flows ask for."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import SettingsError
from ..expect import Named, shown
from ..numerics.kernels import fused, lipswish, lipswish_pull_back


class Activation(nn.Module):
    """A smooth function applied to every entry.

    A subclass gives `lipschitz`, sup |a'|, and `derivatives`. One with a learned scale s > 0 has the form
    a(z) = F(s z) / s and returns s from `scale()`; its derivative in s follows from that form.
    """

    lipschitz: float
    pairs: bool = False
    """Whether it acts on the concatenation of z and -z along axis 1 (CLipSwish), twice as wide."""

    def constant(self, p: float) -> float:
        """Lipschitz constant from the p-norm to the p-norm; for a function of every entry by itself, sup |a'|."""
        return self.lipschitz

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        """a(z), a'(z), a''(z) as far as `order` (0, 1 or 2) asks; `scale` is this activation's scale()."""
        raise NotImplementedError

    def scale(self) -> Tensor | None:
        """The learned scale s, shape (1,), or None."""
        return None

    def scaled(self) -> bool:
        """Whether the class gives a scale."""
        return type(self).scale is not Activation.scale

    def keeps_curvature(self, z: Tensor) -> bool:
        """Whether a''(z) is to be kept for `pull_back`, rather than computed there."""
        return True

    def forward(self, z: Tensor) -> Tensor:
        z = torch.cat([z, -z], 1) if self.pairs else z
        return self.derivatives(z, 0, self.scale())[0]

    def pull_back(
        self,
        point: Sequence[Tensor],
        y_bar: Tensor,
        tangent: Tensor | None,
        p: Tensor | None,
        direct: Tensor | None,
        scale: Tensor | None,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Cotangents of z, of its tangent z' and of the scale s, written over the arguments where their size fits.

        At point = (z, a, a', a''), direct a cotangent of a': z_bar = a' y_bar + a'' (z' p + direct) and q = a' p.
        a(z) = F(s z) / s gives s da/ds = z a' - a and s da'/ds = z a'', hence s_bar = (<z, z_bar> - <a, y_bar>) / s.
        """
        z, y, slope, curvature = point if len(point) == 4 else (point[0], *self.derivatives(point[0], 2, scale))
        bend = direct if tangent is None else tangent.mul_(p)
        if tangent is not None and direct is not None:
            bend.add_(direct)
        z_bar = slope * y_bar if bend is None else bend.mul_(curvature).addcmul_(slope, y_bar)
        q = None if p is None else p.mul_(slope)
        return z_bar, q, None if scale is None else ((z * z_bar).sum() - y_bar.mul_(y).sum()) / scale


def compile_activations_(model: nn.Module) -> None:
    """Compile the elementwise kernels of every Activation with torch.compile (on a CPU that needs a C++ compiler).

    Same numbers to rounding, fewer passes over memory. Worth it for long runs: the first steps take a minute.
    """
    for module in model.modules():
        if isinstance(module, Activation):
            module.derivatives = torch.compile(module.derivatives, dynamic=True)
            module.pull_back = torch.compile(module.pull_back, dynamic=True)


class LipSwish(Activation):
    """LipSwish(z) = z sigmoid(s z) / 1.1 with a learned scale s = softplus(beta) > 0, beta = 0.5 at the start.

    sup |d/dz z sigmoid(s z)| = 1.0998393 for every s, hence the 1.1. Its second derivative does not vanish where its
    slope is near 1, unlike ELU's or softplus's. Source: paper, sec. 3.3.
    """

    lipschitz = 1.0998393202 / 1.1
    ready: Tensor | None = None
    """The scale, where it was computed for all activations together."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((1,), 0.5))

    def scale(self) -> Tensor:
        return softplus(self.beta) if self.ready is None else self.ready

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        return lipswish(z, scale, order)

    def keeps_curvature(self, z: Tensor) -> bool:
        return not fused(z)

    def pull_back(self, point, y_bar, tangent, p, direct, scale):
        """As Activation's; in one pass over memory, from z alone, where a GPU has one for it (kernels.py)."""
        if tangent is not None and direct is None and fused(point[0], tangent, y_bar, p, scale):
            return lipswish_pull_back(point[0], tangent, y_bar, p, scale)
        return super().pull_back(point, y_bar, tangent, p, direct, scale)


class CLipSwish(LipSwish):
    """(LipSwish(z), LipSwish(-z)) side by side: the output is twice as wide. Source: Perugachi-Diaz et al. 2021.

    Each entry feeds two, so the constant depends on the norm: sup_z (|a'(z)|^p + |a'(-z)|^p)^(1/p), 1.00397 for p = 2.
    """

    pairs = True
    lipschitz = 1.003963

    def constant(self, p: float) -> float:
        # the supremum does not depend on the scale; both slopes are smooth, so that a fine grid finds it to 1e-9
        z = torch.linspace(0, 10, 200_001, dtype=torch.float64)
        gate = z.sigmoid()
        slopes = torch.stack([gate + z * gate * (1 - gate), (1 - gate) - z * gate * (1 - gate)]).abs() / 1.1
        return float(torch.linalg.vector_norm(slopes, p, dim=0).max()) * (1 + 1e-8)


def scales_together(activations: Sequence[LipSwish]) -> tuple[Tensor, ...]:
    """Their scales by one operation."""
    return softplus(torch.stack([activation.beta for activation in activations])).unbind()


class Tanh(Activation):
    """tanh(z): slope at most 1, and 1 only at 0, where the second derivative vanishes."""

    lipschitz = 1.0

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        value = z.tanh()
        slope = 1 - value * value
        return (value, slope, -2 * value * slope)[: order + 1]


class ELU(Activation):
    """z for z > 0, e^z - 1 below: the slope saturates at 1, where the second derivative is 0. What i-ResNets use."""

    lipschitz = 1.0

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        decay = z.clamp_max(0).exp()
        value = z.clamp_min(0) + decay - 1
        # the slope is 1 exactly where the function is linear, and decay there too
        return (value, decay, torch.where(z < 0, decay, torch.zeros_like(decay)))[: order + 1]


class Softplus(Activation):
    """log(1 + e^z): slope sigmoid(z) near 1 only where the curvature vanishes."""

    lipschitz = 1.0

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        slope = z.sigmoid()
        # beyond the threshold torch takes z, with the slope 1: by default too early for float64
        return (softplus(z, threshold=40.0), slope, slope * (1 - slope))[: order + 1]


class ReLU(Activation):
    """max(z, 0): no second derivative at all, so that the log-determinant gives the layers below it no gradient."""

    lipschitz = 1.0

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        return (z.clamp_min(0), (z > 0).to(z.dtype), torch.zeros_like(z))[: order + 1]


class Sine(Activation):
    """sin(z): slope +-1 at every multiple of pi, where the curvature vanishes, but on both sides of any such point."""

    lipschitz = 1.0

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        value = z.sin()
        return (value, z.cos(), -value)[: order + 1]


ACTIVATIONS = Named(
    "activation",
    dict(lipswish=LipSwish, clipswish=CLipSwish, elu=ELU, softplus=Softplus, relu=ReLU, tanh=Tanh, sine=Sine),
)


def make_activation(activation: str | type[Activation]) -> Activation:
    """A fresh activation from its name or its class. Raises SettingsError for anything else."""
    kind = activation if callable(activation) else ACTIVATIONS[activation]
    foreign = isinstance(kind, nn.Module) or isinstance(kind, type) and not issubclass(kind, Activation)
    made = None if foreign else kind()
    if not isinstance(made, Activation):
        raise SettingsError(
            f"activation={shown(activation)}: expected one of {', '.join(ACTIVATIONS)}, or the class of an Activation, "
            "such as rf.ReLU"
        )
    return made
