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

from ..errors import SettingsError

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


def _launched() -> tuple[int, int]:
    """How many processes torchrun has started, and which of this machine's this is; 1 and 0 without it."""
    found = {name: os.environ.get(name, default) for name, default in (("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))}
    for name, text in found.items():
        if not (text.isascii() and text.isdigit()) or (name, int(text)) == ("WORLD_SIZE", 0):
            raise SettingsError(f"{name}={text} in the environment: expected a number of torchrun's; unset it")
    size, local = (int(text) for text in found.values())
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if size > 1 and missing:
        raise SettingsError(
            f"WORLD_SIZE={size} in the environment without {', '.join(missing)}, perhaps left by another job: unset "
            "it for one process, or start by torchrun"
        )
    if 0 < torch.cuda.device_count() <= local:
        raise SettingsError(f"LOCAL_RANK={local}: there are {torch.cuda.device_count()} GPUs; start a process for each")
    return size, local


def connect() -> World:
    """Join the processes that torchrun has started, if it has, and choose the device: a GPU each, where there are.

    Raises SettingsError for what torchrun would not have put into the environment."""
    size, local = _launched()
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        return World(0, 1, device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), size, device)
