"""Induced norms |A|_(p->q) = max |A v|_q / |v|_p of linear maps: estimates from below and certificates from above."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]
Closed = Callable[[float], Tensor]
"""A norm in closed form, by its other order."""


def vector_norm(x: Tensor, p: float | Tensor) -> Tensor:
    """|x|_p = (sum |x_i|^p)^(1/p) over all entries, for 1 <= p <= infinity; differentiable in x and in p.

    With p = 2 and a gradient, squares beyond the dtype are infinite: to avoid it cost a training step 5 % of its time.
    """
    if p in (1, 2, math.inf) and not isinstance(p, Tensor):
        if p != 2 or x.requires_grad:
            return torch.linalg.vector_norm(x, p)
        unit = binary_size(x)
        return unit * torch.linalg.vector_norm(x / unit)
    size = x.abs()
    # divided by it, no power under- or overflows
    largest = size.detach().amax().clamp_min(torch.finfo(x.dtype).tiny)
    if not isinstance(p, Tensor):
        return largest * torch.linalg.vector_norm(x / largest, p)
    # 0^p has no derivative in p at 0: keep every entry off zero
    scaled = (size / largest).clamp_min(torch.finfo(x.dtype).eps)
    return largest * scaled.pow(p).sum().pow(1 / p)


def binary_size(x: Tensor, axes: tuple[int, ...] | None = None) -> Tensor:
    """The power of 2 above the largest entry, along axes that are kept: divided by it squares neither overflow nor
    vanish, and no digit changes."""
    largest = x.detach().abs()
    largest = largest.amax() if axes is None else largest.amax(axes, keepdim=True)
    most = 1000 if largest.dtype == torch.float64 else 100
    return torch.ldexp(torch.ones_like(largest), torch.frexp(largest).exponent.clamp(-most, most))


def conjugate(p: float) -> float:
    """The p* with 1/p + 1/p* = 1."""
    return math.inf if p == 1 else 1.0 if p == math.inf else p / (p - 1)


def dual_vector(y: Tensor, p: float) -> Tensor:
    """The v of |v|_p = 1 that maximises <y, v>, which is then |y|_(p*). Entries: sign(y) |y|^(p*-1), normalised."""
    if p == math.inf:
        return y.sign()
    if p == 1:
        flat = y.flatten()
        return torch.zeros_like(flat).index_fill_(0, flat.abs().argmax(), 1.0).mul_(flat.sign()).view_as(y)
    tiny = torch.finfo(y.dtype).tiny
    scaled = y / y.abs().amax().clamp_min(tiny)
    v = scaled.sign() * scaled.abs().pow(conjugate(p) - 1)
    return v / vector_norm(v, p).clamp_min(tiny)


@torch.no_grad()
def power_iteration(matvec: Map, rmatvec: Map, v: Tensor, orders: tuple[float, float], rounds: int) -> Tensor:
    """Dual-norm power iteration: a v with |v|_p = 1 for which |A v|_q is large.

    u = argmax <A v, u> over |u|_q* = 1, then v = argmax <A^T u, v> over |v|_p = 1. |A v|_q never falls and bounds the
    norm from BELOW. For p = q = 2 these are the leading singular vectors; otherwise a start can end in a local optimum.
    A fixed number of rounds: no value is read from the device. Source: Boyd 1974; Miyato et al. 2018 for p = q = 2.
    """
    p, q = orders
    for _ in range(rounds):
        v = dual_vector(rmatvec(dual_vector(matvec(v), conjugate(q))), p)
    return v


def gram_upper(a: Tensor, squarings: int = 10) -> Tensor:
    """An upper bound of the largest singular value over a stack of matrices (..., m, n), float64 or complex128.

    G = A A^H on the smaller side, squared k times: |A|_2 <= |G^(2^k)|_F^(1 / 2^(k+1)), too large by a factor of at most
    rank^(1 / 2^(k+2)), 0.1 % for k = 10 and rank 512. The last digits go to a margin for rounding.
    Source: Delattre et al. 2023.
    """
    gram = a @ a.mH if a.shape[-2] <= a.shape[-1] else a.mH @ a
    log_norm = torch.zeros(gram.shape[:-2], dtype=torch.float64, device=a.device)
    for k in range(squarings + 1):
        norm = torch.linalg.matrix_norm(gram).clamp_min(1e-300)
        log_norm = log_norm + norm.log() / 2**k
        gram = gram / norm[..., None, None]
        if k < squarings:
            gram = gram @ gram
    return (log_norm.amax() / 2).exp() * (1 + 1e-10)


def interpolated(p: float, q: float, spectral: float, columns: Closed, rows: Closed, sizes: tuple[int, int]) -> float:
    """A proven upper bound of |A|_(p->q), any orders from 1 to infinity, from |A|_(2->2) and two closed forms.

    Hoelder, for any r and s:  |A|_(p->q) <= n^max(1/r - 1/p, 0) |A|_(r->s) m^max(1/q - 1/s, 0), because |v|_r is at
    most that power of n times |v|_p, and |u|_q that power of m times |u|_s.
    p <= q: the smaller of (r, s) = (p, q) by Riesz-Thorin, and of (2, 2). p > q: over the reals the theorem fails there
    (A = [[1, 1], [1, -1]]: infinity -> 1 is 2, 2 -> 2 sqrt 2, but 4 -> 4/3 is sqrt 3 and not 2^(3/4)). So Hoelder to
    the diagonal, the smallest of r = s = p, q and 2. On random matrices it is 1.1 to 1.4 times the norm.

    columns(q'), rows(p'): the closed forms |A|_(1->q') and |A|_(p'->inf).  sizes: (n, m), inputs and outputs of A.
    """
    n, m = sizes
    routes = {(p, q), (2.0, 2.0)} if p <= q else {(r, r) for r in (p, q, 2.0)}
    return min(
        n ** max(1 / r - 1 / p, 0.0) * m ** max(1 / q - 1 / s, 0.0) * _riesz_thorin(r, s, spectral, columns, rows)
        for r, s in routes
    )


def _riesz_thorin(p: float, q: float, spectral: float, columns: Closed, rows: Closed) -> float:
    """For p <= q, log |A|_(p->q) is convex in (1/p, 1/q): between two norms, at most their geometric mean.

    The ray from (1/2, 1/2) through (1/p, 1/q) ends where a closed form holds, at 1/p' = 1 or at 1/q' = 0.
    Source: M. Riesz 1926 (the reals, p <= q); Bergh and Loefstrom 1976, theorem 1.1.1.
    """
    x, y = 1 / p - 0.5, 1 / q - 0.5
    share = 2 * max(x, -y)  # of the closed form in the geometric mean
    if share <= 0:
        return spectral
    # a vertex (1, 0) of both closed forms is reached up to rounding: snap to it
    end = columns(_order(0.5 + y / share)) if x >= -y else rows(_order(0.5 + x / share))
    return spectral ** (1 - share) * float(end) ** share


def _order(inverse: float) -> float:
    """1 / inverse, exactly infinite or 1 where it is so up to rounding."""
    return math.inf if inverse < 1e-9 else 1.0 if abs(inverse - 1) < 1e-9 else 1 / inverse
