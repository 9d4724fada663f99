"""The operations of kernels.py in Triton: one pass over memory each, in float32, stored in the dtype of the input.

Offsets that count over a whole batch are 64 bits wide; within an image 32 bits do.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import kernels
from .triton_products import launch, scaled_product  # noqa: F401 (kernels.py asks for it by name)

BLOCK = 1024
"""Entries that a program works on at once."""
ROUNDS = 8
"""Blocks per program where it leaves a sum behind."""
ROWS, WIDTH = 64, 128
"""Rows and columns of a program that sums over rows."""
FEW = 2**22
"""So few entries the library sums as fast, in one pass."""


def _aligned(*tensors: Tensor) -> list[Tensor]:
    """The tensors with equal entries at equal offsets, without gaps; a copy of those that are not so already."""
    first = tensors[0] if _dense(tensors[0]) else tensors[0].contiguous()
    order = _strides(first)
    return [
        t if _strides(t) == order else torch.empty_like(first, dtype=t.dtype).copy_(t) for t in (first, *tensors[1:])
    ]


def _dense(t: Tensor) -> bool:
    """Whether its entries fill a stretch of memory, in whatever order of its axes."""
    filled = 1
    for step, n in sorted((step, n) for step, n in zip(t.stride(), t.shape) if n > 1):
        if step != filled:
            return False
        filled *= n
    return True


def _strides(t: Tensor) -> list[int]:
    return [step for step, n in zip(t.stride(), t.shape) if n > 1]


# LipSwish ------------------------------------------------------------------------------------------------------------


@triton.jit
def _at(z, s):
    """a, a' and a'' at z, and s da/ds = z a' - a without its cancellation."""
    gate, closed = tl.sigmoid(s * z), tl.sigmoid(-s * z)  # closed = 1 - gate, with all its digits
    value = z * gate * (1 / 1.1)
    bent = s * value * closed
    slope = gate * (1 / 1.1) + bent
    curvature = s * closed * (gate * (2 / 1.1) + s * value * (closed - gate))
    return value, slope, curvature, z * bent


@triton.jit
def _lipswish(z_, s_, value_, slope_, curvature_, n, ORDER: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value, slope, curvature, of_scale = _at(tl.load(z_ + i, i < n, 0.0).to(tl.float32), tl.load(s_).to(tl.float32))
    tl.store(value_ + i, value.to(value_.dtype.element_ty), i < n)
    if ORDER > 0:
        tl.store(slope_ + i, slope.to(value_.dtype.element_ty), i < n)
    if ORDER > 1:
        tl.store(curvature_ + i, curvature.to(value_.dtype.element_ty), i < n)


def lipswish(z: Tensor, scale: Tensor, order: int) -> tuple[Tensor, ...]:
    (z,) = _aligned(z)
    found = tuple(torch.empty_like(z) for _ in range(order + 1))
    three = (*found, z, z)[:3]  # what is not asked for is not written
    launch(_lipswish, (triton.cdiv(z.numel(), BLOCK),), z, scale, *three, z.numel(), ORDER=order, BLOCK=BLOCK)
    return found


@triton.jit
def _pull_back(z_, tangent_, y_bar_, p_, s_, sums_, n, BLOCK: tl.constexpr, ROUNDS: tl.constexpr):
    """Over tangent z_bar, over p its product with the slope; a sum per program for the scale."""
    program = tl.program_id(0).to(tl.int64)
    s = tl.load(s_).to(tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for step in tl.static_range(ROUNDS):
        i = (program * ROUNDS + step) * BLOCK + tl.arange(0, BLOCK)
        z = tl.load(z_ + i, i < n, 0.0).to(tl.float32)
        tangent = tl.load(tangent_ + i, i < n, 0.0).to(tl.float32)
        y_bar = tl.load(y_bar_ + i, i < n, 0.0).to(tl.float32)
        p = tl.load(p_ + i, i < n, 0.0).to(tl.float32)
        value, slope, curvature, of_scale = _at(z, s)
        bend = curvature * tangent * p
        tl.store(tangent_ + i, (slope * y_bar + bend).to(tangent_.dtype.element_ty), i < n)
        tl.store(p_ + i, (slope * p).to(p_.dtype.element_ty), i < n)
        total += of_scale * y_bar + z * bend
    tl.store(sums_ + program, tl.sum(total) / s)


def lipswish_pull_back(
    z: Tensor, tangent: Tensor, y_bar: Tensor, p: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    z, tangent, y_bar, p = _aligned(z, tangent, y_bar, p)
    programs = triton.cdiv(z.numel(), BLOCK * ROUNDS)
    sums = torch.empty(programs, device=z.device, dtype=torch.float32)
    launch(_pull_back, (programs,), z, tangent, y_bar, p, scale, sums, z.numel(), BLOCK=BLOCK, ROUNDS=ROUNDS)
    return tangent, p, sums.sum(0, keepdim=True).to(scale.dtype)


# The nine neighbours -------------------------------------------------------------------------------------------------


@triton.jit
def _gather(x_, out_, H, W, C: tl.constexpr, COLUMNS: tl.constexpr, BLOCK: tl.constexpr):
    image = tl.program_id(0).to(tl.int64)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)  # entries of one image's rows
    pixel, column = e // COLUMNS, e % COLUMNS
    h = pixel // W + column // (3 * C) - 1
    w = pixel % W + column // C % 3 - 1
    inside = (pixel < H * W) & (column < 9 * C) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
    at = image * (H * W * C) + (h * W + w) * C + column % C
    tl.store(out_ + image * (H * W * COLUMNS) + e, tl.load(x_ + at, inside, 0.0), pixel < H * W)


def gather(x: Tensor) -> Tensor:
    x = x.contiguous()
    batch, height, width, channels = x.shape
    wide = kernels.columns(channels)
    out = torch.empty(batch * height * width, wide, device=x.device, dtype=x.dtype)
    programs = (batch, triton.cdiv(height * width * wide, BLOCK))
    launch(_gather, programs, x, out, height, width, C=channels, COLUMNS=wide, BLOCK=BLOCK)
    return out


@triton.jit
def _collect(g_, out_, scale_, H, W, C: tl.constexpr, COLUMNS: tl.constexpr, SCALED: tl.constexpr, BLOCK: tl.constexpr):
    image = tl.program_id(0).to(tl.int64)
    e = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)  # entries of one image
    pixel, c = e // C, e % C
    total = tl.zeros((BLOCK,), tl.float32)
    for i in tl.static_range(3):
        for j in tl.static_range(3):
            h = pixel // W + 1 - i
            w = pixel % W + 1 - j
            inside = (pixel < H * W) & (h >= 0) & (h < H) & (w >= 0) & (w < W)
            at = image * (H * W * COLUMNS) + (h * W + w) * COLUMNS + (3 * i + j) * C + c
            total += tl.load(g_ + at, inside, 0.0).to(tl.float32)
    if SCALED:
        total *= tl.load(scale_ + image * (H * W * C) + e, pixel < H * W, 0.0).to(tl.float32)
    tl.store(out_ + image * (H * W * C) + e, total.to(out_.dtype.element_ty), pixel < H * W)


def collect(g: Tensor, shape: tuple[int, int, int, int], scale: Tensor | None = None) -> Tensor:
    g, scale = g.contiguous(), None if scale is None else scale.contiguous()
    batch, height, width, channels = shape
    out = torch.empty(shape, device=g.device, dtype=g.dtype)
    programs = (batch, triton.cdiv(height * width * channels, BLOCK))
    given = out if scale is None else scale  # without a scale nothing is read there
    constants = dict(C=channels, COLUMNS=g.shape[1], SCALED=scale is not None, BLOCK=BLOCK)
    launch(_collect, programs, g, out, given, height, width, **constants)
    return out


# Sums ----------------------------------------------------------------------------------------------------------------


@triton.jit
def _channel_sums(x_, sums_, M, N, ROWS: tl.constexpr, WIDTH: tl.constexpr):
    """Of ROWS rows each, a row of sums."""
    part = tl.program_id(0).to(tl.int64)
    m, n = part * ROWS + tl.arange(0, ROWS), tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    x = tl.load(x_ + m[:, None] * N + n[None, :], (m < M)[:, None] & (n < N)[None, :], 0.0)
    tl.store(sums_ + part * N + n, tl.sum(x.to(tl.float32), 0), n < N)


def channel_sums(x: Tensor) -> Tensor:
    rows = x.movedim(1, -1).contiguous().flatten(0, -2)
    m, n = rows.shape
    if rows.numel() < FEW:
        return rows.sum(0)
    parts = triton.cdiv(m, ROWS)
    sums = torch.empty(parts, n, device=x.device, dtype=torch.float32)
    launch(_channel_sums, (parts, triton.cdiv(n, WIDTH)), rows, sums, m, n, ROWS=ROWS, WIDTH=WIDTH)
    return sums.sum(0).to(x.dtype)


@triton.jit
def _add_terms(u_, total_, before_, w_, of_u, of_total, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    u = tl.load(u_ + i, i < n, 0.0) + of_u * tl.load(before_ + i, i < n, 0.0).to(tl.float32)
    total = tl.load(total_ + i, i < n, 0.0) + of_total * tl.load(w_ + i, i < n, 0.0).to(tl.float32)
    tl.store(u_ + i, u, i < n)
    tl.store(total_ + i, total, i < n)


def add_terms_(u: Tensor, total: Tensor, before: Tensor, w: Tensor, of_u: float, of_total: float) -> None:
    u, total = u[: len(w)], total[: len(w)]
    if not _dense(u) or _strides(total) != _strides(u):  # `_aligned` would copy them, and the sums be lost
        return kernels.add_terms_.__wrapped__(u, total, before, w, of_u, of_total)
    u, total, before, w = _aligned(u, total, before, w)
    launch(_add_terms, (triton.cdiv(w.numel(), BLOCK),), u, total, before, w, of_u, of_total, w.numel(), BLOCK=BLOCK)
