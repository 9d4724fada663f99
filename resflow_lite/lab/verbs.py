"""The verbs of the command line, and the options of each. It loads no torch: `--help` answers at once."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from .. import expect
from ..errors import SettingsError
from .names import PROFILES, SWEEPS, TASK_NAMES, image_names
from .package_data import CHECKOUT
from .values import read_value

CHAPTER = CHECKOUT / "notebooks" / "08_image_flows.ipynb"
"""What `run` executes where no notebook is named."""

EXPERIMENT = "settings made in Python, where they hold classes or a function of your own: mine:experiment of mine.py"
FROM = "start from the weights of this run, with other settings"


class Parser(argparse.ArgumentParser):
    """Tells what is wrong in one sentence, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; {self.prog} --help tells more")


def reader(check: expect.Check) -> Callable[[str], Any]:
    """The type of an argument of which this is expected."""

    def read(text: str) -> Any:
        value = None if text[:1] in ("[", "{") else read_value(text)
        if not check.fits(value):
            raise argparse.ArgumentTypeError(f"{text!r}: expected {check.words}")
        return value

    return read


def whole(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    return reader(expect.integer(least, most))


def path(text: str) -> Path:
    """The type of an argument that names a file or a folder, there or not."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a path")
    return Path(text)


WARMTH = replace(expect.number("[0, 10]"), words="a number from 0 to 10")


def parser() -> argparse.ArgumentParser:
    """The parser; what it reads has the VERB as `verb`."""
    words = Parser(prog="python -m resflow_lite", description="Residual flows: run a notebook, train, evaluate.")
    words.add_argument("--version", action="version", version=f"resflow-lite {_version()}")
    verbs = words.add_subparsers(required=True, metavar="VERB", dest="verb")

    running = verbs.add_parser(
        "run", help="execute a notebook with parameters and write it as a web page too", add_help=False
    )
    running.add_argument("--notebook", type=path, default=CHAPTER, help="default: chapter 8")
    _add_settings(running)

    fitting = verbs.add_parser(
        "fit", help="train a model without a notebook, or go on training it; under torchrun too", add_help=False
    )
    _add_settings(fitting)
    fitting.add_argument("--task", choices=TASK_NAMES, default="density", help="images (density, hybrid) or plane")
    fitting.add_argument("--from", dest="source", type=path, metavar="RUN_DIR", help=FROM)
    fitting.add_argument("--experiment", metavar="MODULE:NAME", help=EXPERIMENT)

    evaluating = verbs.add_parser("evaluate", help="measure the bits/dim of a trained model; under torchrun too")
    _add_run(evaluating)
    evaluating.add_argument("--split", default="test", help="train, validation or test (default)")
    told = "of log-determinants; roulette: the paper's, after 20 exact terms (default: the best that can be paid for)"
    evaluating.add_argument("--estimator", choices=("best", "exact", "krylov", "roulette"), default="best", help=told)
    evaluating.add_argument(
        "--passes", type=whole(1, 10_000), help="over the images (default: the experiment's evaluations)"
    )
    evaluating.add_argument("--images", type=whole(2), metavar="N", help="only the first N, 2 or more")
    evaluating.add_argument("--bias", action="store_true", help="also compare the estimators, block by block")
    evaluating.add_argument("--publish", action="store_true", help="also add the entry to data/results/")

    sampling = verbs.add_parser("sample", help="draw images from a trained model")
    _add_run(sampling)
    sampling.add_argument("-n", type=whole(1, 10_000), default=64, help="how many (default: 64)")
    sampling.add_argument("--temperature", type=reader(WARMTH), default=1.0, help="of the noise (default: 1)")
    sampling.add_argument("--seed", type=whole(0), default=0, help="of the noise (default: 0)")

    certifying = verbs.add_parser("certify", help="proven Lipschitz bounds of every block of a trained model")
    _add_run(certifying)

    _add_reproducing(verbs)
    verbs.add_parser("report", help="make the page of results and the README's tables from data/results/")

    fetching = verbs.add_parser("fetch", help="download image data, or say which files to put where")
    fetching.add_argument("name", metavar="NAME", help=", ".join(image_names))

    importing = verbs.add_parser("import", help="make a run of a model that the paper's authors have released")
    importing.add_argument("file", type=path, metavar="FILE", help="as downloaded; nothing of it is run")
    importing.add_argument("--run-dir", type=path, help="where to write (default: a new folder under runs/)")

    _add_programs(verbs)
    return words


def _version() -> str:
    try:
        return version("resflow-lite")
    except PackageNotFoundError:  # a checkout that nobody has installed
        return "of this checkout"


def _add_reproducing(verbs) -> None:
    reproducing = verbs.add_parser("reproduce", help="train and evaluate the runs of sweeps that are not finished")
    sweeps = f"{', '.join(sorted(path.stem for path in SWEEPS.glob('*.yaml')))}, or a YAML file (default: all of these)"
    reproducing.add_argument("sweeps", nargs="*", metavar="SWEEP", help=sweeps)
    reproducing.add_argument("--profile", choices=PROFILES, default="laptop", help="default: laptop")
    reproducing.add_argument("--workers", type=whole(1, 1000), default=2, help="runs at a time (default: 2)")
    reproducing.add_argument("--index", type=whole(0), metavar="K", help="only run K, as in a job array of a cluster")
    reproducing.add_argument("--list", action="store_true", help="only show the runs, and their cost as far as known")
    rates = "only try learning rates on validation data, for the sweeps whose profile names a file of them"
    reproducing.add_argument("--rates", action="store_true", help=rates)
    reproducing.add_argument("--publish", action="store_true", help="also add the entries to data/results/SWEEP")


def _add_programs(verbs) -> None:
    """The verbs that start another program, with its own options after --."""
    explorers = "open the explorers of chapters 1 to 7 as a page without code"
    for name, told, program, option in (
        ("lab", "open JupyterLab on the notebooks", "JupyterLab", "--no-browser"),
        ("explore", explorers, "Voila", "--no-browser"),
        ("test", "run the tests, and every notebook against its stored outputs", "pytest", "-x"),
    ):
        verb = verbs.add_parser(name, help=told)
        example = f"options of {program}, as in {name} -- {option}"
        verb.add_argument("more", nargs="*", metavar="-- OPTION", help=example)
        if name == "explore":
            pages = "write them there instead, as pages that need neither Python nor network"
            verb.add_argument("--pages", type=path, metavar="FOLDER", help=pages)


def _add_run(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("run_dir", type=path, metavar="RUN_DIR", help="the folder that run or fit has written")
    verb.add_argument("--weights", choices=("best", "last"), help="default: those that validation chose, if it did")
    verb.add_argument("--experiment", metavar="MODULE:NAME", help=EXPERIMENT)


def _add_settings(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("-h", "--help", action="store_true", help="show this and the parameters")
    verb.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter: 3, 1e-3, true, null, [2, 2] or text; may be repeated; --help lists them below",
    )
    verb.add_argument("-f", dest="file", type=path, metavar="FILE", help="parameters from a YAML file, before -p")
    verb.add_argument("--run-dir", type=path, help="where to write (default: a new folder under runs/)")
    verb.set_defaults(parser=verb)
