"""Activation functions with the derivatives and the Lipschitz constant that residual flows ask for."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import SettingsError

__all__ = ["Activation", "LipSwish", "Tanh", "ACTIVATIONS", "make_activation", "compile_activations_"]


class Activation(nn.Module):
    """A smooth function applied to every entry.

    A subclass gives `lipschitz`, sup |a'|, and `derivatives`. One with a learned scale s > 0 has the form
    a(z) = F(s z) / s and returns s from `scale()`; its derivative in s follows from that form.
    """

    lipschitz: float

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        """a(z), a'(z), a''(z) as far as `order` (0, 1 or 2) asks; `scale` is this activation's scale()."""
        raise NotImplementedError

    def scale(self) -> Tensor | None:
        """The learned scale s, shape (1,), or None."""
        return None

    def forward(self, z: Tensor) -> Tensor:
        return self.derivatives(z, 0, self.scale())[0]

    def pull_back(
        self, slope: Tensor, curvature: Tensor, y_bar: Tensor, tangent: Tensor, p: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cotangents of z and of its tangent z': z_bar = a' y_bar + a'' z' p and q = a' p."""
        return torch.addcmul(slope * y_bar, curvature * tangent, p), slope * p


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

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.full((1,), 0.5))

    def scale(self) -> Tensor:
        return softplus(self.beta)

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        t = scale * z
        gate = t.sigmoid()
        share = gate / 1.1
        value = z * share
        if order == 0:
            return (value,)
        rest, product = 1 - gate, t * share
        slope = torch.addcmul(share, product, rest)
        if order == 1:
            return value, slope
        curvature = torch.add(product * (rest - gate), share, alpha=2) * (scale * rest)
        return value, slope, curvature


class Tanh(Activation):
    """tanh(z): slope at most 1, and 1 only at 0, where the second derivative vanishes."""

    lipschitz = 1.0

    def derivatives(self, z: Tensor, order: int, scale: Tensor | None = None) -> tuple[Tensor, ...]:
        value = z.tanh()
        slope = 1 - value * value
        return (value, slope, -2 * value * slope)[: order + 1]


ACTIVATIONS = {"lipswish": LipSwish, "tanh": Tanh}


def make_activation(activation: str | type[Activation]) -> Activation:
    """A fresh activation from its name or its class. Raises SettingsError for an unknown name."""
    if isinstance(activation, str):
        if activation not in ACTIVATIONS:
            raise SettingsError(
                f"activation {activation!r}: expected one of {', '.join(ACTIVATIONS)} or an Activation class"
            )
        activation = ACTIVATIONS[activation]
    return activation()
