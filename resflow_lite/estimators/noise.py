"""Random probes v with E[v v^T] = I, for Hutchinson's identity tr(A) = E[v^T A v]."""

import torch
from torch import Tensor

from ..errors import SettingsError

__all__ = ["PROBES", "draw_probes", "device_generator"]

PROBES = ("rademacher", "gaussian")


def device_generator(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """A generator on `device` whose seed is the next number of a CPU generator.

    All randomness of a run comes from one CPU generator; on a GPU the large draws are made where they are used, and no
    value travels back.
    """
    if generator is None or device.type == "cpu":
        return generator
    if generator.device.type != "cpu":
        raise SettingsError(
            f"generator lives on {generator.device}: pass a CPU generator, torch.Generator().manual_seed(seed)"
        )
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def draw_probes(kind: str, n_probes: int, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """(n_probes, *x.shape) independent probes of mean 0 and covariance I, dtype and device of x.

    "rademacher" (entries -1 or +1) has the least variance among independent entries: Var(v^T A v) counts only the
    off-diagonal part of A. "gaussian" is what the paper's code draws.
    """
    shape = (n_probes, *x.shape)
    generator = device_generator(generator, x.device)
    if kind == "gaussian":
        return torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)
    signs = torch.empty(shape, dtype=x.dtype, device=x.device).random_(2, generator=generator)
    return signs.mul_(2).sub_(1)
