"""One run in many processes: torchrun starts them, each holds the whole model and computes its part of every batch.

All randomness is that of the whole batch, drawn from the same generator in every process, which then takes its rows. So
the result does not depend on the number of processes, to rounding, and all of them compute equally many terms.
"""

import atexit
import os
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import SettingsError
from ..estimators.logdet import PowerSeries, SeriesDraw
from ..estimators.series import SeriesWeights
from ..layers.residual import ResidualBlock

__all__ = ["World", "connect", "PartSeries", "part_of_batch"]


@dataclass(frozen=True)
class World:
    """This process is number `rank` of `size` and computes on `device`."""

    rank: int
    size: int
    device: torch.device

    def describe(self) -> dict[str, Any]:
        """The machine, for records."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else platform.machine()
        return dict(device=self.device.type, name=name, processes=self.size, threads=torch.get_num_threads())

    def sum_(self, *tensors: Tensor) -> None:
        """Replace every tensor by its sum over all processes, in one message."""
        if self.size > 1:
            message = torch.cat([t.flatten() for t in tensors])
            dist.all_reduce(message)
            for t, part in zip(tensors, message.split([t.numel() for t in tensors])):
                t.copy_(part.view_as(t))

    def copy_first_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by that of the first process."""
        for t in tensors if self.size > 1 else ():
            dist.broadcast(t, 0)

    def wait(self) -> None:
        """Until every process has come here."""
        if self.size > 1:
            dist.barrier()


def connect() -> World:
    """Join the processes that torchrun has started, if it has, and choose the device: a GPU each, where there are."""
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        return World(0, 1, device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), size, device)


@dataclass(frozen=True)
class PartSeries(PowerSeries):
    """The estimator of one of several equal parts of a batch: draws for the whole batch and takes the part's rows."""

    index: int = 0
    parts: int = 1

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> SeriesDraw:
        whole = super().draw(x[:1].expand(self.parts * len(x), *x.shape[1:]), generator)
        rows = slice(self.index * len(x), (self.index + 1) * len(x))
        weights = tuple(w[rows] if isinstance(w, Tensor) else w for w in whole.weights.weights)
        return SeriesDraw(SeriesWeights(weights), whole.probes[:, rows])


@contextmanager
def part_of_batch(flow: nn.Module, index: int, parts: int) -> Iterator[None]:
    """Inside, every block estimates for part `index` of `parts`. Raises SettingsError for an estimator of another kind
    than PowerSeries, whose draws nobody knows how to split."""
    blocks = [block for block in flow.modules() if isinstance(block, ResidualBlock)]
    whole = [block.train_estimator for block in blocks]
    if parts > 1:
        for block in blocks:
            block.train_estimator = _part(block.train_estimator, index, parts)
    try:
        yield
    finally:
        for block, estimator in zip(blocks, whole):
            block.train_estimator = estimator


def _part(estimator: PowerSeries, index: int, parts: int) -> PartSeries:
    if type(estimator) is not PowerSeries:
        raise SettingsError(f"train_estimator = {estimator!r}: trains in one process with accumulation = 1 only")
    known = {field.name: getattr(estimator, field.name) for field in fields(PowerSeries)}
    return PartSeries(**known, index=index, parts=parts)
