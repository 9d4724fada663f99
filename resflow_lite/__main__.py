"""The command line, `python -m resflow_lite VERB`: what `make` does, for machines without make, and its parts."""

import argparse
import json
import math
import os
import sys
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from .errors import ResflowError, SettingsError
from .estimators.krylov import Krylov
from .lab.data.images import fetch, image_names
from .lab.evaluation import dequantised, evaluate, sample_levels
from .lab.home import home
from .lab.ledger import publish, read_ledger
from .lab.machine import Stopped, connect
from .lab.notebooks import CellFailed, refresh_notebook, run_notebook
from .lab.reproduction import RunsFailed, carry_out, carry_out_one, estimate, publish_entries, table
from .lab.runs import load_run
from .lab.sweeps import SWEEPS, Planned, planned, sweep_names
from .lab.tables import update_readme
from .lab.tasks.density import Experiment
from .lab.tasks.profiles import PROFILES
from .lab.training import fit
from .models.bias import bias_report

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


def main(arguments: list[str] | None = None) -> int:
    """Run one verb. Exit code 1 if a cell of a notebook or a run of a sweep failed, 2 if a request cannot work, 143 if
    SIGTERM stopped a training, each with one sentence."""
    options = _parser().parse_args(arguments)
    try:
        options.verb(options)
    except ResflowError as error:
        print(error, file=sys.stderr)
        return {CellFailed: 1, RunsFailed: 1, Stopped: 143}.get(type(error), 2)
    except KeyboardInterrupt:
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    run_dir = options.run_dir or _new_run_dir(options.notebook.stem)
    run_notebook(options.notebook, run_dir, _parameters(options))
    _report(run_dir)


def _fit(options: argparse.Namespace) -> None:
    experiment = Experiment.from_parameters(_parameters(options))
    run_dir = options.run_dir or _new_run_dir("fit")
    fit(experiment, run_dir)
    _report(run_dir)


def _evaluate(options: argparse.Namespace) -> None:
    estimator = Krylov(20) if options.estimator == "krylov" else None
    run = load_run(options.run_dir, options.weights)
    result = evaluate(run, options.split, estimator, options.passes, options.images)
    if not _first():
        return
    if options.bias:
        print(bias_report(run, dequantised(run, options.split, 16)))
    if options.publish:
        print(publish(options.run_dir))
    _report(options.run_dir)
    print(f"standard error from images {result.data_error:.4f}, from noise {result.noise_error:.4f}", end="")
    print(f"; weights of step {result.step} ({result.weights}); last step {result.last_step[0]:.4f}")


def _sample(options: argparse.Namespace) -> None:
    if _first():
        from .book.figures.chapter08 import image_grid  # matplotlib, which a machine that only trains can do without

        run = load_run(options.run_dir, options.weights)
        levels = sample_levels(run, options.n, options.temperature, options.seed)
        path = options.run_dir / "samples.png"
        image_grid(levels, columns=math.ceil(options.n**0.5), vmax=run.n_levels - 1).savefig(path)
        print(path)


def _certify(options: argparse.Namespace) -> None:
    if _first():
        print(load_run(options.run_dir, options.weights).flow.certify())


def _reproduce(options: argparse.Namespace) -> None:
    names = options.sweeps or sweep_names()
    if not names:
        raise SettingsError(f"there are no sweeps in {SWEEPS}: run this in a checkout, or name a YAML file")
    runs = [run for name in names for run in planned(name, options.profile)]
    if options.workers < 1:
        raise SettingsError(f"--workers {options.workers}: expected 1 or more")
    if options.index is not None:
        return _reproduce_one(runs, options)
    if options.list:
        for run in runs:
            print(f"{run.index:4} {'finished' if run.entry else '-':9} {run}")
    print(estimate(runs, options.workers, measure=not options.list), flush=True)
    if options.list:
        return
    try:
        carry_out(runs, options.workers)
    finally:
        print(table(runs))
        if options.publish:
            for path in publish_entries(runs):
                print(path)


def _reproduce_one(runs: list[Planned], options: argparse.Namespace) -> None:
    if len(options.sweeps) != 1 or not 0 <= options.index < len(runs):
        raise SettingsError(f"--index {options.index}: expected one sweep, and one of its {len(runs)} runs from 0")
    print(carry_out_one(runs[options.index]))
    if options.publish:
        print(*publish_entries(runs[options.index : options.index + 1]))


def _results(options: argparse.Namespace) -> None:
    """The page and the README of the checkout are made afresh from its own ledger; one elsewhere gets a page there."""
    page, readme = NOTEBOOKS / "reproduction" / "results.ipynb", NOTEBOOKS.parent / "README.md"
    if not page.is_file():
        raise SettingsError(f"there is no {page}: run this in a checkout, pip install -e .")
    if home().resolve() != NOTEBOOKS.parent:
        run_dir = _new_run_dir("results")
        run_notebook(page, run_dir, {})
        return _report(run_dir)
    readme.write_text(update_readme(readme.read_text(encoding="utf-8"), read_ledger()), encoding="utf-8")
    refresh_notebook(page)
    print(readme, page, sep="\n")


def _first() -> bool:
    """Whether this is the first of the processes that torchrun has started: the one that speaks."""
    return connect().rank == 0


def _fetch(options: argparse.Namespace) -> None:
    print(fetch(options.name))


def _lab(options: argparse.Namespace) -> None:
    if not NOTEBOOKS.is_dir():
        raise SettingsError(f"there are no notebooks in {NOTEBOOKS.parent}: run this in a checkout, pip install -e .")
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", str(NOTEBOOKS), *options.more])


def _explore(options: argparse.Namespace) -> None:
    page = NOTEBOOKS / "explorers" / "explorers.ipynb"
    if not page.is_file():
        raise SettingsError(f"there is no {page}: run this in a checkout, pip install -e .[dev]")
    if find_spec("voila") is None:
        raise SettingsError("Voila, which shows the page, is not installed: pip install -c constraints.txt -e .[dev]")
    os.execv(sys.executable, [sys.executable, "-m", "voila", str(page), *options.more])


def _test(options: argparse.Namespace) -> None:
    """What `make test` does; pytest decides the exit code."""
    root = NOTEBOOKS.parent
    if not (root / "tests").is_dir():
        raise SettingsError(f"there are no tests in {root}: run this in a checkout, pip install -e .[dev]")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share the cores
    nbval = ["--nbval", "--nbval-sanitize-with=tests/notebooks/sanitize.cfg", "--nbval-cell-timeout=600"]
    chosen = ["-n", "2", "--dist", "loadscope", "-m", "not slow", *nbval, "tests", "notebooks"]
    os.chdir(root)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *chosen, *options.more])


def _parameters(options: argparse.Namespace) -> dict:
    return {name: _value(text) for name, text in options.parameters}


def _value(text: str) -> bool | int | float | str | None:
    """The value of a parameter given as text, by papermill's rules for its own -p."""
    words = {"True": True, "False": False, "None": None}
    if text in words:
        return words[text]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _new_run_dir(name: str) -> Path:
    return home() / "runs" / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def _report(run_dir: Path) -> None:
    """Print which files a run has left and, if it was evaluated, its score."""
    if not _first():
        return
    for file in sorted(run_dir.glob("[!.]*")):
        print(file)
    metrics = run_dir / "metrics.json"
    if metrics.exists():
        score = json.loads(metrics.read_text())
        proof, error = _proof(score["lipschitz_bound"]), score["reconstruction_error"]
        print(f"invertible{proof}; largest reconstruction error {error:.1e}")
        print(
            f"{score['split']} bits/dim {score['bits_per_dim']:.4f} +- {score['standard_error']:.4f}"
            f" ({score['dataset']}, {score['n_test']} {score['split']} images)"
        )


def _proof(bound: float | None) -> str:
    if bound is None:
        return " by construction"
    return f": {'proven' if bound < 1 else 'NOT proven'}, Lip(g) <= {bound:.4f} in every block"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m resflow_lite", description="Residual flows: run a notebook, train, evaluate."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    running = verbs.add_parser("run", help="execute a notebook with parameters and write it as a web page too")
    running.add_argument("--notebook", type=Path, default=NOTEBOOKS / "08_image_flows.ipynb", help="default: chapter 8")
    _add_settings(running, _run)

    fitting = verbs.add_parser("fit", help="train a model without a notebook, or go on training it; under torchrun too")
    _add_settings(fitting, _fit)

    evaluating = verbs.add_parser("evaluate", help="measure the bits/dim of a trained model; under torchrun too")
    _add_run(evaluating, _evaluate)
    evaluating.add_argument("--split", default="test", help="train, validation or test (default)")
    evaluating.add_argument("--estimator", choices=("roulette", "krylov"), default="roulette")
    evaluating.add_argument("--passes", type=int, help="over the images (default: the experiment's evaluations)")
    evaluating.add_argument("--images", type=int, metavar="N", help="only the first N")
    evaluating.add_argument("--bias", action="store_true", help="also compare the estimators, block by block")
    evaluating.add_argument("--publish", action="store_true", help="also add the entry to data/results/")

    sampling = verbs.add_parser("sample", help="draw images from a trained model")
    _add_run(sampling, _sample)
    sampling.add_argument("-n", type=int, default=64, help="how many (default: 64)")
    sampling.add_argument("--temperature", type=float, default=1.0)
    sampling.add_argument("--seed", type=int, default=0)

    certifying = verbs.add_parser("certify", help="proven Lipschitz bounds of every block of a trained model")
    _add_run(certifying, _certify)

    reproducing = verbs.add_parser("reproduce", help="train and evaluate the runs of sweeps that are not finished")
    sweeps = f"{', '.join(sweep_names())}, or a YAML file (default: all of these)"
    reproducing.add_argument("sweeps", nargs="*", metavar="SWEEP", help=sweeps)
    reproducing.add_argument("--profile", choices=PROFILES, default="laptop", help="default: laptop")
    reproducing.add_argument("--workers", type=int, default=2, help="runs at a time (default: 2)")
    reproducing.add_argument("--index", type=int, metavar="K", help="only run K, as in a job array of a cluster")
    reproducing.add_argument("--list", action="store_true", help="only show the runs, and their cost as far as known")
    reproducing.add_argument("--publish", action="store_true", help="also add the entries to data/results/SWEEP")
    reproducing.set_defaults(verb=_reproduce)

    reporting = verbs.add_parser("report", help="make the page of results and the README's table from data/results/")
    reporting.set_defaults(verb=_results)

    fetching = verbs.add_parser("fetch", help="download image data, or say which files to put where")
    fetching.add_argument("name", metavar="NAME", help=", ".join(image_names))
    fetching.set_defaults(verb=_fetch)

    _add_programs(verbs)
    return parser


def _add_programs(verbs) -> None:
    """The verbs that start another program, with its own options after --."""
    explorers = "open the explorers of chapters 2, 3, 4, 6 and 7 as a page without code"
    for name, function, told, program, option in (
        ("lab", _lab, "open JupyterLab on the notebooks", "JupyterLab", "--no-browser"),
        ("explore", _explore, explorers, "Voila", "--no-browser"),
        ("test", _test, "run the tests, and every notebook against its stored outputs", "pytest", "-x"),
    ):
        verb = verbs.add_parser(name, help=told)
        example = f"options of {program}, as in {name} -- {option}"
        verb.add_argument("more", nargs="*", metavar="-- OPTION", help=example)
        verb.set_defaults(verb=function)


def _add_run(verb: argparse.ArgumentParser, function) -> None:
    verb.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the folder that run or fit has written")
    verb.add_argument("--weights", choices=("best", "last"), help="default: those that validation chose, if it did")
    verb.set_defaults(verb=function)


def _add_settings(verb: argparse.ArgumentParser, function) -> None:
    verb.add_argument(
        "-p",
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="set a parameter; may be repeated",
    )
    verb.add_argument("--run-dir", type=Path, help="where to write (default: a new folder under runs/)")
    verb.set_defaults(verb=function)


if __name__ == "__main__":
    sys.exit(main())
