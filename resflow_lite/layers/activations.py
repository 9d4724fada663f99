"""Activation functions with the derivatives and the Lipschitz constant that residual flows ask for."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..errors import SettingsError

__all__ = ["Activation", "LipSwish", "Tanh", "ACTIVATIONS", "make_activation"]


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
        value = z * gate / 1.1
        if order == 0:
            return (value,)
        slope = gate * (1 + t * (1 - gate)) / 1.1
        if order == 1:
            return value, slope
        curvature = scale * gate * (1 - gate) * (2 + t * (1 - 2 * gate)) / 1.1
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
