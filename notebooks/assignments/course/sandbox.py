"""The grader's side of a student's process: run a cell, call a function, and end the process when it overdoes it."""

import json
import os
import select
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import wire

GIGABYTE = 2**30
LARGEST_REPLY = 2**26  # bytes
CRASHED = "your code crashed or ended the process that runs it"
STARTING = 120  # seconds of CPU time for the imports


class StudentError(Exception):
    """The student's code failed: the question scores 0, and the message goes into the feedback."""


class Stopped(StudentError):
    """The student's process is gone: out of time, out of memory, or crashed."""


class Sandbox:
    """One student's process. `seconds` is CPU time, so that a busy machine takes nothing away; waiting may last
    ten times as long."""

    def __init__(self, memory: int = 2 * GIGABYTE):
        packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
        for folder in packages:
            if (Path(folder) / "resflow_lite").exists():
                raise OSError(f"{folder} holds resflow_lite: grade where it is not installed, or with pip install -e")
        self.memory, self.scratch = memory, tempfile.TemporaryDirectory(prefix="student-")
        readable = [sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", "/dev/urandom", "/etc/localtime"]
        course = str(Path(__file__).parent)
        settings = dict(packages=packages, readable=readable, scratch=self.scratch.name, memory=memory, course=course)
        # No variable of the grader's environment (tokens, paths) reaches the student.
        environment = {"PATH": "/usr/bin:/bin", "HOME": self.scratch.name, "MPLCONFIGDIR": self.scratch.name}
        environment |= {"OMP_NUM_THREADS": "1", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("worker.py")), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd=self.scratch.name,
        )
        started = self._receive(STARTING)
        if started is not None:
            self.close()
            raise OSError(started)

    def run(self, source: str, seconds: float, title: str = "cell") -> None:
        self._ask({"do": "run", "source": source, "title": title}, seconds)

    def call(self, name: str, args: tuple, kwargs: dict, seconds: float) -> Any:
        return self._ask({"do": "call", "name": name, "args": args, "kwargs": kwargs}, seconds)

    def get(self, name: str, seconds: float) -> Any:
        """Its value, or wire.Name(name) for a function."""
        return self._ask({"do": "get", "name": name}, seconds)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def seconds_used(self) -> float:
        """CPU time of the process so far."""
        try:
            return sum(psutil.Process(self.process.pid).cpu_times()[:2])
        except psutil.Error:
            return 0.0  # it has just ended, as the next read will tell

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.scratch.cleanup()

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

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
        pipe, reply = self.process.stdout.fileno(), b""
        used, wall = self.seconds_used(), time.monotonic()
        while not reply.endswith(b"\n"):
            if not self.alive and not select.select([pipe], [], [], 0)[0]:
                self._stop(CRASHED)
            ready, _, _ = select.select([pipe], [], [], 0.05)
            if ready:
                part = os.read(pipe, 2**20)
                reply += part
                if not part:
                    self._stop(CRASHED)
            else:
                spent = self.seconds_used() - used
                if spent > seconds or time.monotonic() - wall > 10 * seconds:
                    self._stop(f"out of time: more than {seconds:g} seconds")
            if len(reply) > LARGEST_REPLY or self._resident() > 2 * self.memory:
                self._stop("out of memory, or an answer that is far too large")
        try:
            message = wire.loads(reply)
            if "error" in message:
                raise StudentError(str(message["error"])[:600])
            return message["ok"]
        except (ValueError, KeyError, TypeError, RecursionError, RuntimeError, AttributeError) as error:
            raise StudentError(f"your function returned something that cannot be graded ({error})") from None

    def _resident(self) -> int:
        try:
            return psutil.Process(self.process.pid).memory_info().rss
        except psutil.Error:
            return 0

    def _stop(self, why: str) -> None:
        self.process.kill()
        self.process.wait()
        raise Stopped(why)
