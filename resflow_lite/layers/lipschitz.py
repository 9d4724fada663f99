"""Linear and convolutional layers whose weight as applied has at most a given norm."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear
from torch.nn.grad import conv2d_weight

from ..errors import SettingsError
from ..numerics.norms import spectral_power_iteration, unit

__all__ = ["LipschitzLayer", "LipschitzLinear", "LipschitzConv2d", "update_norms_"]


def channels_last(t: Tensor) -> Tensor:
    """Images stored as (B, H, W, C), on which convolutions run several times faster; anything else as it is.

    A clone, because `contiguous` leaves the strides of tensors with C = 1 or 1 x 1 pixels ambiguous.
    """
    return t.clone(memory_format=torch.channels_last) if t.dim() == 4 and t.stride(1) != 1 else t


class LipschitzLayer(nn.Module):
    """y = W z + b with W = weight / max(1, sigma / coeff), sigma = <left, weight right> an estimate of ||weight||_2.

    left and right are the leading singular vectors, kept by power iteration (`update_norm_`) and constant for the
    gradient, so d sigma = <left, d weight right>. Source: Gouk et al. 2018; Behrmann et al. 2019, sec. 2.1.

    Subclasses give the linear map of any weight: `product(weight, z)` and `transpose(weight, u)`, and the gradient of
    <u, W z> in W: `outer(weight, u, z)`.
    """

    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor, coeff: float) -> None:
        super().__init__()
        if not 0 < coeff <= 1:
            raise SettingsError(f"coeff={coeff!r}: the norm of a Lipschitz layer is bounded by a number in (0, 1]")
        self.coeff = coeff
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(weight.shape[0]))
        fan_in = weight[0].numel()
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        # empty until the size of the input is known
        self.register_buffer("left", torch.empty(0))
        self.register_buffer("right", torch.empty(0))

    def product(self, weight: Tensor, z: Tensor, bias: Tensor | None = None) -> Tensor:
        raise NotImplementedError

    def transpose(self, weight: Tensor, u: Tensor) -> Tensor:
        raise NotImplementedError

    def outer(self, weight: Tensor, u: Tensor, z: Tensor) -> Tensor:
        raise NotImplementedError

    def vector_shape(self, z: Tensor) -> tuple[int, ...]:
        """Shape of the right singular vector for inputs like z."""
        raise NotImplementedError

    def prepare(self, z: Tensor) -> None:
        """Start the singular vectors for inputs of the size of z, if that is not done yet."""
        shape = self.vector_shape(z)
        if self.right.shape == shape:
            return
        # a fixed seed of its own: the start must not depend on, or disturb, any other randomness
        generator = torch.Generator().manual_seed(0)
        self.right = unit(torch.randn(shape, generator=generator).to(self.weight))
        self.update_norm_()

    @torch.no_grad()
    def update_norm_(self, tol: float = 1e-3) -> int:
        """Power iteration from the kept vectors until sigma moves by less than the fraction tol; returns the rounds."""
        if not self.right.numel():
            return 0
        weight = self.weight.detach()
        self.left, self.right, rounds = spectral_power_iteration(
            lambda v: self.product(weight, v), lambda u: self.transpose(weight, u), self.right, tol
        )
        return rounds

    def sigma(self) -> Tensor:
        """<left, weight right>, differentiable in weight; a lower bound of ||weight||_2."""
        return (self.left * self.product(self.weight, self.right)).sum()

    def normalized_weight(self, z: Tensor) -> Tensor:
        """The weight as applied to inputs of the size of z."""
        self.prepare(z)
        return channels_last(self.weight / (self.sigma() / self.coeff).clamp_min(1))

    def norm_lower(self) -> Tensor:
        """A lower bound (estimate) of the norm of the weight as applied."""
        sigma = self.sigma().detach()
        return sigma / (sigma / self.coeff).clamp_min(1)

    def forward(self, z: Tensor) -> Tensor:
        return self.product(self.normalized_weight(z), channels_last(z), self.bias)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        for name in ("left", "right"):
            if (stored := state_dict.get(prefix + name)) is not None:
                setattr(self, name, torch.empty_like(stored, device=self.weight.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class LipschitzLinear(LipschitzLayer):
    """z (B, in_features) -> (B, out_features)."""

    def __init__(self, in_features: int, out_features: int, coeff: float = 0.98) -> None:
        super().__init__(torch.empty(out_features, in_features), coeff)

    def product(self, weight: Tensor, z: Tensor, bias: Tensor | None = None) -> Tensor:
        return linear(z, weight, bias)

    def transpose(self, weight: Tensor, u: Tensor) -> Tensor:
        return linear(u, weight.T)

    def outer(self, weight: Tensor, u: Tensor, z: Tensor) -> Tensor:
        return u.T @ z

    def vector_shape(self, z: Tensor) -> tuple[int, ...]:
        return (1, self.weight.shape[1])


class LipschitzConv2d(LipschitzLayer):
    """z (B, in_channels, H, W) -> (B, out_channels, H, W): odd kernel, stride 1, zero padding to the same size.

    The norm is that of the convolution as a linear map of whole images, which depends on H and W; they are learned from
    the first input and kept in the state dict. A 1 x 1 kernel acts on every pixel alone: its norm is its matrix's.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, coeff: float = 0.98) -> None:
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise SettingsError(f"kernel_size={kernel_size!r}: expected an odd number, so that images keep their size")
        super().__init__(torch.empty(out_channels, in_channels, kernel_size, kernel_size), coeff)
        self.padding = kernel_size // 2

    def product(self, weight: Tensor, z: Tensor, bias: Tensor | None = None) -> Tensor:
        return conv2d(z, weight, bias, padding=self.padding)

    def transpose(self, weight: Tensor, u: Tensor) -> Tensor:
        return conv_transpose2d(u, weight, padding=self.padding)

    def outer(self, weight: Tensor, u: Tensor, z: Tensor) -> Tensor:
        return conv2d_weight(z, weight.shape, u, padding=self.padding)

    def vector_shape(self, z: Tensor) -> tuple[int, ...]:
        return (1, self.weight.shape[1], *(z.shape[2:] if self.padding else (1, 1)))


def update_norms_(model: nn.Module, tol: float = 1e-3) -> None:
    """Power iteration in every Lipschitz layer of a model: call it after each step of the optimiser."""
    for module in model.modules():
        if isinstance(module, LipschitzLayer):
            module.update_norm_(tol)
