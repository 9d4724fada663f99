"""The dense layer whose norm is bounded."""

import torch
from torch import Tensor
from torch.nn.functional import linear

from ..expect import integer
from ..numerics.kernels import by_matrix
from .lipschitz import LipschitzLayer
from .orders import Order


class LipschitzLinear(LipschitzLayer):
    """z (B, in_features) -> (B, out_features)."""

    def __init__(
        self, in_features: int, out_features: int, coeff: float = 0.98, domain: Order = 2, codomain: Order = 2
    ) -> None:
        sizes = dict(out_features=out_features, in_features=in_features)
        sizes = [integer(1)(name, size, "LipschitzLinear") for name, size in sizes.items()]
        super().__init__(torch.empty(sizes), coeff, domain, codomain)

    def product(self, weight: Tensor, z: Tensor, bias: Tensor | None = None) -> Tensor:
        return linear(z, weight, bias)

    def transpose(self, weight: Tensor, u: Tensor) -> Tensor:
        return linear(u, weight.T)

    def outer(self, weight: Tensor, u: Tensor, z: Tensor) -> Tensor:
        return u.T @ z

    def blocks(self, weight: Tensor) -> Tensor:
        return weight

    def is_matrix(self) -> bool:
        return by_matrix(self.weight.device)

    def vector_shape(self, z: Tensor) -> tuple[int, ...]:
        return (1, self.weight.shape[1])
