"""Where results and data go."""

import os
from pathlib import Path

__all__ = ["home"]


def home() -> Path:
    """Where runs/ and data/cache/ go: RESFLOW_HOME, else the checkout that the package runs from, else this folder."""
    if "RESFLOW_HOME" in os.environ:
        return Path(os.environ["RESFLOW_HOME"])
    source = Path(__file__).resolve().parents[2]
    return source if (source / "notebooks").is_dir() else Path.cwd()
