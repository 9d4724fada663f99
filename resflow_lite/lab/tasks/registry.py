"""The tasks by name, and which one settings or a file belong to. A new task is one more line here."""

from collections.abc import Mapping
from typing import Any

from ...errors import SettingsError
from ..machine import World
from .density import Density
from .hybrid import Hybrid
from .plane import Plane
from .task import Task, Training

TASKS: dict[str, type[Task]] = {task.name: task for task in (Density, Plane, Hybrid)}


def task_of(experiment: Training, world: World | None = None) -> Any:
    """The class of the settings' task; with a world, the task itself."""
    kind = next((task for task in TASKS.values() if isinstance(experiment, task.settings)), None)
    if kind is None:
        raise SettingsError(f"experiment = {experiment!r}: expected settings of a task, such as rf.Experiment(...)")
    return kind if world is None else kind(experiment, world)


def read_settings(told: Mapping[str, Any], task: str | None = None) -> Training:
    """Settings as a file tells them. task: None for files that are older than its name."""
    if not isinstance(told, Mapping):
        raise SettingsError(f"settings = {told!r}: expected names and values")
    if task is None:
        task = "hybrid" if "kind" in told else "toy" if "n_blocks" in told else "density"
    return TASKS[task].settings.from_record(told)


def completed(told: Mapping[str, Any], task: str | None = None) -> dict[str, Any]:
    """The same, as plain values: settings that are younger than the file have the value that they stood for."""
    try:
        return read_settings(told, task).as_json() | told
    except SettingsError:  # of a version that took other values
        return dict(told)
