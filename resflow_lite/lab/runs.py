"""The folder of a run: what lies in it, and how to read it, also while another process trains there."""

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import DataError, SettingsError
from ..expect import Check, instance, integer, number
from ..models.flow import Flow
from .checkpoints import facts_of, load_weights
from .data.images import load_images
from .files import add_line, read_json, read_lines
from .tasks.registry import completed
from .tasks.task import Training

SETTINGS = "experiment.json"
RECORD = "training.jsonl"
EVENTS = "events.jsonl"
CHECKPOINT = "checkpoint.safetensors"
LAST, BEST = "model.safetensors", "best.safetensors"
FILES = dict(last=LAST, best=BEST, unfinished=CHECKPOINT)
"""By which weights they hold (Run.weights)."""
ENTRY, METRICS = "ledger.json", "metrics.json"
NOTHING = object()


@dataclass(frozen=True)
class Run:
    """A trained model and where its files are.

    flow: on the CPU, in evaluation mode.  history: the lines of the record.  step: the one that the weights are of.
    weights: "last" (the averaged weights of the last step), "best" (those with the best validation score) or
    "unfinished" (the averaged weights of the last checkpoint, training goes on or was interrupted).  facts: what the
    file of the weights tells.
    """

    directory: Path
    experiment: Any
    flow: Flow
    history: list[dict[str, Any]]
    step: int
    weights: str
    facts: dict[str, Any]

    @property
    def path(self) -> Path:
        """The file of the weights."""
        return self.directory / FILES[self.weights]

    @property
    def n_levels(self) -> int:
        """Levels of the images, also where the data are not here."""
        told = self.facts.get("n_levels")
        return load_images(self.experiment.dataset, "test").n_levels if told is None else told


def load_run(run_dir: Path | str, weights: str | None = None, experiment: Training | None = None) -> Run:
    """A run from its folder, of any task. weights: None for the reported ones, those that validation chose, where it
    did; or "best" or "last". An unfinished run comes with the averaged weights of its last checkpoint. experiment: see
    load_flow.

    Raises DataError where there is nothing to read.
    """
    if weights not in (None, "best", "last"):
        raise SettingsError(f"weights = {weights!r}: expected 'best', 'last' or None")
    directory = folder(run_dir)
    if not (directory / LAST).exists() and (directory / CHECKPOINT).exists():
        weights = "unfinished"
    weights = weights or ("best" if (directory / BEST).exists() else "last")
    history = read_record(directory / RECORD)
    flow, experiment, facts = load_weights(directory / FILES[weights], experiment)
    return Run(directory, experiment, flow, history, facts.get("step", experiment.steps), weights, facts)


def folder(run_dir: Any) -> Path:
    """The path of a run's folder, there or not. Raises SettingsError for what is no path."""
    if not isinstance(run_dir, str | Path) or "\0" in str(run_dir):
        raise SettingsError(f"run_dir = {run_dir!r}: expected the path of a folder")
    return Path(run_dir)


def read_record(path: Path) -> list[dict[str, Any]]:
    """The lines of a record. Raises DataError for one without its step or its seconds, or whose step does not rise."""
    rows = _rows(path, step=integer(0, 2**63 - 1), seconds=number("[0, inf)"))
    for i, (one, following) in enumerate(pairwise(rows), 2):
        if following["step"] <= one["step"]:
            raise DataError(
                f"{path}, line {i}: step = {following['step']} after {one['step']}: remove one of the lines"
            )
    return rows


def read_events(directory: Path) -> list[dict[str, Any]]:
    """What `note` has written in a folder. Raises DataError for a line without its step or its event."""
    return _rows(directory / EVENTS, step=integer(0, 2**63 - 1), event=instance(str))


def _rows(path: Path, **checks: Check) -> list[dict[str, Any]]:
    lines = read_lines(path)
    for i, line in enumerate(lines, 1):
        for name, check in checks.items():
            if not check.fits(line.get(name)):
                raise DataError(f"{path}, line {i}: {name} = {line.get(name)!r}, expected {check.words}, as of fit")
    return lines


def finished(directory: Path) -> int:
    """Steps of the finished run in a folder; 0 where there is none."""
    if not (directory / LAST).exists():
        return 0
    facts = facts_of(directory / LAST)
    step = facts.get("step", _settings(directory / LAST, facts).get("steps"))
    if type(step) is not int:
        raise DataError(f"{directory / LAST}: step = {step!r}, expected a whole number, as fit writes it")
    return step


def _settings(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(facts.get("experiment"), dict):
        raise DataError(f"{path} does not tell the settings of its run: expected a file that fit has written")
    return facts["experiment"]


def _told(directory: Path) -> dict[str, Any] | None:
    """The settings of the run in a folder, where there is one: by its experiment.json, or else by its weights."""
    if (directory / SETTINGS).exists():
        return read_json(directory / SETTINGS)
    weights = next((path for name in (CHECKPOINT, LAST, BEST) if (path := directory / name).exists()), None)
    return None if weights is None else _settings(weights, facts_of(weights))


def claim(directory: Path, experiment: Training) -> int:
    """Compare the settings with those in the folder, if there are any: the steps of the run there, or 0. Nothing is
    written. A setting that is younger than the folder had its usual value.

    Raises SettingsError where the folder holds a run of other settings; a finished one may get more steps.
    """
    found, mine = _told(directory), experiment.as_json()
    if found is None:
        return 0
    if type(found.get("steps")) is not int:
        raise DataError(f"{directory / SETTINGS} holds no settings of a run (steps = {found.get('steps')!r}): move it")
    there = completed(found)
    different = [name for name in mine | there if there.get(name, NOTHING) != mine.get(name, NOTHING)]
    longer = set(different) <= {"steps", "warm_up"} and there["steps"] < mine["steps"]
    if different and not (longer and finished(directory) >= there["steps"]):
        told = ", ".join(f"{name} = {there.get(name)!r}" for name in different)
        raise SettingsError(f"{directory} holds a run with {told}: choose another folder")
    return there["steps"]


def sha256(path: Path) -> str:
    """Of a file, in 64 hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def note(directory: Path, step: int, event: str) -> None:
    """Add a line to what has happened to the run."""
    add_line(directory / EVENTS, dict(step=step, event=event))
