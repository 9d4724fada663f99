"""What may happen to a run from outside: signals, and a second process in the same folder."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from ..errors import ResflowError, SettingsError

__all__ = ["Stopped", "Signals", "being_trained", "sole_writer"]

LOCK = ".lock"


class Stopped(ResflowError):
    """A signal has ended the training; what it has done is in the checkpoint."""


class Signals:
    """Notes SIGUSR1 (save a checkpoint) and SIGTERM (save one and stop) while a `with` block runs.

    The loop looks between two steps. Outside the main thread, where Python allows no handlers, nothing is noted.
    """

    def __enter__(self) -> "Signals":
        self.save = self.stop = False
        self._before = {}
        for name in ("SIGUSR1", "SIGTERM"):
            number = getattr(signal, name, None)  # Windows has no SIGUSR1
            try:
                self._before[number] = signal.signal(number, self._note)
            except (TypeError, ValueError):
                pass
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.save = True
        self.stop = self.stop or number == signal.SIGTERM

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
    with (directory / LOCK).open("w") as file:
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


def _locked(file: IO, shared: bool = False) -> bool:
    """Lock an open file for as long as it is open; False where another process holds the lock."""
    try:
        import fcntl

        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows, or a file system without locks
        pass
    return True
