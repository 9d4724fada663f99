"""The contract of every layer of a flow, and layers one after the other."""

import math
from collections.abc import Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from ..expect import offering
from ..incoming import batch


class Bijection(nn.Module):
    """An invertible map of events; each sample of a batch is mapped on its own."""

    interval: tuple[float, float] | None = (-math.inf, math.inf)
    """Where every entry of x has to lie; None: wherever the next layer of a chain has it."""

    def __call__(self, x: Tensor, *more: Any, **named: Any) -> Any:
        """`forward`; of what is no batch for this layer a SettingsError, in place of torch's words of its insides."""
        try:
            return super().__call__(x, *more, **named)
        except (AttributeError, IndexError, RuntimeError, TypeError):
            batch("x", x, like=next(self.parameters(), None))
            raise

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """x (B, ...) -> y (B, ...) and log |det dy/dx| (B,) in nats."""
        raise NotImplementedError

    def transform(self, x: Tensor) -> Tensor:
        """y alone, with no work on the log-determinant."""
        return self.forward(x)[0]

    def inverse(self, y: Tensor) -> Tensor:
        """The x with transform(x) = y."""
        raise NotImplementedError

    def initialize_(self, x: Tensor) -> None:
        """Set what depends on data (statistics, sizes) from one batch of inputs. Nothing by default."""

    def measure_contraction_(self, x: Tensor) -> None:
        """Store how fast the powers of the Jacobian of a residual branch fall at these inputs. Nothing by default."""

    def __prepare_scriptable__(self) -> NoReturn:
        raise SettingsError("torch.jit.script does not read these layers: take torch.compile(model)")


BIJECTION = offering("a bijection, with forward, transform and inverse", "forward", "transform", "inverse")


def channels_of(x: Tensor, n: int, layer: Bijection) -> None:
    """Refuse events whose axis 1 has not the n channels of a layer: broadcasting would make something of them."""
    if x.dim() < 2 or x.shape[1] != n:
        raise SettingsError(f"{type(layer).__name__}({n}) got a batch of shape {tuple(x.shape)}: axis 1 has to be {n}")


class Chain(Bijection):
    """y = f_n(... f_1(x)); log-determinants add. The chain of a flow holds all its layers in order."""

    def __init__(self, layers: Iterable[Bijection]) -> None:
        super().__init__()
        layers = offering("bijections, one after the other", "__iter__")("layers", layers, "Chain")
        self.layers = nn.ModuleList(BIJECTION(f"layers[{i}]", layer, "Chain") for i, layer in enumerate(layers))

    @property
    def interval(self) -> tuple[float, float] | None:
        return next((layer.interval for layer in self.layers if layer.interval is not None), None)

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
