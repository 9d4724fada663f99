"""The few operations that a training step on a GPU is made of: LipSwish with its derivatives, 3x3 convolutions.

Every one is written twice: here in plain torch, for any device and dtype; and under the same name in triton_kernels.py
as one pass over memory, which is what these operations cost on a GPU. `fused` says which of the two computes.

Source for convolutions as matrix products: Chellapilla, Puri and Simard 2006, sec. 2.
"""

import os
import warnings
from collections.abc import Callable
from functools import cache, wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

MATRICES = ("cuda",)
"""Kinds of devices whose convolutions are matrix products."""

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Triton's interpreter: its kernels run on a CPU, slowly, for tests. To be set before the first import of Triton."""
DTYPES = (torch.float32, torch.bfloat16)
"""Triton's versions compute in float32."""


def fused(*tensors: Tensor) -> bool:
    """Whether Triton computes an operation on these tensors: on CUDA, in float32 or bfloat16, recording no graph.

    Plain torch does wherever Triton is missing or does not run, and under torch.compile, which makes kernels itself.
    """
    if torch.compiler.is_compiling() or torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return False
    return all(t.dtype in DTYPES and _runs_on(t.device) for t in tensors)


@cache
def _runs_on(device: torch.device) -> bool:
    """Whether Triton works there. Tried, because it wants a card that is new enough and a C compiler."""
    if device.type != ("cpu" if INTERPRETED else "cuda"):
        return False
    try:
        from . import triton_kernels

        one = torch.ones(1, device=device)
        triton_kernels.lipswish(one, one, 0)
    except ImportError:
        return False
    except Exception as error:
        warnings.warn(f"Triton does not run on {device}, plain torch does its work: {error}", stacklevel=2)
        return False
    return True


def fused_on_gpu(plain: Callable[..., Any]) -> Callable[..., Any]:
    """An operation whose namesake in triton_kernels.py computes it wherever Triton can (`fused`)."""

    @wraps(plain)
    def either(*arguments: Any) -> Any:
        if not fused(*(a for a in arguments if isinstance(a, Tensor))):
            return plain(*arguments)
        from . import triton_kernels

        return getattr(triton_kernels, plain.__name__)(*arguments)

    return either


@fused_on_gpu
def lipswish(z: Tensor, scale: Tensor, order: int) -> tuple[Tensor, ...]:
    """a(z) = z sigmoid(s z) / 1.1 and its first `order` derivatives, of the shape of z; order is 0, 1 or 2.

    scale: s, shape (1,).
    """
    scale = scale.to(z.dtype)
    # few large temporaries: fresh memory costs more here than arithmetic
    gate = (scale * z).sigmoid_()
    value = (z * gate).div_(1.1)
    if order == 0:
        return (value,)
    product = scale * value
    slope = torch.addcmul(product, product, gate, value=-1).add_(gate, alpha=1 / 1.1)
    if order == 1:
        return value, slope
    bend = torch.addcmul(product, product, gate, value=-2).add_(gate, alpha=2 / 1.1)
    return value, slope, bend * torch.addcmul(scale, scale, gate, value=-1)


@fused_on_gpu
def lipswish_pull_back(
    z: Tensor, tangent: Tensor, y_bar: Tensor, p: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Cotangents of z, of its tangent z' and of the scale s, given y_bar of a(z) and p of a'(z) z'; see Activation.

    z_bar = a' y_bar + a'' z' p,  q = a' p,  s_bar = (<z, z_bar> - <a, y_bar>) / s, shape (1,). From z alone: nothing
    else need be kept. May write over `tangent` and `p`.
    """
    value, slope, curvature = lipswish.__wrapped__(z, scale, 2)  # plain torch throughout
    z_bar = slope * y_bar + curvature * tangent * p
    return z_bar, slope * p, ((z * z_bar).sum() - (value * y_bar).sum()) / scale


def columns(channels: int) -> int:
    """Columns of the gathered matrix: 9 per channel, and zeros up to a size of which matrix products are fast."""
    return -(-9 * channels // 8) * 8 if channels > 3 else 32 if channels > 1 else 16


@fused_on_gpu
def gather(x: Tensor) -> Tensor:
    """Images (B, H, W, C) -> (B H W, columns(C)): the nine neighbours of every pixel, zeros outside the image.

    row (b, h, w), column (i, j, c) = x[b, h + i - 1, w + j - 1, c], i and j from 0 to 2.
    """
    _, height, width, channels = x.shape
    around = pad(x, (0, 0, 1, 1, 1, 1))
    rows = torch.cat([around[:, i : i + height, j : j + width] for i in range(3) for j in range(3)], 3)
    return pad(rows.reshape(-1, 9 * channels), (0, columns(channels) - 9 * channels))


@fused_on_gpu
def channel_sums(x: Tensor) -> Tensor:
    """(B, C, ...) -> (C,), the sum over all but axis 1."""
    return x.sum([axis for axis in range(x.dim()) if axis != 1])


@fused_on_gpu
def add_terms_(u: Tensor, total: Tensor, before: Tensor, w: Tensor, of_u: float, of_total: float) -> None:
    """u += of_u before and total += of_total w; of u and total the first samples, as many as the others have."""
    u[: len(w)].add_(before, alpha=of_u)
    total[: len(w)].add_(w, alpha=of_total)


@fused_on_gpu
def scaled_product(rows: Tensor, matrix: Tensor, scale: Tensor) -> Tensor:
    """(rows matrix) * scale, with a factor for every entry."""
    return scaled(rows @ matrix, scale)


def scaled(x: Tensor, scale: Tensor) -> Tensor:
    """x * scale, written over x where no graph is kept."""
    return x * scale if torch.is_grad_enabled() else x.mul_(scale)


@fused_on_gpu
def collect(g: Tensor, shape: tuple[int, int, int, int], scale: Tensor | None = None) -> Tensor:
    """The adjoint of `gather`, <gather(x), g> = <x, collect(g)>: (B H W, columns(C)) -> images of shape (B, H, W, C).

    x[b, h, w, c] = sum over i, j of g[(b, h - i + 1, w - j + 1), (i, j, c)].
    scale: a factor for every entry of the result, of its shape; None: 1.
    """
    batch, height, width, channels = shape
    around = pad(g[:, : 9 * channels].reshape(batch, height, width, -1), (0, 0, 1, 1, 1, 1)).unflatten(3, (3, 3, -1))
    parts = [around[:, 2 - i : 2 - i + height, 2 - j : 2 - j + width, i, j] for i in range(3) for j in range(3)]
    found = torch.stack(parts).sum(0)
    return found if scale is None else scaled(found, scale)


def by_matrix(device: torch.device) -> bool:
    """Whether convolutions are matrix products on a device: cuDNN runs those of 3 channels at a tenth of its speed."""
    return device.type in MATRICES


def kernel_matrix(weight: Tensor) -> Tensor:
    """A convolution's weight (..., O, I, k, k) as K, (..., rows, m), with m channels on its wide side; k is 1 or 3.

    A row holds what one tap takes from one of the n channels on the narrow side: columns(n) rows for k = 3, n for
    k = 1. Where the convolution narrows, O < I, K is that of its transpose.
    """
    weight = mirrored(weight) if weight.shape[-4] < weight.shape[-3] else weight
    rows = weight.movedim((-2, -1, -3, -4), (-4, -3, -2, -1)).flatten(-4, -2)
    narrow, size = weight.shape[-3], weight.shape[-1]
    return pad(rows, (0, 0, 0, columns(narrow) - rows.shape[-2])) if size > 1 else rows


def kernel_of(matrix: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """The weight of that shape (O, I, k, k) from its matrix: `kernel_matrix` backwards."""
    narrow, size = min(shape[:2]), shape[2]
    weight = matrix[: size**2 * narrow].unflatten(0, (size, size, narrow)).permute(3, 2, 0, 1)
    return mirrored(weight) if shape[0] < shape[1] else weight


class MatrixConv:
    """A convolution W with zero padding as products with its matrix K, prepared once for many of them.

    With n channels on its narrow side, m on the wide one and kernels of size 3,
        from narrow to wide:  W z = gather(z) K          W^T u = collect(u K^T)
        from wide to narrow:  W z = collect(z K^T)       W^T u = gather(u) K
    and the gradient of <u, W z> in K is gather(narrow side)^T (wide side): the wide side is never gathered. With
    kernels of size 1 pixels are their own neighbours: gather and collect change nothing.

    shape: (O, I, k, k) of the weight. Images are (B, C, H, W) in channels_last memory, then nothing is copied, and so
    are the results. All is differentiable. Pays while 9 n is not much larger than m.
    """

    def __init__(self, matrix: Tensor, shape: tuple[int, int, int, int]) -> None:
        self.matrix, self.narrows, self.narrow, self.size = matrix, shape[0] < shape[1], min(shape[:2]), shape[2]

    def product(self, z: Tensor, bias: Tensor | None = None) -> Tensor:
        """W z + b: (B, I, H, W) -> (B, O, H, W)."""
        if not self.narrows:
            return self._widened(z, bias)
        y = self._narrowed(z)
        return y if bias is None else y + bias.view(-1, 1, 1)

    def transpose(self, u: Tensor, scale: Tensor | None = None) -> Tensor:
        """W^T u, and times a factor for every entry: (B, O, H, W) -> (B, I, H, W)."""
        return self._widened(u, scale=scale) if self.narrows else self._narrowed(u, scale)

    def outer(self, u: Tensor, z: Tensor) -> Tensor:
        """The gradient of <u, W z> in K."""
        return torch.mm(*self._factors(u, z))

    def add_outer_(self, total: Tensor, u: Tensor, z: Tensor) -> None:
        """total += outer(u, z), in the product's own pass."""
        total.addmm_(*self._factors(u, z))

    def _factors(self, u: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        wide, narrow = (z, u) if self.narrows else (u, z)
        return self._rows(narrow).T, _pixels(wide).flatten(0, 2)

    def _rows(self, x: Tensor) -> Tensor:
        return gather(_pixels(x)) if self.size > 1 else _pixels(x).flatten(0, 2)

    def _widened(self, z: Tensor, bias: Tensor | None = None, scale: Tensor | None = None) -> Tensor:
        rows = self._rows(z)
        if scale is not None:
            y = scaled_product(rows, self.matrix, _pixels(scale).flatten(0, 2))
        else:
            y = rows @ self.matrix if bias is None else torch.addmm(bias, rows, self.matrix)
        return _images(y.view(len(z), *z.shape[2:], -1))

    def _narrowed(self, z: Tensor, scale: Tensor | None = None) -> Tensor:
        x, scale = _pixels(z), None if scale is None else _pixels(scale)
        shape, rows = (*x.shape[:3], self.narrow), x.flatten(0, 2)
        if self.size > 1:
            return _images(collect(rows @ self.matrix.T, shape, scale))
        given = rows @ self.matrix.T if scale is None else scaled_product(rows, self.matrix.T, scale.flatten(0, 2))
        return _images(given.view(shape))


def mirrored(weight: Tensor) -> Tensor:
    """The kernel of the transposed convolution, (..., O, I, k, k) -> (..., I, O, k, k)."""
    turned = weight.transpose(-4, -3)
    return turned.flip(-2, -1) if weight.shape[-1] > 1 else turned


def _pixels(z: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), contiguous; a view of channels_last memory."""
    return z.permute(0, 2, 3, 1).contiguous()


def _images(x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W) in channels_last memory."""
    return x.permute(0, 3, 1, 2)
