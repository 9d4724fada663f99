"""Where results and data go."""

import os
from pathlib import Path

from ..errors import SettingsError
from .files import FULL, NotWritten
from .package_data import CHECKOUT


def home() -> Path:
    """Where runs/ and data/cache/ go: RESFLOW_HOME, else the checkout that the package runs from, else this folder."""
    if "RESFLOW_HOME" in os.environ:
        return Path(os.environ["RESFLOW_HOME"])
    return CHECKOUT if (CHECKOUT / "notebooks").is_dir() else Path.cwd()


def make_folder(path: Path | str) -> Path:
    """The folder, made with those above it if need be. Raises SettingsError where that cannot be, NotWritten on a full
    disk."""
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError, TypeError) as error:  # a file in its place, a disk that is read-only, no path at all
        kind = NotWritten if getattr(error, "errno", None) in FULL else SettingsError
        raise kind(f"{path!r} cannot be a folder for results ({error}): choose another") from error
    return Path(path)
