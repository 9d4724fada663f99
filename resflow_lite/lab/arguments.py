"""What the words of the command line mean: each becomes a checked value, or one sentence."""

import importlib
import os
import sys
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from ..errors import DataError, SettingsError
from .runs import CHECKPOINT, FILES, LAST
from .tasks.task import TaskSettings
from .values import read_value, read_yaml

PLAIN = {int: "int", float: "float", bool: "bool", str: "str", tuple: "list", list: "list"}


def run_folder(folder: Path) -> Path:
    """The folder, if it holds weights. Raises DataError where it does not."""
    try:
        if any((folder / name).is_file() for name in FILES.values()):
            return folder
        told = f"holds no {LAST} and no {CHECKPOINT}" if folder.is_dir() else "is no folder"
    except OSError as error:  # a name that is too long, a folder that may not be read
        told = f"cannot be looked at ({error.strerror})"
    raise DataError(f"{folder} {told}: expected the folder of a run, as fit writes it")


def parameters(pairs: Iterable[tuple[str, str]], file: Path | None = None) -> dict[str, Any]:
    """Settings by name: those of a YAML file, and over them the NAME VALUE pairs of the command line.

    Raises SettingsError for a name that is given twice and for a file that does not hold settings by name.
    """
    content = {} if file is None else read_yaml(file)
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise SettingsError(f"{file}: expected settings by name, such as steps: 100, a line for each")
    given: dict[str, Any] = {}
    for name, text in pairs:
        if name in given:
            raise SettingsError(f"-p {name} is given twice: {given[name]!r} and {text!r}")
        given[name] = read_value(text)
    return content | given


def object_of_settings(text: str) -> TaskSettings:
    """The settings called `name` in a Python module, "module:name", which may lie in the current folder.

    Raises SettingsError where there is no such module or name, where its import fails, and where it is something else.
    """
    module, colon, name = text.partition(":")
    if not (module and colon and name):
        raise SettingsError(f"--experiment {text!r}: expected MODULE:NAME, such as mine:experiment for mine.py")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever the module's own lines raise
        raise SettingsError(f"--experiment {text}: {type(error).__name__}: {error}") from error
    if not isinstance(found, TaskSettings):
        kind = f"the class {found.__name__}" if isinstance(found, type) else f"of type {type(found).__name__}"
        raise SettingsError(f"--experiment {text} is {kind}: expected an object such as rf.Experiment(...)")
    return found


def named_settings(kind: type[TaskSettings]) -> str:
    """A line for each setting of a task: name, type, default, what it is."""
    rows = []
    for field in fields(kind):
        default = "" if field.default is MISSING else str(field.default)
        rows.append((field.name, _type_of(field.type), default, field.metadata.get("help", "")))
    return table(rows)


def table(rows: list[tuple[str, str, str, str]]) -> str:
    """Names, types, defaults and explanations below each other."""
    rows = [("NAME", "type", "default", ""), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  " + "  ".join([*map(str.ljust, row, widths), row[3]]).rstrip() for row in rows)


def _type_of(annotation: Any) -> str:
    """What may be typed for a setting: of several types, those that text can become."""
    union = get_origin(annotation) in (Union, UnionType)
    found = [get_origin(kind) or kind for kind in (get_args(annotation) if union else (annotation,))]
    return " or ".join(dict.fromkeys(PLAIN[kind] for kind in found if kind in PLAIN)) or "object"
