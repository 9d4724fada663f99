"""The child process that reads, runs and scores one hand-in.

It is the grader's own code, but what it reads is a student's: its time and memory are limited, and whatever happens to
it, its parent (run.py) writes that student's row and goes on.
"""

import json
import os
import resource
import select
import sys
import threading
import time
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

import build
import marking
import torch
from confine import die_with_parent
from grade import NOT_RUN, grade
from marks import Mark, no_marks
from sandbox import Limits
from submission import Unreadable, read_submission, typed_name
from tables import fold, printable

MEMORY = 4 * 2**30  # bytes beyond what the imports take


def examine(request: dict) -> dict:
    """A verdict: `marks`, `notes` about what is odd, and `seconds` of CPU time."""
    source = build.read(request["source"])
    try:
        submission = read_submission(request["file"])
    except Unreadable as problem:
        return verdict(no_marks(source, str(problem)), [str(problem)])
    limits = Limits(**request["limits"])
    who = request["student"]
    marks, grading = grade(
        source, submission, request["term"], who, request["wall"], limits, partial=request["partial"]
    )
    notes = submission.notes[:5] + [mark.message for mark in marks if mark.message.startswith(NOT_RUN)][:1]
    typed = typed_name(submission)
    if typed and fold(typed) != fold(who):
        notes.append(f"the notebook says student = {typed[:60]!r}, graded as {who!r}: other numbers")
    if request["page"]:
        page = marking.page(request["assignment"], who, source, submission, marks, grading.numbers)
        request["page"].write_text(page, encoding="utf-8")
    return verdict(marks, notes, grading.spent)


def verdict(marks: list[Mark], notes: list[str], spent: float = 0.0) -> dict:
    """With the CPU time of this process and the `spent` one of its sandboxes."""
    seconds = round(time.process_time() + spent, 1)
    return {"marks": [asdict(mark) for mark in marks], "notes": notes, "seconds": seconds}


def end_with_the_reader(answer: Connection) -> None:
    """The server that starts these processes lives as long as they do, so they look for themselves: where the grader is
    killed, nobody reads the pipe any more."""
    hung_up = select.poll()
    hung_up.register(answer.fileno(), 0)
    hung_up.poll()
    os._exit(1)


def child(request: dict, answer: Connection) -> None:
    """The whole life of the process: a verdict as JSON into the pipe, or {"error": ...}."""
    os.setsid()
    die_with_parent()
    threading.Thread(target=end_with_the_reader, args=(answer,), daemon=True).start()
    torch.set_num_threads(1)
    if sys.platform == "linux":
        space = MEMORY + resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (space, space))
    try:
        answered = examine(request)
    except (Exception, MemoryError) as error:
        answered = {"error": printable(f"{type(error).__name__}: {error}")[:300]}
    answer.send_bytes(json.dumps(answered).encode())
