"""Leading singular vectors of many convolutions of one shape together: nothing is read back from the device, and no
shape depends on a value, so that a CUDA graph can hold it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import fold, normalize, pad, unfold

from .kernels import by_matrix, collect, gather, kernel_matrix
from .norms import binary_size

KRYLOV = 10
"""Products with A^T A in one round."""
FRESH = 0.1
"""Size of the fresh random part of a round, beside the direction that the products give."""
SMALL = 128
"""Up to this many entries a vector is computed from the whole matrix, not iterated."""


def leading_vectors(kernels: Tensor, image: tuple[int, int], start: Tensor, seeds: Tensor, tol: float) -> Tensor:
    """Vectors v, |v|_2 = 1, for which |A v|_2 is as large as A's norm, (L, C H W), one for each of L maps A.

    kernels (L, wide, C, k, k): A is the convolution from C to `wide` channels with zero padding; with k = 1 and 1 x 1
    pixels, a matrix. image: (H, W).  start: as the result, kept from before.  seeds (L,) int64: of the random parts.
    Small maps: the whole of A^T A, squared until the second vector is gone, to tol. Others: the best of a Krylov
    space, one round for tol = 1e-3 and twice as many for each digit more, 50 at most. Plain iteration can stay for
    hundreds of steps on a vector that was leading once; a fresh random part in each round finds one that outgrew it.
    A map of zeros keeps its start.
    """
    kernels = kernels / binary_size(kernels, (1, 2, 3, 4))  # vectors do not depend on the size
    n, digits = start.shape[1], max(3, math.ceil(-math.log10(max(tol, 1e-15))))
    product, start = gram_product(kernels, image, whole=n <= SMALL), _or_else(start, signs(seeds, -1, n).to(start))
    if n <= SMALL:
        gram = product(torch.eye(n, dtype=start.dtype, device=start.device)[None])
        return _or_else(leading_eigenvectors(gram, digits), start)
    for draw in range(min(50, 2 ** (digits - 3))):
        start = krylov_vectors(product, start, signs(seeds, draw, n).to(start), digits)
    return start


def gram_product(kernels: Tensor, image: tuple[int, int], *, whole: bool) -> Callable[[Tensor], Tensor]:
    """v (L or 1, b, C H W) -> A^T A v (L, b, C H W): gather each pixel's neighbours, multiply, sum them back.

    The wide side never appears where the kernel's own Gram matrix, (k k C)^2, is the smaller way. whole: for so many v
    at once that it pays for a 1 x 1 kernel too.
    """
    count, wide, narrow, side, _ = kernels.shape
    if side == 3 and 9 * narrow < 2 * wide and by_matrix(kernels.device):
        return _gathered(kernels, image)
    factor = kernels.flatten(2)
    gram = factor.mT @ factor if narrow * side**2 < 2 * wide and (whole or side > 1) else None

    def product(v: Tensor) -> Tensor:
        batch = v.shape[1]
        around = v.reshape(-1, narrow, *image)
        around = unfold(around, side, padding=side // 2) if side > 1 else around.flatten(2)
        around = around.view(len(v), batch, *around.shape[1:]).transpose(1, 2).flatten(2)
        around = factor.mT @ (factor @ around) if gram is None else gram @ around
        given = around.view(count, len(around[0]), batch, -1).transpose(1, 2).flatten(0, 1)
        given = fold(given, image, side, padding=side // 2) if side > 1 else given
        return given.reshape(count, batch, -1)

    return product


def _gathered(kernels: Tensor, image: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """As `gram_product`, where unfold and fold work image by image."""
    (count, _, narrow, *_), matrix = kernels.shape, kernel_matrix(kernels)
    gram = matrix @ matrix.mT

    def product(v: Tensor) -> Tensor:
        pixels = v.reshape(-1, narrow, *image).permute(0, 2, 3, 1)
        rows = gather(pixels).view(len(v), -1, len(gram[0])) @ gram
        found = collect(rows.flatten(0, 1), (count * v.shape[1], *image, narrow))
        return found.permute(0, 3, 1, 2).reshape(count, v.shape[1], -1)

    return product


def krylov_vectors(product: Callable[[Tensor], Tensor], start: Tensor, fresh: Tensor, digits: int) -> Tensor:
    """The best vectors (L, n) of the Krylov spaces of L positive semi-definite maps, product: (L, 1, n) -> (L, 1, n).

    The start is in the space, so that no result is worse; the second vector takes in the fresh one. With m steps it
    finds a norm that plain iteration finds with about m^2. Source: Rayleigh and Ritz, on the basis of Lanczos 1950.
    """
    basis, columns = normalize(start, dim=1)[:, None], []
    for i in range(KRYLOV):
        w = product(basis[:, -1:])
        columns.append(pad(basis @ w.mT, (0, 0, 0, KRYLOV - 1 - i)))
        if i == 0:
            w = _beside(basis, w) + FRESH * normalize(fresh, dim=1)[:, None]
        if i < KRYLOV - 1:
            basis = torch.cat([basis, _beside(basis, w)], 1)
    upper = torch.cat(columns, 2)  # the maps on the basis; a column ends with the vectors that were there
    weights = leading_eigenvectors(upper + upper.triu(1).mT, digits)
    return _or_else((weights[:, None] @ basis)[:, 0], start)


def _beside(basis: Tensor, w: Tensor) -> Tensor:
    """The part of w that the basis lacks, of length 1; zero where nothing but rounding is left."""
    noise = 100 * torch.finfo(w.dtype).eps * w.norm(dim=2, keepdim=True)
    for _ in range(2):
        w = w - (w @ basis.mT) @ basis
    length = w.norm(dim=2, keepdim=True)
    return torch.where(length > noise, w / length, 0)


def leading_eigenvectors(gram: Tensor, digits: int) -> Tensor:
    """(L, n, n) positive semi-definite -> (L, n): a column of G^(2^m), in which other eigenvalues have died away.

    One that has not is so near to the largest that the loss is below 10^-digits.
    """
    for _ in range(digits + 1):  # three squarings each: G^4096 for three digits
        gram = gram / gram.diagonal(dim1=1, dim2=2).sum(1).clamp_min(torch.finfo(gram.dtype).tiny)[:, None, None]
        gram = torch.linalg.matrix_power(gram, 8)
    best = gram.diagonal(dim1=1, dim2=2).argmax(1)[:, None, None]
    return gram.gather(2, best.expand(-1, gram.shape[1], 1))[:, :, 0]


def signs(seeds: Tensor, draw: int, n: int) -> Tensor:
    """(L, n) of -1 and 1, the same on every device: a hash of the seed, the draw and the place. No state, no host."""
    x = torch.arange(n, device=seeds.device) + 0x2545F491 * draw + 0x9E3779B9 * seeds[:, None]
    for _ in range(3):
        x = x & 0xFFFFFFFF
        x = (x ^ (x >> 16)) * 0x45D9F3B
    return (x >> 16 & 1) * 2 - 1


def _or_else(found: Tensor, start: Tensor) -> Tensor:
    """Vectors of length 1, or the start where there is none."""
    length = found.norm(dim=1, keepdim=True)
    return torch.where(length > 0, found / length, start)
