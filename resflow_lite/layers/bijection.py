"""The contract of every layer of a flow."""

import torch
from torch import Tensor, nn

__all__ = ["Bijection"]


class Bijection(nn.Module):
    """An invertible map of events; each sample of a batch is mapped on its own."""

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
