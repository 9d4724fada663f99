"""Tensors that a user hands in: what they are is always checked, what they hold where looking costs no wait.

On a GPU to look at a value is to wait for it, and impossible while a CUDA graph is captured. So entries are read on a
CPU always, elsewhere only in evaluation, where gradients are off.
"""

import math

import torch
from torch import Tensor

from .errors import DataError, SettingsError
from .expect import Check, shown

REAL = (-math.inf, math.inf)
PRECISE = (torch.float32, torch.float64)
WIDE = (torch.uint16, torch.uint32, torch.uint64)
"""Integers that torch cannot compare."""
GENERATOR = Check(
    "a generator on the CPU, torch.Generator().manual_seed(seed), or None",
    lambda value: value is None or isinstance(value, torch.Generator) and value.device.type == "cpu",
)


def batch(name: str, x: Tensor, shape: tuple[int, ...] | None = None, like: Tensor | None = None) -> None:
    """Refuse what is no dense tensor (B, *shape), float32 or float64, on the device of `like` and no more precise.

    shape: of an event; None: any that has entries.  like: a parameter of the model. Raises SettingsError.
    """
    _tensor(name, x)
    given = f"{name} is {shown(x)}"
    if not x.is_floating_point():
        raise SettingsError(
            f"{given}: expected floating-point numbers. rf.uniform_dequantize(levels, n_levels) makes them of the "
            "integer levels of pixels; for other data x.to(torch.get_default_dtype())"
        )
    _shaped(name, x, shape)
    if x.dim() < 2 or 0 in x.shape[1:]:
        raise SettingsError(f"{given}: expected (batch, ...), events of one entry or more")
    if like is not None and like.dtype not in PRECISE:
        raise SettingsError(
            f"a model in {like.dtype}: log-determinants and norms need float32. Take model.float(), and for speed "
            "torch.autocast"
        )
    known = PRECISE if like is None else PRECISE[: 1 + PRECISE.index(like.dtype)]
    if x.dtype not in known:
        raise SettingsError(f"{given}: expected {known[-1]}. x.to({known[-1]}) converts it, model.to(...) the model")
    if like is not None and x.device != like.device:
        raise SettingsError(f"{given}, on {x.device}: expected it where the model is, x.to({str(like.device)!r})")
    if x.is_meta:
        raise SettingsError(f"{given}, on meta, where nothing has a value: make x and the model on 'cpu' or 'cuda'")
    if torch.jit.is_tracing():
        raise SettingsError("torch.jit.trace keeps one draw of what is random for ever: take torch.compile(model)")


def entries(name: str, x: Tensor, interval: tuple[float, float] = REAL) -> None:
    """Refuse entries that are NaN or infinite, or beyond an interval of two numbers. Raises DataError."""
    if not readable(x):
        return
    try:
        low, high = (float(end) for end in x.detach().aminmax())
    except RuntimeError:  # torch.func.vmap lets nobody look
        return
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = int((~x.isfinite()).sum())
        raise DataError(f"{name} has {bad} entries of {x.numel()} that are NaN or infinite: leave those samples out")
    if low < interval[0] or high > interval[1]:
        raise DataError(
            f"{name} has entries from {low:.9g} to {high:.9g}: expected all from {interval[0]:g} to {interval[1]:g}. "
            "rf.uniform_dequantize(levels, n_levels) makes such of the integer levels of pixels"
        )


def levels(name: str, x: Tensor, n_levels: int, shape: tuple[int, ...] | None = None) -> None:
    """Refuse what holds no integers 0 ... n_levels - 1. Raises SettingsError for the type, DataError for entries."""
    _tensor(name, x)
    if x.is_floating_point() or x.is_complex() or x.dtype == torch.bool:
        raise SettingsError(f"{name} is {shown(x)}: expected integers, from 0 to {n_levels - 1}")
    _shaped(name, x, shape)
    if readable(x):
        low, high = (int(end) for end in (x.long() if x.dtype in WIDE else x).aminmax())
        if low < 0 or high >= n_levels:
            raise DataError(f"{name} holds {low} to {high}: expected integers from 0 to {n_levels - 1}")


def readable(x: Tensor) -> bool:
    """Whether there are entries, to be looked at without a wait (a compiled function would be cut in two)."""
    if x.numel() == 0 or torch.compiler.is_compiling() or x.is_meta:
        return False
    return x.device.type == "cpu" or not (
        torch.is_grad_enabled() or x.is_cuda and torch.cuda.is_current_stream_capturing()
    )


def _tensor(name: str, x: Tensor) -> None:
    if not isinstance(x, Tensor):
        raise SettingsError(f"{name}={shown(x)}: expected a tensor. torch.as_tensor(...) makes one of arrays and lists")
    if x.is_nested:
        raise SettingsError(f"{name} is nested: expected a dense tensor, events of one shape")
    if x.layout != torch.strided:
        raise SettingsError(f"{name} is sparse: expected a dense tensor, {name}.to_dense()")


def _shaped(name: str, x: Tensor, shape: tuple[int, ...] | None) -> None:
    if x.dim() < 1 or shape is not None and tuple(x.shape[1:]) != shape:
        wanted = ", ".join(["batch", *map(str, ("...",) if shape is None else shape)])
        raise SettingsError(f"{name} is {shown(x)}: expected events of shape ({wanted})")
