"""What the verbs of the command line do; verbs.py has their options, and `book/commands.py` the verbs that draw."""

import argparse
import os
import sys
from datetime import datetime
from pathlib import Path

from ..errors import DataError, SettingsError
from ..estimators.krylov import Krylov
from ..estimators.logdet import Exact
from ..layers.residual import EVALUATE
from ..models.bias import bias_report
from . import arguments
from .data.images import FOLDER, fetch
from .evaluation import Evaluation, dequantised, evaluate
from .files import read_json
from .home import home, make_folder
from .leaderboard import update_readme
from .ledger import publish, read_ledger
from .machine import connect
from .names import SWEEPS, TASK_NAMES
from .notebooks import notebook_parameters, refresh_notebook, run_notebook
from .package_data import CHECKOUT
from .rates import try_rates
from .released import import_released
from .reproduction import carry_out, carry_out_one, estimate, publish_entries, table
from .runs import Run, load_run
from .sweeps import Planned, planned, rates_file, sweep_names
from .tasks.registry import TASKS
from .training import fit

NOTEBOOKS = CHECKOUT / "notebooks"
EVALUATION = dict(best=None, exact=Exact(), krylov=Krylov(20), roulette=EVALUATE)
"""What --estimator names."""


def _run(options: argparse.Namespace) -> None:
    if options.help:
        known = notebook_parameters(options.notebook)
        return _help(options, f"-p NAME VALUE, for {options.notebook.name}:", arguments.table(known))
    given = arguments.parameters(options.parameters, options.file)
    own = str(given.get("dataset", ""))
    if own.startswith(FOLDER):  # from where the command was given; a notebook runs where it lies
        given["dataset"] = FOLDER + str(Path(own.removeprefix(FOLDER)).expanduser().absolute())
    run_dir = options.run_dir or _new_run_dir(options.notebook.stem)
    run_notebook(options.notebook, run_dir, given)
    _report(run_dir)


def _fit(options: argparse.Namespace) -> None:
    task = TASKS[TASK_NAMES[options.task]]
    if options.help:
        told = f"-p NAME VALUE, for --task {options.task} (None: what the profile or the task says):"
        return _help(options, told, arguments.named_settings(task.settings))
    given = arguments.parameters(options.parameters, options.file)
    if options.experiment is None:
        settings = task.settings.from_parameters(given)
    elif given or options.task != "density":
        raise SettingsError("--experiment brings all settings and the task: leave out -p, -f and --task")
    else:
        settings = arguments.object_of_settings(options.experiment)
    source = None if options.source is None else arguments.run_folder(options.source)
    run_dir = make_folder(options.run_dir or _new_run_dir("fit"))
    fit(settings, run_dir, source=source)
    _report(run_dir)


def _import(options: argparse.Namespace) -> None:
    run = import_released(options.file, options.run_dir or _new_run_dir(options.file.stem))
    told = run.facts["source"]["reported"]
    print(*sorted(run.directory.glob("[!.]*")), sep="\n")
    print(f"a model of {run.experiment.dataset}" + ("" if told is None else f"; its file says {told:.4f} bits/dim"))


def _help(options: argparse.Namespace, heading: str, lines: str) -> None:
    print(options.parser.format_help(), heading, lines, sep="\n")


def _evaluate(options: argparse.Namespace) -> None:
    run = loaded(options)
    result = evaluate(run, options.split, EVALUATION[options.estimator], options.passes, options.images)
    if not first():
        return
    if options.bias:
        print(bias_report(run, dequantised(run, options.split, 16).to(connect().device)))
    if options.publish:
        print(publish(options.run_dir))
    _report(options.run_dir)
    if not isinstance(result, Evaluation):  # the entry of another task, which has no parts
        return
    parts = f"standard error from images {result.data_error:.4f}, from noise {result.noise_error:.4f}"
    if result.passes == 1:
        parts = "one pass cannot tell the images' part of the standard error from the noise's"
    print(f"{parts}; weights of step {result.step} ({result.weights}); last step {result.last_step[0]:.4f}")


def _certify(options: argparse.Namespace) -> None:
    if first():
        print(loaded(options).flow.certify())


def loaded(options: argparse.Namespace) -> Run:
    """The run, with the settings that --experiment names in place of those in its folder, where it names some."""
    own = None if options.experiment is None else arguments.object_of_settings(options.experiment)
    return load_run(arguments.run_folder(options.run_dir), options.weights, own)


def _reproduce(options: argparse.Namespace) -> None:
    names = options.sweeps or sweep_names(options.profile)
    if not names:
        raise SettingsError(f"there are no sweeps in {SWEEPS}: run this in a checkout, or name a YAML file")
    if options.rates:
        return _try_rates(names, options.profile)
    runs = [run for name in names for run in planned(name, options.profile)]
    if options.index is not None and options.list:
        raise SettingsError("--index runs one and --list runs none: give one of the two")
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


def _try_rates(names: list[str], profile: str) -> None:
    for name in names:
        if (file := rates_file(name, profile)) is not None:
            try_rates(planned(name, profile, rated=False), file)
            print(file)


def _reproduce_one(runs: list[Planned], options: argparse.Namespace) -> None:
    if len(options.sweeps) != 1 or options.index >= len(runs):
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


def first() -> bool:
    """Whether this is the first of the processes that torchrun has started: the one that speaks."""
    return connect().rank == 0


def _fetch(options: argparse.Namespace) -> None:
    print(fetch(options.name))


def _lab(options: argparse.Namespace) -> None:
    if not NOTEBOOKS.is_dir():
        raise SettingsError(f"there are no notebooks in {NOTEBOOKS.parent}: run this in a checkout, pip install -e .")
    start = [f"--ServerApp.root_dir={NOTEBOOKS}", "--LabApp.default_url=/lab/tree/00_start_here.ipynb"]
    os.execv(sys.executable, [sys.executable, "-m", "jupyterlab", *start, *options.more])


def _test(options: argparse.Namespace) -> None:
    """What `make test` does; pytest decides the exit code."""
    root = NOTEBOOKS.parent
    if not (root / "tests").is_dir():
        raise SettingsError(f"there are no tests in {root}: run this in a checkout, pip install -e .[dev]")
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share the cores
    nbval = ["--nbval", "--nbval-sanitize-with=tests/notebooks/sanitize.cfg", "--nbval-cell-timeout=600"]
    chosen = ["-n", "2", "--dist", "loadscope", "--no-loadscope-reorder", "-m", "not slow", *nbval]
    chosen += ["tests", "notebooks"]
    os.chdir(root)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *chosen, *options.more])


def _new_run_dir(name: str) -> Path:
    return home() / "runs" / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def _report(run_dir: Path) -> None:
    """Print which files a run has left and, if it was evaluated, its score."""
    if not first():
        return
    for file in sorted(run_dir.glob("[!.]*")):
        print(file)
    if (run_dir / "metrics.json").exists():
        print(_score(run_dir / "metrics.json"))


def _score(metrics: Path) -> str:
    try:
        score = read_json(metrics)
        proof, error = _proof(score["lipschitz_bound"]), score["reconstruction_error"]
        told = f"invertible{proof}; largest reconstruction error {error:.1e}\n{score['split']}"
        events = f"({score['dataset']}, {score['n_test']} {score['split']}"
        warning = f"\n{score['warning']}" if score.get("warning") else ""
        if score.get("task", "density") != "density":
            found = ((name, score[name]) for name in TASKS[score["task"]].scores)
            return f"{told} {', '.join(f'{n} {v:.4f}' for n, v in found if v is not None)} {events}){warning}"
        return f"{told} bits/dim {score['bits_per_dim']:.4f} +- {score['standard_error']:.4f} {events} images){warning}"
    except (DataError, KeyError, TypeError, ValueError) as error:
        return f"{metrics} is not what evaluate writes ({type(error).__name__}: {error}): evaluate the run again"


def _proof(bound: float | None) -> str:
    if bound is None:
        return " by construction"
    return f": {'proven' if bound < 1 else 'NOT proven'}, Lip(g) <= {bound:.4f} in every block"


VERBS = dict(run=_run, fit=_fit, evaluate=_evaluate, certify=_certify, reproduce=_reproduce)
VERBS |= {"import": _import} | dict(report=_results, fetch=_fetch, lab=_lab, test=_test)
