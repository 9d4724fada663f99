"""Products of matrices with a factor for every entry, in Triton: a pass over memory less than the library's product and
a multiplication take. Which of the two is faster depends on the card and on the sizes, so it is measured.
"""

import math
import warnings
from collections.abc import Callable
from functools import partial
from timeit import timeit
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.errors import OutOfResources

TILES = ((128, 128, 64), (128, 256, 128))
"""Rows and columns of what a program of a matrix product works on at once, and the bytes of a row that it takes in."""
CALLS, PAUSE = 10, 10**7
"""Calls that are timed together, and the cycles of the pause before them."""


def launch(kernel, programs: tuple[int, ...], first: Tensor, *arguments, **constants) -> None:
    """Runs a kernel on the card of its first argument."""
    with torch.cuda.device_of(first):  # Triton takes the current one
        kernel[programs](first, *arguments, enable_fp_fusion=True, **constants)  # later versions do not by themselves


@triton.jit
def _scaled_product(
    rows_, matrix_, scale_, out_, M, N, K, DOWN, ALONG,
    TILE_M: tl.constexpr, TILE_N: tl.constexpr, DEPTH: tl.constexpr, TF32: tl.constexpr
):  # fmt: skip
    """A tile of the result; the tiles beside it, of the same rows, come next. DOWN, ALONG: strides of the matrix."""
    tile, beside = tl.program_id(0), tl.cdiv(N, TILE_N)
    m = (tile // beside).to(tl.int64) * TILE_M + tl.arange(0, TILE_M)
    n = tile % beside * TILE_N + tl.arange(0, TILE_N)
    total = tl.zeros((TILE_M, TILE_N), tl.float32)
    for start in range(0, K, DEPTH):
        k = start + tl.arange(0, DEPTH)
        a = tl.load(rows_ + m[:, None] * K + k[None, :], (m < M)[:, None] & (k < K)[None, :], 0.0)
        b = tl.load(matrix_ + k[:, None] * DOWN + n[None, :] * ALONG, (k < K)[:, None] & (n < N)[None, :], 0.0)
        total = tl.dot(a, b, total, input_precision="tf32" if TF32 else "ieee")
    at, inside = m[:, None] * N + n[None, :], (m < M)[:, None] & (n < N)[None, :]
    total *= tl.load(scale_ + at, inside, 0.0).to(tl.float32)
    tl.store(out_ + at, total.to(out_.dtype.element_ty), inside)


def in_one_pass(tiles: tuple[int, int, int], rows: Tensor, matrix: Tensor, scale: Tensor) -> Tensor:
    rows, scale = rows.contiguous(), scale.contiguous()
    (m, k), n, (high, wide, taken) = rows.shape, matrix.shape[1], tiles
    out = torch.empty(m, n, device=rows.device, dtype=rows.dtype)
    depth = min(taken // rows.element_size(), max(16, triton.next_power_of_2(k)))  # no less than 16 in Triton
    constants = dict(TILE_M=high, TILE_N=wide, DEPTH=depth, TF32=rows.dtype == torch.float32, num_warps=8)
    programs = (triton.cdiv(m, high) * triton.cdiv(n, wide),)
    launch(_scaled_product, programs, rows, matrix, scale, out, m, n, k, *matrix.stride(), **constants)
    return out


def in_two_passes(rows: Tensor, matrix: Tensor, scale: Tensor) -> Tensor:
    return (rows @ matrix).mul_(scale)


WAYS = (in_two_passes, *(partial(in_one_pass, tiles) for tiles in TILES))
FASTEST: dict[tuple, Callable[..., Tensor]] = {}


def scaled_product(rows: Tensor, matrix: Tensor, scale: Tensor) -> Tensor:
    """In the way that was fastest on this card when a product of about this size was first met: the library's product
    and a pass over it, or one pass of ours."""
    if rows.dtype == torch.float32 and not torch.backends.cuda.matmul.allow_tf32:
        return in_two_passes(rows, matrix, scale)  # without tensor cores the library's product is far ahead
    case = (len(rows).bit_length(), *matrix.shape, *matrix.stride(), rows.dtype, rows.device)
    if case not in FASTEST and not _capturing(rows):
        FASTEST[case] = min(WAYS, key=lambda way: milliseconds(way, rows, matrix, scale))
    return FASTEST.get(case, in_two_passes)(rows, matrix, scale)


def _capturing(t: Tensor) -> bool:
    return t.is_cuda and torch.cuda.is_current_stream_capturing()


def milliseconds(way: Callable[..., object], *inputs: Any) -> float:
    """Of a call, on the device; infinite for a way of ours that this card cannot go."""
    try:
        way(*inputs)
    except Exception as error:
        if way is in_two_passes:
            raise
        if not isinstance(error, OutOfResources):
            warnings.warn(f"Triton cannot make a product of {inputs[0].dtype}, the library does: {error}", stacklevel=2)
        return math.inf
    if not inputs[0].is_cuda:
        return 1e3 * timeit(lambda: way(*inputs), number=CALLS) / CALLS
    with torch.cuda.device_of(inputs[0]):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(PAUSE)  # until the processor has started all of them: its time is not theirs
        start.record()
        for _ in range(CALLS):
            way(*inputs)
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / CALLS
