"""Where a run computes, in what precision, and what may happen to it from outside: signals, and a second writer.

One run in many processes: torchrun starts them, each holds the whole model and computes its part of every batch. All
randomness is that of the whole batch, drawn from the same generators in every process, which then takes its rows
(estimators/noise.py). So the result does not depend on the number of processes, to rounding.
"""

import atexit
import os
import platform
import signal
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import ResflowError, SettingsError
from .files import writing

LOCK = ".lock"


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

    def any_of(self, flags: list[bool]) -> list[bool]:
        """Each flag: whether any process has it. Told from processor to processor; no device waits for it."""
        if self.size == 1:
            return flags
        message = torch.tensor(flags, dtype=torch.int32)
        dist.all_reduce(message, dist.ReduceOp.MAX)
        return [flag > 0 for flag in message.tolist()]

    def copy_first_(self, tensors: Iterable[Tensor]) -> None:
        """Replace every tensor by that of the first process."""
        for t in tensors if self.size > 1 else ():
            dist.broadcast(t.detach(), 0)

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


def connect(device: str | None = None) -> World:
    """Join the processes that torchrun has started, if it has, and choose the device: a GPU each, where there are, or
    "cpu" where that is asked for.

    Raises SettingsError for what torchrun would not have put into the environment."""
    size, local = _launched()
    device = torch.device("cuda", local) if device is None and torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        return World(0, 1, device)
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), size, device)


def check_precision(precision: str, device: torch.device) -> None:
    """Raises SettingsError where the device cannot compute in "fp32", "tf32" or "bf16"."""
    if precision == "tf32" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0)):
        raise SettingsError("precision = 'tf32': needs an NVIDIA GPU of compute capability 8.0 or more; take 'fp32'")
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise SettingsError("precision = 'bf16': this GPU does not compute in bfloat16; take 'fp32'")


def branches_in(precision: str, device: torch.device) -> AbstractContextManager:
    """The residual branches and their products in bfloat16, if asked; log-determinants and norms stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


class Stopped(ResflowError):
    """A signal has ended the training; what it has done is in the checkpoint."""

    exit_code = 143


class Interrupted(Stopped):
    """Ctrl-C has."""

    exit_code = 130


class Signals:
    """Notes SIGUSR1 (save a checkpoint), SIGTERM and Ctrl-C (save one and stop) while a `with` block runs.

    The loop looks between two steps; a second Ctrl-C does not wait for that. Outside the main thread, where Python
    allows no handlers, nothing is noted.
    """

    def __enter__(self) -> "Signals":
        self.save = self.stop = self.interrupted = False
        self._before = {}
        for name in ("SIGUSR1", "SIGTERM", "SIGINT"):
            number = getattr(signal, name, None)  # Windows has no SIGUSR1
            try:
                self._before[number] = signal.signal(number, self._note)
            except (TypeError, ValueError):
                pass
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.interrupted:
            raise KeyboardInterrupt
        self.save = True
        self.interrupted = self.interrupted or number == signal.SIGINT
        self.stop = self.stop or number in (signal.SIGTERM, signal.SIGINT)

    def stopped(self, told: str) -> Stopped:
        """What to raise at the end that was asked for."""
        return Interrupted(f"Ctrl-C: {told}") if self.interrupted else Stopped(f"SIGTERM: {told}")

    def read(self) -> list[bool]:
        """Whether a checkpoint, and whether the end, was asked for since the last look."""
        save, self.save = self.save, False
        return [save, self.stop]

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system takes back when the process ends, however it ends.

    Raises SettingsError where another process holds it.
    """
    with writing(directory / LOCK):
        file = (directory / LOCK).open("w")
    with file:
        if not _locked(file):
            raise SettingsError(
                f"{directory}: another process is training there; wait for it, or choose another folder"
            )
        yield


def being_trained(directory: Path) -> bool:
    """Whether a process is training in this folder now."""
    path = directory / LOCK
    if not path.exists():
        return False
    with path.open() as file:
        return not _locked(file, shared=True)


def _locked(file: IO, *, shared: bool = False) -> bool:
    """Lock an open file for as long as it is open; False where another process holds the lock."""
    try:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows, or a file system without locks
        pass
    return True
