"""The runs of sweeps, several at a time: what they will cost, which are finished, what came out."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..errors import ResflowError
from .data.images import load_images
from .home import home
from .ledger import publish, read_entries
from .machine import Signals, being_trained
from .seeds import Comparison, compare, group
from .sweeps import Planned, by_settings
from .tasks.registry import TASKS
from .training import fit

FOLLOW = "RESFLOW_FOLLOW"
"""Set for runs that `carry_out` has started: they end when their standard input does, that is, with their parent."""
TRIAL = 6
"""Steps that are timed where the ledger knows nothing of a setting."""
LOG = "log.txt"


class RunsFailed(ResflowError):
    """Some runs of a sweep failed; the others are finished."""


class Cost(NamedTuple):
    """Of the runs that differ in their seed only. each: seconds of one to train, None where nobody knows.  source:
    "ledger", "timed" or "unknown"."""

    name: str
    runs: int
    left: int
    each: float | None
    source: str

    def __str__(self) -> str:
        about = "time unknown" if self.each is None else f"about {self.each:,.0f} s each ({self.source})"
        return f"{self.name:44} {self.runs:3} runs, {self.runs - self.left:3} finished, {about}"


def costs(runs: Sequence[Planned], *, measure: bool = True) -> list[Cost]:
    """Seconds per step x steps. Seconds per step: the mean of the ledger's entries of the same settings, of whatever
    seed and length; where there are none, from a trial of a few steps, if `measure`. Evaluation comes on top."""
    found, besides = [], ("seed", "steps")
    known = by_settings(read_entries() + [entry for run in runs if (entry := run.entry)], besides)
    for name, members in group(runs, lambda run: str(run).rpartition("-seed")[0]).items():
        left = sum(run.entry is None for run in members)
        entries = known.get(members[0].key(besides), [])
        seconds, source = _seconds_per_step(members[0], entries, measure=measure and left > 0)
        each = None if seconds is None else seconds * members[0].experiment.steps
        found.append(Cost(name, len(members), left, each, source))
    return found


def estimate(runs: Sequence[Planned], workers: int, *, measure: bool = True) -> str:
    """What is left to do, and how long that takes (costs), as a text."""
    found = costs(runs, measure=measure)
    hours = sum(cost.each * cost.left for cost in found if cost.each is not None) / 3600
    unknown = sum(cost.left for cost in found if cost.each is None)
    told = f"to train: {hours:.2f} hours of one worker, {hours / workers:.2f} with {workers}, and evaluation"
    left_out = [f"{unknown} runs of unknown cost are left out of this sum"] if unknown else []
    return "\n".join([*map(str, found), told, *left_out])


def _seconds_per_step(run: Planned, entries: Sequence[dict[str, Any]], *, measure: bool) -> tuple[float | None, str]:
    """... and where that comes from. entries: of its settings."""
    if entries:
        return sum(e["wall_seconds"] / e["steps"] for e in entries) / len(entries), "ledger"
    if not measure:
        return None, "unknown"
    unheld = dict(validation=0) if run.experiment.validation else {}
    trial, threads = replace(run.experiment, steps=TRIAL, **unheld), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            history = fit(trial, folder).history  # the first steps are slower
        first, last = history[0], history[-1]
        return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"]), "timed"
    finally:
        torch.set_num_threads(threads)


def carry_out(runs: Sequence[Planned], workers: int) -> None:
    """Train and evaluate every run that is not finished, each in a process of its own with one thread (OMP_NUM_THREADS
    says otherwise) and a log file in its folder.

    A run that fails does not stop the others. Interrupted in any way, the same call goes on.
    Raises DataError before anything trains where a data set is not there and cannot be downloaded; RunsFailed, at the
    end, naming the runs that failed; Stopped where SIGTERM came.
    """
    waiting = [run for run in runs if run.entry is None]
    for dataset in {run.experiment.dataset for run in waiting if run.task != "toy"}:
        load_images(dataset)
    running: list[tuple[Planned, subprocess.Popen]] = []
    total, failed = len(waiting), []
    with Signals() as signals:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    running.append((waiting[0], _start(waiting[0])))
                    del waiting[0]
                time.sleep(0.1)
                for run, process in [pair for pair in running if pair[1].poll() is not None]:
                    running.remove((run, process))
                    failed += [run] if run.entry is None else []
                    print(f"[{total - len(waiting) - len(running)}/{total}] {_told(run)}", flush=True)
                if signals.read()[1]:
                    raise signals.stopped("stopped; the same command goes on with the runs that are not finished")
        finally:
            for _, process in running:
                process.terminate()  # fit writes a checkpoint first
            for _, process in running:
                process.wait()
    if failed:
        logs = ", ".join(f"{run} ({run.directory / LOG})" for run in failed)
        raise RunsFailed(f"{len(failed)} of {total} runs failed: {logs}")


def _start(run: Planned) -> subprocess.Popen:
    run.directory.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-m", "resflow_lite", "reproduce", run.source, "--profile", run.experiment.profile]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, FOLLOW: "1"}
    with (run.directory / LOG).open("a") as log:
        pipes = dict(stdin=subprocess.PIPE, stdout=log, stderr=log)
        # a session of its own: Ctrl-C reaches this process alone, which ends the others
        return subprocess.Popen([*line, "--index", str(run.index)], env=environment, **pipes, start_new_session=True)


def _told(run: Planned) -> str:
    """A line about a run that has ended."""
    entry = run.entry
    if entry is None:
        lines = (run.directory / LOG).read_text().splitlines() or ["no word"]
        return f"{run} FAILED: {lines[-1]}"
    scores = (f"{score} {entry[score]:.4f}" for score in TASKS[run.task].scores if entry[score] is not None)
    return f"{run}: {', '.join(scores)}; {entry['wall_seconds']:.0f} s of training"


def carry_out_one(run: Planned) -> str:
    """One run in this process; waits where another trains in its folder. A line about it."""
    if os.environ.pop(FOLLOW, None):
        threading.Thread(target=_end_with_parent, daemon=True).start()
    while being_trained(run.directory):
        time.sleep(1)
    run.carry_out()
    return _told(run)


def _end_with_parent() -> None:
    """The other end of the pipe closes when the parent ends, even by kill -9."""
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def comparisons(runs: Sequence[Planned]) -> dict[tuple[str, str, str], list[Comparison]]:
    """(sweep, data set, score) -> the finished runs' settings, each beside the first."""
    finished, found = [(run, run.entry) for run in runs if run.entry], {}
    for (sweep, dataset), pairs in group(finished, lambda p: (p[0].sweep, p[0].experiment.dataset)).items():
        for score in TASKS[pairs[0][0].task].scores:
            groups = group([pair for pair in pairs if pair[1][score] is not None], lambda pair: pair[0].setting)
            rows = compare({name: [entry for _, entry in members] for name, members in groups.items()}, score)
            if rows:
                found[sweep, dataset, score] = rows
    return found


def table(runs: Sequence[Planned]) -> str:
    """Scores of the finished runs: mean over seeds +- standard error, and the paired difference to the first setting
    with its 95 % interval."""
    lines = []
    for (sweep, dataset, score), rows in comparisons(runs).items():
        lines += [f"{sweep}, {dataset}: {score}; then minus {rows[0].name}, 95 %", *map(str, rows)]
    return "\n".join(lines)


def publish_entries(runs: Sequence[Planned]) -> list[Path]:
    """Put the entries of finished runs into data/results/SWEEP, but for equal results of the same settings."""
    written, known = [], {}
    for run, entry in ((run, run.entry) for run in runs):
        folder, scores = home() / "data" / "results" / run.sweep, TASKS[run.task].scores
        if run.sweep not in known:
            known[run.sweep] = by_settings(read_entries(folder))
        alike = known[run.sweep].setdefault(run.key(), [])
        if entry and not any(all(other[s] == entry[s] for s in scores) for other in alike):
            alike.append(entry)
            written.append(publish(run.directory, folder, run.setting))
    return written
