"""A whole class: one child process for each hand-in, one line in `verdicts.jsonl` for each verdict, as they come."""

import contextlib
import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import build
import examine
from find import HandIn, read_bytes
from marks import Mark, no_marks
from sandbox import Limits
from tables import file_name

# Children start as copies of a process that has only imported what takes seconds.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["torch.func", "matplotlib.pyplot", "nbformat", "psutil"])
GRACE = 60  # seconds after `Limits.total`: for starting, and for the tests' own work


@dataclass(frozen=True)
class Verdict:
    """What became of one student's hand-in. `done` is False where the hand-in, or the grader, ended the grading."""

    student: str
    place: str
    time: float  # of the hand-in, seconds since 1970
    marks: list[Mark]
    notes: list[str]
    key: str  # of everything that the marks follow from
    done: bool = True
    seconds: float = 0.0  # of CPU time


@dataclass(frozen=True)
class Course:
    """One assignment of a pack, and how it is graded."""

    pack: Path
    assignment: str
    wall: str
    limits: Limits = Limits()

    @property
    def source(self) -> Path:
        return self.pack / "source" / self.assignment / f"{self.assignment}.ipynb"

    @property
    def term(self) -> str:
        return (self.pack / "term.txt").read_text(encoding="utf-8")

    @property
    def partial(self) -> bool:
        return (self.pack / "partial.txt").exists()

    @property
    def grade_ids(self) -> list[str]:
        return [kind.grade_id for cell in build.read(self.source).cells if (kind := build.meta(cell)).grade]

    def key(self, hand_in: HandIn) -> str:
        """Equal keys, equal marks: the bytes of both notebooks, the student and the rules."""
        code = hashlib.sha256(repr((hand_in.student, self.term, self.partial, self.limits)).encode())
        for path in filter(None, (self.source, hand_in.file)):
            with contextlib.suppress(OSError):  # gone, or not to be read: the child will say so
                code.update(hashlib.sha256(read_bytes(path)).digest())
        return code.hexdigest()

    def verdict(self, hand_in: HandIn, page: Path | None = None) -> Verdict:
        """Whatever the hand-in does; `page` is where the page for marking goes."""
        verdict = Verdict(hand_in.student, hand_in.place, hand_in.time, [], list(hand_in.notes), self.key(hand_in))
        if hand_in.file is None:
            return self._failed(verdict, hand_in.problem)
        request = asdict(self) | asdict(hand_in) | {"term": self.term, "partial": self.partial, "page": page}
        ours, theirs = processes.Pipe(duplex=False)
        child = processes.Process(target=examine.child, args=(request | {"source": self.source}, theirs))
        child.start()
        theirs.close()
        try:
            if not ours.poll(self.limits.total + GRACE):
                return self._failed(verdict, f"not graded: it took more than {self.limits.total + GRACE:g} seconds")
            result = json.loads(ours.recv_bytes())
            marks = [Mark(**mark) for mark in result.pop("marks")]
            return replace(verdict, marks=marks, notes=verdict.notes + result["notes"], seconds=result["seconds"])
        except (EOFError, ConnectionError):
            child.join(GRACE)
            return self._failed(verdict, f"not graded: the process that graded it ended with code {child.exitcode}")
        except KeyError:
            return self._failed(verdict, f"not graded: {result['error']}")
        finally:
            child.kill()  # with it go the sandbox and all that a student started there
            child.join()
            ours.close()

    def _failed(self, verdict: Verdict, why: str) -> Verdict:
        marks = no_marks(build.read(self.source), why)
        notes = list(dict.fromkeys([*verdict.notes, why]))
        return replace(verdict, marks=marks, notes=notes, done=False)


def grade_all(course: Course, hand_ins: list[HandIn], out: Path, jobs: int) -> Iterator[Verdict]:
    """Each verdict, as it comes; what stands in out/verdicts.jsonl with the same key is not run again."""
    record = out / "verdicts.jsonl"
    known = {verdict.student: verdict for verdict in read_verdicts(record)}
    pages = out / "marking"
    pages.mkdir(parents=True, exist_ok=True)

    def one(hand_in: HandIn) -> Verdict:
        old = known.get(hand_in.student)
        if old and old.done and old.key == course.key(hand_in):
            return replace(old, place=hand_in.place, time=hand_in.time)
        started = time.monotonic()
        verdict = course.verdict(hand_in, pages / f"{file_name(hand_in.student)}.html")
        print(f"{hand_in.student}: {time.monotonic() - started:.0f} s", flush=True)
        return verdict

    with open(record, "ab") as lines, ThreadPoolExecutor(jobs) as pool:
        if record.stat().st_size and not record.read_bytes().endswith(b"\n"):
            lines.write(b"\n")  # after a line that an interruption cut
        running = [pool.submit(one, hand_in) for hand_in in hand_ins]
        try:
            for future in as_completed(running):
                verdict = future.result()
                if known.get(verdict.student) != verdict:
                    lines.write(json.dumps(asdict(verdict)).encode() + b"\n")
                    lines.flush()
                    os.fsync(lines.fileno())
                yield verdict
        finally:  # at the end there are none; after Ctrl-C nobody waits for the rest
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.kill()


def read_verdicts(record: Path) -> list[Verdict]:
    """All whole lines; of one student's, the last counts."""
    verdicts = []
    for line in record.read_bytes().splitlines() if record.exists() else []:
        try:
            words = json.loads(line)
            verdicts.append(Verdict(**words | {"marks": [Mark(**mark) for mark in words["marks"]]}))
        except (ValueError, TypeError, KeyError):
            continue
    return verdicts
