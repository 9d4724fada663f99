"""The folder of a run: what lies in it, and how to read it, also while another process trains there."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from ..models.flow import Flow
from .checkpoints import facts_of, load_average, load_flow
from .tasks.density import Experiment

__all__ = ["Run", "load_run", "read_lines", "note"]

SETTINGS = "experiment.json"
RECORD = "training.jsonl"
EVENTS = "events.jsonl"
CHECKPOINT = "checkpoint.safetensors"
LAST, BEST = "model.safetensors", "best.safetensors"


@dataclass(frozen=True)
class Run:
    """A trained model and where its files are.

    flow: on the CPU, in evaluation mode.  history: the lines of the record.  step: the one that the weights are of.
    weights: "last" (the averaged weights of the last step), "best" (those with the best validation score) or
    "unfinished" (the averaged weights of the last checkpoint, training goes on or was interrupted).
    """

    directory: Path
    experiment: Experiment
    flow: Flow
    history: list[dict[str, Any]]
    step: int
    weights: str


def load_run(run_dir: Path | str, weights: str | None = None, experiment: Experiment | None = None) -> Run:
    """A run from its folder. weights: None for the reported ones, those that validation chose, where it did; or "best"
    or "last". An unfinished run comes with the averaged weights of its last checkpoint. experiment: see load_flow.

    Raises DataError where there is nothing to read.
    """
    if weights not in (None, "best", "last"):
        raise SettingsError(f"weights = {weights!r}: expected 'best', 'last' or None")
    directory = Path(run_dir)
    history = read_lines(directory / RECORD)
    if not (directory / LAST).exists() and (directory / CHECKPOINT).exists():
        flow, experiment, step = load_average(directory / CHECKPOINT, experiment)
        return Run(directory, experiment, flow, history, step, "unfinished")
    weights = weights or ("best" if (directory / BEST).exists() else "last")
    path = directory / {"best": BEST, "last": LAST}[weights]
    flow, experiment = load_flow(path, experiment)
    return Run(directory, experiment, flow, history, facts_of(path).get("step", experiment.steps), weights)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file, which need not exist; a last line that is still being written is left out."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def note(directory: Path, step: int, event: str) -> None:
    """Add a line to what has happened to the run."""
    with (directory / EVENTS).open("a") as file:
        file.write(json.dumps(dict(step=step, event=event)) + "\n")
