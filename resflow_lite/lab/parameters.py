"""The parameters of a notebook: plain variables, perhaps set by papermill, become a checked Experiment."""

import tempfile
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import SettingsError
from ..expect import instance
from .data.images import images_label
from .home import home, make_folder
from .tasks.density import Experiment

# IPython puts these into every notebook; names that start with an underscore are ignored as well
_IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}


def experiment_from_notebook(namespace: Mapping[str, Any], kind: type = Experiment) -> tuple[Any, Path]:
    """Turn `globals()` of a notebook, right after its parameter cell, into an Experiment and a folder for its results.

    kind: Experiment, or another dataclass of settings with a `from_parameters`.

    Every variable is taken for a parameter, modules, functions and classes aside, because papermill hands over a
    misspelt name as one more variable. A namespace that holds an experiment already is that of a live session, with the
    notebook's own variables: there only the names of settings are looked at. Nothing is written into it.

    run_dir, where the notebook has it, names the folder; empty means a fresh one under runs/.
    Raises SettingsError for an unknown name or a wrong value.
    """
    instance(Mapping)("namespace", namespace)
    known = {field.name for field in fields(kind)} | {"run_dir"}
    first = not any(isinstance(value, kind) for value in namespace.values())
    found = {n: value for n, value in namespace.items() if n in known or (first and _is_parameter(n, value))}
    run_dir = found.pop("run_dir", "")
    if not isinstance(run_dir, str | Path):
        raise SettingsError(f"run_dir = {run_dir!r}: expected the path of a folder, or '' for a fresh one under runs/")
    unknown = ", ".join(sorted(set(found) - known))
    try:
        experiment = kind.from_parameters(found)
    except SettingsError as error:
        advice = f". In a live session, restart the kernel after the correction: it still holds {unknown}"
        raise SettingsError(f"{error}{advice if unknown else ''}") from None
    return experiment, _folder(run_dir, experiment)


def _is_parameter(name: str, value: Any) -> bool:
    return not (name.startswith("_") or name in _IPYTHON or isinstance(value, ModuleType) or callable(value))


def _folder(run_dir: str | Path, experiment: Any) -> Path:
    if run_dir:
        return make_folder(run_dir)
    name = images_label(getattr(experiment, "dataset", type(experiment).__name__.lower()))
    runs = make_folder(home() / "runs")
    return Path(tempfile.mkdtemp(prefix=f"{name}-{datetime.now():%Y%m%d-%H%M%S}-", dir=runs))
