"""Notebooks as experiments: check the parameters, execute through papermill, keep the result as a web page.

Inside of a notebook its parameters, plain variables, become a checked Experiment.
"""

import ast
import base64
import copy
import io
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

from tqdm.contrib import DummyTqdmFile

from ..errors import ResflowError, SettingsError
from .data.images import images_label
from .home import home, make_folder
from .page import write_page
from .tasks.density import Experiment
from .values import expect_known

# papermill, nbformat, nbclient, nbconvert are imported where they are used: a machine that only trains has no Jupyter.

QUIET = ["--IPKernelApp.log_level=CRITICAL"]  # or kernels warn of TCP, and of being ended
LIVE = "application/vnd.jupyter.widget-view+json"
# IPython puts these into every notebook; names that start with an underscore are ignored as well
_IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}


class CellFailed(ResflowError):
    """A cell of an executed notebook failed; the notebook is kept as far as it got."""


def run_notebook(path: Path, run_dir: Path, parameters: dict) -> Path:
    """Execute a notebook with other parameters and return the path of the executed copy.

    Writes `notebook.ipynb` and `notebook.html` into `run_dir`; a notebook that has a parameter `run_dir` is told it.

    Raises:
        SettingsError: there is no such notebook of Python, it has no parameter of a given name, or a value cannot be
            right. Nothing has been executed then.
        CellFailed: a cell raised an error; `notebook.ipynb` shows where.
    """
    known = _inspected(path)
    path, run_dir = Path(path).resolve(), Path(run_dir).resolve()
    told = {"run_dir": str(run_dir)} if known.pop("run_dir", None) else {}
    _check(path.name, known, parameters)
    executed = make_folder(run_dir) / "notebook.ipynb"
    _execute(path, executed, {**parameters, **told})
    write_page(executed, title=path.stem, images=path.parent)
    return executed


def notebook_parameters(path: Path) -> list[tuple[str, str, str, str]]:
    """Name, type, default and explanation of each parameter. Raises SettingsError as run_notebook."""
    told = ("inferred_type_name", "default", "help")
    return [(name, *(parameter[key] for key in told)) for name, parameter in _inspected(path).items()]


def _inspected(path: Path) -> dict[str, dict[str, str]]:
    """What papermill finds in the cell of parameters. Raises SettingsError for a file that is no notebook of Python."""
    import nbformat
    import papermill

    if not Path(path).is_file():
        raise SettingsError(f"there is no notebook {path}")
    try:
        notebook = nbformat.read(path, as_version=4)
        metadata = notebook.metadata
        language = metadata.get("kernelspec", {}).get("language") or metadata.get("language_info", {}).get("name")
        metadata.kernelspec = dict(name="python3", display_name="Python 3", language="python")  # papermill asks
        known = papermill.inspect_notebook(notebook)
    except Exception as error:  # of three libraries, for what is no JSON, no notebook or of another time
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise SettingsError(f"{path} is not a notebook that Jupyter can read ({told})") from error
    if language not in (None, "python"):
        raise SettingsError(f"{path} is in the language {language}: expected a notebook of Python")
    return known


def refresh_notebook(path: Path) -> None:
    """Execute a notebook as it stands and store the outputs in it. Raises CellFailed, and leaves the file then."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    notebook = nbformat.read(path, as_version=4)
    metadata = copy.deepcopy(notebook.metadata)  # the client adds this machine's Python version
    options = dict(resources={"metadata": {"path": str(path.parent)}}, kernel_name="python3", extra_arguments=QUIET)
    try:
        # whether two prints came together is the machine's doing, and no difference
        NotebookClient(notebook, record_timing=False, coalesce_streams=True, **options).execute()
    except CellExecutionError as error:
        raise CellFailed(f"{error.ename}: {error.evalue} (in {path.name})") from error
    except DeadKernelError as error:
        raise CellFailed(f"the kernel died, perhaps for lack of memory; see {path.name}") from error
    notebook.metadata = metadata
    for cell in notebook.cells:
        for data in (output["data"] for output in cell.get("outputs", []) if "data" in output):
            data.pop(LIVE, None)  # without the kernel that made it no model answers: its picture and words stay
            if "image/png" in data:
                data["image/png"] = _palettised(data["image/png"])
    nbformat.write(notebook, path)


def _palettised(png: str) -> str:
    """A figure in base64 with 256 colours, which is a third of its size, if that makes it smaller."""
    from PIL import Image

    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        if picture.mode != "P":
            picture.convert("RGB").quantize(256).save(small, "png", optimize=True)
    fewer = base64.b64encode(small.getvalue()).decode()
    return fewer if 0 < len(fewer) < len(png) else png


def _check(notebook: str, known: dict, parameters: dict) -> None:
    """Refuse a name that is not `known` and, where the parameters are those of an experiment, a wrong value."""
    expect_known(parameters, known, f"{notebook}: ")
    if known and set(known) <= {field.name for field in fields(Experiment)}:
        try:
            Experiment.from_parameters(_literals(known))
        except SettingsError:
            return  # such as blocks = 8: its names mean something else there
        Experiment.from_parameters({**_literals(known), **parameters})


def _literals(known: dict) -> dict:
    """The defaults that are plain values; what an expression gives, the notebook itself will see."""
    found = {}
    for name, parameter in known.items():
        try:
            found[name] = ast.literal_eval(parameter["default"])
        except (ValueError, SyntaxError):
            continue
    return found


def _execute(path: Path, executed: Path, parameters: dict) -> None:
    import papermill
    from nbclient.exceptions import DeadKernelError

    try:
        papermill.execute_notebook(
            _literally(path),
            _literally(executed),
            parameters,
            kernel_name="python3",  # that of this Python, whatever the notebook's author called his own
            language="python",
            cwd=path.parent,  # where Jupyter and the tests run it, so that relative paths mean the same
            progress_bar={"desc": path.stem, "disable": None},  # None: only on a terminal
            stdout_file=DummyTqdmFile(sys.stdout),  # whole lines above the bar, which would hide a half line
            extra_arguments=QUIET,
        )
    except papermill.PapermillExecutionError as error:
        raise CellFailed(f"{error.ename}: {error.evalue} (in cell [{error.exec_count}] of {executed})") from error
    except DeadKernelError as error:
        raise CellFailed(f"the kernel died, perhaps for lack of memory; see {executed}") from error


def _literally(path: Path) -> str:
    """For papermill, which takes braces in a path for parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def experiment_from_notebook(namespace: Mapping[str, Any], kind: type = Experiment) -> tuple[Any, Path]:
    """Turn `globals()` of a notebook, right after its parameter cell, into an Experiment and a folder for its results.

    kind: Experiment, or another dataclass of settings with a `from_parameters`.

    Every variable is taken for a parameter, modules, functions and classes aside, because papermill hands over a
    misspelt name as one more variable. A namespace that holds an experiment already is that of a live session, with the
    notebook's own variables: there only the names of settings are looked at. Nothing is written into it.

    run_dir, where the notebook has it, names the folder; empty means a fresh one under runs/.
    Raises SettingsError for an unknown name or a wrong value.
    """
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
