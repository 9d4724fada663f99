"""Bijections one after the other."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .bijection import Bijection

__all__ = ["Chain"]


class Chain(Bijection):
    """y = f_n(... f_1(x)); log-determinants add. The chain of a flow holds all its layers in order."""

    def __init__(self, layers: Iterable[Bijection]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_det = layer(x, generator)
            total = total + log_det
        return x, total

    def transform(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer.transform(x)
        return x

    def inverse(self, y: Tensor) -> Tensor:
        for layer in reversed(self.layers):
            y = layer.inverse(y)
        return y

    def initialize_(self, x: Tensor) -> None:
        for layer in self.layers:
            layer.initialize_(x)
            with torch.no_grad():
                x = layer.transform(x)

    @torch.no_grad()
    def measure_contraction_(self, x: Tensor) -> None:
        for layer in self.layers:
            layer.measure_contraction_(x)
            x = layer.transform(x)
