"""Everything random about a batch: one draw for the whole batch, of which each pass or process takes its rows.

A batch may be computed in parts, one after the other (accumulation) or by several processes. Each part then draws for
the whole batch, from the same state of the generator, and keeps its own rows: the numbers do not depend on how many
parts there are. Whatever draws for the samples of a batch does so through `whole` and `rows`.
"""

import torch
from torch import Tensor

from ..errors import SettingsError

PROBES = ("rademacher", "gaussian")


class Noise(torch.Generator):
    """A CPU generator that knows which part of a batch it draws for: rows part, part + parts, part + 2 parts, ...

    It is a torch.Generator, so that whatever takes one takes a Noise; a plain generator stands for the only part.
    """

    part: int = 0
    parts: int = 1
    terms: list[float] | None = None
    """Where it is a list, each draw of a series adds how many terms a sample has on average."""
    quantile: float | None = None
    """What `draw_quantile` returns, where one draw is to serve all estimates of a step."""
    offset: int | None = None
    """The rotation of `draw_ranks`, likewise."""
    in_order: bool = False
    """Whether `draw_ranks` need not rotate: the samples of the batch are in random order already."""
    source: torch.Generator | None = None
    """On a GPU: what makes the large draws there, where its user seeds it."""

    def hold_(self) -> None:
        """Draw the quantile for all estimates of a step, whose batch is in random order."""
        self.quantile, self.in_order = None, True
        self.quantile = draw_quantile(self)


def whole(n: int, generator: torch.Generator | None) -> int:
    """The size of the batch whose part has n samples."""
    return n * getattr(generator, "parts", 1)


def rows(drawn: Tensor, generator: torch.Generator | None, axis: int = 0) -> Tensor:
    """Of a tensor drawn for the whole batch, the rows of the generator's part."""
    parts = getattr(generator, "parts", 1)
    if parts == 1:
        return drawn
    return drawn.transpose(0, axis)[generator.part :: parts].transpose(0, axis)


def draw_quantile(generator: torch.Generator | None) -> float:
    """A uniform number from [0, 1)."""
    held = getattr(generator, "quantile", None)
    return float(torch.rand((), dtype=torch.float64, generator=generator)) if held is None else held


def draw_ranks(batch: int, generator: torch.Generator | None) -> tuple[int, Tensor | None]:
    """Ranks for the samples of a batch, by a random rotation of the whole of it: (first, shift).

    Of `parts` parts, this one has the ranks first, first + parts, ..., and the r-th of them is that of its sample
    (r + shift) mod batch; r itself where shift is None.
    """
    part, parts = getattr(generator, "part", 0), getattr(generator, "parts", 1)
    if getattr(generator, "in_order", False):
        return part, None
    held = getattr(generator, "offset", None)
    offset = int(torch.randint(whole(batch, generator), (), generator=generator)) if held is None else held
    turns, first = divmod(part + offset, parts)
    return first, torch.tensor(-turns % batch)


def device_generator(generator: torch.Generator | None, device: torch.device) -> torch.Generator | None:
    """A generator on `device` whose seed is the next number of a CPU generator.

    All randomness of a run comes from CPU generators; on a GPU the large draws are made where they are used, and no
    value travels back.
    """
    if generator is None or device.type == "cpu":
        return generator
    if (source := getattr(generator, "source", None)) is not None:
        return source
    if generator.device.type != "cpu":
        raise SettingsError(
            f"generator lives on {generator.device}: pass a CPU generator, torch.Generator().manual_seed(seed)"
        )
    seed = int(torch.randint(2**62, (), generator=generator))
    return torch.Generator(device).manual_seed(seed)


def draw_probes(kind: str, n_probes: int, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """(n_probes, *x.shape) independent probes v with E[v v^T] = I, dtype and device of x.

    For Hutchinson's identity tr(A) = E[v^T A v]. "rademacher" (entries -1 or +1) has the least variance among
    independent entries: Var(v^T A v) counts only the off-diagonal part of A. "gaussian" is what the paper's code draws.
    """
    shape, source = (n_probes, whole(len(x), generator), *x.shape[1:]), device_generator(generator, x.device)
    if kind == "gaussian":
        return rows(torch.randn(shape, generator=source, dtype=x.dtype, device=x.device), generator, 1)
    signs = torch.empty(shape, dtype=x.dtype, device=x.device).random_(2, generator=source)
    return rows(signs.mul_(2).sub_(1), generator, 1)


def draw_uniform(shape: tuple[int, ...], like: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Uniform numbers on [0, 1), of which shape[0] rows are asked for; dtype and device of `like`."""
    size, source = (whole(shape[0], generator), *shape[1:]), device_generator(generator, like.device)
    return rows(torch.rand(size, generator=source, dtype=like.dtype, device=like.device), generator)
