"""The grader's side of a student's process: run a cell, call a function, and end the process when it overdoes it."""

import contextlib
import functools
import json
import math
import os
import select
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import confine
import psutil
import wire
from tables import Refused, printable

LARGEST_REPLY = 2**26  # bytes
LARGEST_SCRATCH = 2**26
CRASHED = "your code crashed or ended the process that runs it"
STARTING = 120  # seconds of CPU time for the imports
WORKER = ("worker.py", "wire.py", "confine.py")  # all of the grader that the student's process sees
READABLE = ("/usr", "/lib", "/lib64", "/etc/localtime", "/etc/ld.so.cache")
NO_WALL = (
    "this machine can confine students' code neither with bubblewrap (0.7 or newer: apt install bubblewrap) nor with "
    "Landlock (Linux 5.13 or newer). Grade on another Linux machine; or, if you would run every student's code as "
    "yourself, add --trust-students"
)


class StudentError(Exception):
    """The student's code failed: the question scores 0, and the message goes into the feedback."""


class Stopped(StudentError):
    """The student's process is gone: out of time, out of memory, or crashed."""


@dataclass(frozen=True)
class Limits:
    """What one hand-in may take. `seconds` is CPU time, so that a busy machine takes nothing away."""

    seconds: float = 20.0  # for each answer cell, and for each question's tests
    total: float = 600.0  # on the clock, for everything: what waits takes no CPU time
    memory: int = 2 * 2**30  # bytes beyond what Python and PyTorch take


@functools.cache
def find_wall() -> str:
    """What can confine students' code here: "bwrap" or "landlock", or "" for nothing. Raises Refused as `packages`."""
    packages()
    if shutil.which("bwrap"):
        look = f"import os; [os.listdir(folder) for folder in {packages()}]"
        with tempfile.TemporaryDirectory() as folder:
            probe = subprocess.run([*_bwrap(Path(folder)), *_python(), "-c", look], capture_output=True)
        if probe.returncode == 0:
            return "bwrap"
    return "landlock" if confine.landlock_version() else ""


def packages() -> list[str]:
    """Folders of Python's packages. Raises Refused if one holds the package that the assignments rebuild."""
    folders = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    for folder in folders:
        if (Path(folder) / "resflow_lite").exists():
            raise Refused(f"{folder} holds resflow_lite: grade where it is not installed, or with pip install -e")
    return folders


def _python() -> list[str]:
    """Without `site`, so that no editable install is importable."""
    return [os.path.realpath(sys.executable), "-I", "-S"]


def _bwrap(tools: Path) -> list[str]:
    """A machine of its own: no network, no other processes, no files but Python's, 64 MB to write."""
    command = [shutil.which("bwrap"), "--unshare-all", "--unshare-user", "--uid", "65534", "--gid", "65534"]
    command += ["--cap-drop", "ALL", "--die-with-parent", "--new-session", "--as-pid-1", "--dev", "/dev"]
    command += ["--size", str(LARGEST_SCRATCH), "--tmpfs", "/tmp"]  # first: Python may lie in a folder below it
    for path in dict.fromkeys([*READABLE, sys.base_prefix, *packages()]):
        command += ["--ro-bind-try", path, path]
    command += ["--ro-bind", str(tools), "/grader", "--proc", "/proc", "--remount-ro", "/dev"]
    return [*command, "--remount-ro", "/", "--chdir", "/tmp"]


class Sandbox:
    """One student's process behind a wall (see `confine`), until `end` on the monotonic clock."""

    def __init__(self, wall: str, limits: Limits = Limits(), end: float = math.inf):
        inside = wall == "bwrap"
        self.limits, self.end, self.folder = limits, end, tempfile.TemporaryDirectory(prefix="student-")
        tools, scratch = Path(self.folder.name, "grader"), Path(self.folder.name, "scratch")
        os.chmod(self.folder.name, 0o711)
        for folder in (tools, scratch):
            folder.mkdir()
        for name in WORKER:
            shutil.copy(Path(__file__).with_name(name), tools)
        _fonts(tools)
        self.scratch, home = scratch, "/tmp" if inside else str(scratch)
        there = "/grader" if inside else str(tools)
        command = [*(_bwrap(tools) if inside else ()), *_python(), f"{there}/worker.py"]
        python = [sys.base_prefix, *packages()]
        # No variable of the grader's environment (tokens, paths) reaches the student.
        environment = {"PATH": "/usr/bin:/bin", "HOME": home, "MPLCONFIGDIR": home, "TMPDIR": home}
        environment |= {"OMP_NUM_THREADS": "1", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        environment["TORCHINDUCTOR_CACHE_DIR"] = home  # torch.func looks for it, and Landlock lets nobody make one
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=scratch,
            start_new_session=True,
        )
        self.base, self.spent = 0, 0.0
        self.family: list[psutil.Process] = []
        settings = dict(packages=packages(), readable=[*READABLE, "/dev/urandom", *python, str(tools)], scratch=home)
        settings |= dict(wall=wall, memory=limits.memory, seconds=limits.total)
        self.process.stdin.write(json.dumps(settings).encode() + b"\n")
        self.process.stdin.flush()
        try:
            started = self._receive(STARTING)
        except Stopped as error:  # before any of the student's code
            started = f"behind {wall} Python does not start ({error})"
        if started is not None:
            self.close()
            raise OSError(started)
        self.base = self._resident()
        self.family = self._processes() if wall != "none" else []  # behind a wall no others can come

    def run(self, source: str, seconds: float) -> None:
        self._ask({"do": "run", "source": source}, seconds)

    def call(self, name: str, args: tuple, kwargs: dict, seconds: float) -> Any:
        return self._ask({"do": "call", "name": name, "args": args, "kwargs": kwargs}, seconds)

    def get(self, name: str, seconds: float) -> Any:
        """Its value, or wire.Name(name) for a function."""
        return self._ask({"do": "get", "name": name}, seconds)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def seconds_used(self) -> float:
        """CPU time of the student's processes so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self._processes())

    def close(self) -> None:
        self.spent = max(self.spent, self.seconds_used())
        for process in self._processes():
            process.kill()
        self.process.kill()
        self.process.communicate()
        self.folder.cleanup()

    def _processes(self) -> list[psutil.Process]:
        try:
            top = psutil.Process(self.process.pid)
            family = self.family or (top, *top.children(recursive=True))
            return [process for process in family if process.status() != psutil.STATUS_ZOMBIE]
        except psutil.Error:
            return []  # it has just ended, as the next read will tell

    def _ask(self, request: dict, seconds: float) -> Any:
        if not self.alive:
            raise Stopped(CRASHED)
        try:
            self.process.stdin.write(wire.dumps(request))
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Stopped(CRASHED) from None
        return self._receive(seconds)

    def _receive(self, seconds: float) -> Any:
        pipe, reply = self.process.stdout.fileno(), bytearray()
        used, start, looked = self.seconds_used(), time.monotonic(), 0.0
        while not reply.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], 0.05)
            if ready:
                part = os.read(pipe, 2**20)
                reply += part
                if not part:
                    self._stop(CRASHED)
            elif not self.alive:
                self._stop(CRASHED)
            if (now := time.monotonic()) > looked + 0.05:  # whether the pipe is silent or not
                looked = now
                if self.seconds_used() - used > seconds or now - start > 10 * seconds or now > self.end:
                    self._stop(f"out of time: more than {seconds:g} seconds")
                if self.base and self._resident() - self.base > self.limits.memory:
                    self._stop("out of memory")
                if self._written() > LARGEST_SCRATCH:
                    self._stop("too much written to files")
            if len(reply) > LARGEST_REPLY:
                self._stop("out of memory, or an answer that is far too large")
        try:
            message = wire.loads(reply)
            error = message.get("error")
            value = message["ok"] if error is None else None
        except Exception as problem:  # whatever a student's process may write
            why = f"your function returned something that cannot be graded ({printable(problem)})"
            raise StudentError(why) from None
        if error is not None:
            raise StudentError(printable(error)[:600])
        return value

    def _resident(self) -> int:
        try:
            return sum(process.memory_info().rss for process in self._processes())
        except psutil.Error:
            return 0

    def _written(self) -> int:
        """Bytes in the scratch folder on disk, with a page for each file; bubblewrap's is limited by itself."""
        written = 0
        for entry in os.scandir(self.scratch):
            with contextlib.suppress(FileNotFoundError):
                written += 4096 + entry.stat(follow_symlinks=False).st_size
            if written > LARGEST_SCRATCH:
                break
        return written

    def _stop(self, why: str) -> None:
        self.spent = self.seconds_used()
        for process in self._processes():
            process.kill()
        self.process.kill()
        self.process.wait()
        raise Stopped(why)


def _fonts(folder: Path) -> None:
    """Matplotlib's list of fonts, so that no student's process has to make it anew."""
    import matplotlib

    for path in Path(matplotlib.get_cachedir()).glob("fontlist-*.json"):
        shutil.copy(path, folder)
