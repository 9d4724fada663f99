"""The verbs of the command line that draw, and with them all others."""

import argparse
import math
import os
import sys
from importlib.util import find_spec
from io import BytesIO

from ..errors import SettingsError
from ..lab import commands
from ..lab.commands import NOTEBOOKS, first, loaded
from ..lab.evaluation import sample_levels
from ..lab.files import write_whole

# What draws is imported where it is used: matplotlib, which a machine that only trains can do without.


def _sample(options: argparse.Namespace) -> None:
    if first():
        from .figures.panels import image_grid

        run = loaded(options)
        levels = sample_levels(run, options.n, options.temperature, options.seed)
        path, picture = options.run_dir / "samples.png", BytesIO()
        image_grid(levels, columns=math.ceil(options.n**0.5), vmax=run.n_levels - 1).savefig(picture)
        write_whole(path, picture.getvalue())
        print(path)


def _explore(options: argparse.Namespace) -> None:
    if options.pages is not None:
        from .explorers.pages import write_pages

        return print(*write_pages(options.pages), sep="\n")
    page = NOTEBOOKS / "explorers" / "explorers.ipynb"
    if not page.is_file():
        raise SettingsError(f"there is no {page}: run this in a checkout, pip install -e .[dev]")
    if find_spec("voila") is None:
        raise SettingsError("Voila, which shows the page, is not installed: pip install -c constraints.txt -e .[dev]")
    os.execv(sys.executable, [sys.executable, "-m", "voila", str(page), *options.more])


VERBS = commands.VERBS | dict(sample=_sample, explore=_explore)
