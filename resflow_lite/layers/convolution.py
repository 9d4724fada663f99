"""The convolution whose norm, as a linear map of whole images, is bounded."""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, fold
from torch.nn.grad import conv2d_weight

from ..errors import SettingsError
from ..expect import integer
from ..numerics.kernels import MatrixConv, by_matrix, kernel_matrix, kernel_of, mirrored
from .lipschitz import LinearMap, LipschitzLayer, channels_last
from .orders import Order

DENSE = 256
"""Up to this many inputs or outputs the certificate of a convolution uses its whole matrix: exact to 0.1 %."""


class LipschitzConv2d(LipschitzLayer):
    """z (B, in_channels, H, W) -> (B, out_channels, H, W): odd kernel, stride 1, zero padding to the same size.

    The norm is that of the convolution as a linear map of whole images, which depends on H and W; they are learned from
    the first input and kept in the state dict. A 1 x 1 kernel acts on every pixel alone: its norm is its matrix's.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        coeff: float = 0.98,
        domain: Order = 2,
        codomain: Order = 2,
    ) -> None:
        sizes = dict(out_channels=out_channels, in_channels=in_channels, kernel_size=kernel_size)
        *channels, kernel_size = (integer(1)(name, size, "LipschitzConv2d") for name, size in sizes.items())
        if kernel_size % 2 == 0:
            raise SettingsError(f"kernel_size={kernel_size}: expected an odd number, so that images keep their size")
        super().__init__(torch.empty(*channels, kernel_size, kernel_size), coeff, domain, codomain)
        self.padding = kernel_size // 2

    def prepared(self, weight: Tensor) -> Tensor:
        return kernel_matrix(weight) if self.is_matrix() else channels_last(weight)

    def restored(self, prepared: Tensor) -> Tensor:
        return kernel_of(prepared, self.weight.shape) if prepared.dim() == 2 else prepared

    def linear(self, prepared: Tensor) -> LinearMap:
        return MatrixConv(prepared, self.weight.shape) if prepared.dim() == 2 else super().linear(prepared)

    def is_matrix(self) -> bool:
        few, many = sorted(self.weight.shape[:2])
        size = self.weight.shape[2]
        return by_matrix(self.weight.device) and (size == 1 or size == 3 and 9 * few <= 2 * many)

    def product(self, weight: Tensor, z: Tensor, bias: Tensor | None = None) -> Tensor:
        if not self._narrows(weight.shape[1], weight.shape[0], z):
            return conv2d(z, weight, bias, padding=self.padding)
        y = self._scattered(mirrored(weight), z)
        return y if bias is None else y + bias.view(-1, 1, 1)

    def transpose(self, weight: Tensor, u: Tensor) -> Tensor:
        if not self._narrows(weight.shape[0], weight.shape[1], u):
            return conv2d(u, channels_last(mirrored(weight)), padding=self.padding)
        return self._scattered(weight, u)

    def outer(self, weight: Tensor, u: Tensor, z: Tensor) -> Tensor:
        if not self._narrows(weight.shape[1], weight.shape[0], z):
            return conv2d_weight(channels_last(z), weight.shape, channels_last(u), padding=self.padding)
        # <u, W z> = <W^T u, z>: the same sum, as a gradient of the map that widens
        wide = weight.transpose(0, 1).shape
        return mirrored(conv2d_weight(channels_last(u), wide, channels_last(z), padding=self.padding))

    def _narrows(self, before: int, after: int, z: Tensor) -> bool:
        """Whether so few channels follow that a CPU's convolution runs at a fraction of its speed."""
        return z.device.type == "cpu" and self.padding > 0 and self.weight[0, 0].numel() * after <= before

    def _scattered(self, kernel: Tensor, z: Tensor) -> Tensor:
        """The transposed convolution as one matrix product: what each pixel gives to its neighbours, then the sum."""
        given = kernel.permute(1, 2, 3, 0).reshape(-1, len(kernel)) @ z.permute(0, 2, 3, 1).flatten(1, 2).mT
        return channels_last(fold(given, z.shape[2:], kernel.shape[2:], padding=self.padding))

    def blocks(self, weight: Tensor) -> Tensor:
        """The whole matrix where it is small; the matrices of all frequencies of a larger circular convolution else."""
        if not self.padding:
            return weight[:, :, 0, 0]
        pixels = math.prod(self.input_shape[2:])
        if min(weight.shape[:2]) * pixels <= DENSE:
            basis = torch.eye(weight.shape[1] * pixels, dtype=weight.dtype).view(-1, *self.input_shape[1:])
            return self.product(weight, basis).flatten(1)
        return self.frequencies(weight)

    def frequencies(self, weight: Tensor) -> Tensor:
        """The Fourier transform of the kernel at every frequency of a torus of n + (k - 1)/2 pixels a side, or of k.

        There the image and its zero padding fit without meeting: the zero-padded convolution is a part of the circular
        one, so that its norm is at most the circular one's, the largest over frequencies.
        """
        torus = [max(n + self.padding, k) for n, k in zip(self.input_shape[2:], weight.shape[2:])]
        return torch.fft.rfft2(weight, torus).permute(2, 3, 0, 1)

    def vector_shape(self, z: Tensor) -> tuple[int, ...]:
        return (1, self.weight.shape[1], *(z.shape[2:] if self.padding else (1, 1)))
