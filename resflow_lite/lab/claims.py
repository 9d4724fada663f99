"""What the runs of every task share: a folder that belongs to one run."""

import json
from pathlib import Path
from typing import Any

from ..errors import SettingsError
from .checkpoints import write_whole
from .runs import SETTINGS
from .tasks.task import TaskSettings

__all__ = ["claim"]


def claim(directory: Path, settings: TaskSettings) -> dict[str, Any] | None:
    """Write the settings into the folder, or compare them with those there; the ledger entry, if the run is finished.

    Raises SettingsError where the folder holds a run of other settings.
    """
    path, mine = directory / SETTINGS, settings.as_json()
    if path.exists():
        there = json.loads(path.read_text())
        different = [f"{name} = {there.get(name)!r}" for name in mine if there.get(name) != mine[name]]
        if different:
            raise SettingsError(f"{directory} holds a run with {', '.join(different)}: choose another folder")
    else:
        write_whole(path, json.dumps(mine, indent=1).encode())
    entry = directory / "ledger.json"
    return json.loads(entry.read_text()) if entry.exists() else None
