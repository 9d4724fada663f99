"""One run in many processes: torchrun starts them, each holds the whole model and computes its part of every batch.

All randomness is that of the whole batch, drawn from the same generators in every process, which then takes its rows
(estimators/noise.py). So the result does not depend on the number of processes, to rounding.
"""

import atexit
import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["World", "connect"]


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


def connect(device: str | None = None) -> World:
    """Join the processes that torchrun has started, if it has, and choose the device: a GPU each, where there are, or
    "cpu" where that is asked for."""
    size, local = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if device is None and torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        return World(0, 1, device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), size, device)
