"""The tables of the results page and of the README, in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from ..errors import DataError
from ..models.systems import systems
from .report import TARGETS, Entry, Setting, outcome, scaled_down
from .reported import REPORTED, SECOND_HAND, VARIATIONAL

__all__ = [
    "TITLES",
    "UNITS",
    "Table",
    "commands",
    "matrix",
    "paper",
    "protocol",
    "readme",
    "second_hand",
    "seeds",
    "update_readme",
]

TITLES = dict(mnist="MNIST", cifar10="CIFAR-10", imagenet32="ImageNet 32", imagenet64="ImageNet 64")
TITLES |= dict(celebahq256="CelebA-HQ 256", digits="digits 8x8")
BUDGETS = dict(systems=", equal time", systems_steps=", equal steps")
UNITS = dict(bits_per_dim="bits/dim", nats="nats", accuracy="accuracy")

BEGIN, END = "<!-- results: begin; `make report` writes this from data/results/ -->", "<!-- results: end -->"


@dataclass(frozen=True, repr=False)
class Table:
    """A table that Jupyter, GitHub and `print` show alike: Markdown."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __repr__(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join("| " + " | ".join(map(_escaped, line)) + " |" for line in lines)

    def _repr_markdown_(self) -> str:
        return str(self)


def _escaped(cell: str) -> str:
    """Names come out of files: none of them may end a cell or be a tag, a picture or a link."""
    for sign, escaped in (("|", "\\|"), ("<", "&lt;"), (">", "&gt;"), ("](", "]&#40;")):
        cell = cell.replace(sign, escaped)
    return " ".join(cell.split())


def paper() -> Table:
    """Block 1: bits/dim as reported, without error bars; in brackets, with variational dequantisation."""

    def cell(model: str, dataset: str) -> str:
        bound = VARIATIONAL.get(model, {}).get(dataset)
        return _reported(model, dataset) + (f" ({bound:.2f})" if bound else "")

    datasets = REPORTED["Residual Flow (Chen et al. 2019)"]
    rows = [[model, *(cell(model, dataset) for dataset in datasets)] for model in REPORTED]
    return Table(["model", *(TITLES[name] for name in datasets)], rows)


def second_hand() -> Table:
    """Of block 1, what was read in a text that cites the source."""
    return Table(["reported, read at second hand", "value"], list(SECOND_HAND.items()))


def protocol(entries: Sequence[Entry]) -> Table:
    """Block 2: each target with the paper's number, ours, the status, and where it was not run the GPU hours that
    measured steps come to, as the paper draws and with stratified draws."""
    rows = []
    for target in TARGETS:
        runs = target.runs(entries)
        status, mean, half = outcome(target.reported, runs)
        ours = f"{mean:.4f}, difference {mean - target.reported:+.4f} ± {half:.4f}" if runs else "-"
        hours = "-" if runs else "about {:.0f}; {:.0f} stratified".format(*target.hours)
        words = target.model, TITLES[target.dataset], _reported(target.model, target.dataset), ours
        rows.append([*words, str(len(runs)), f"**{status}**", hours])
    return Table(["model", "data set", "paper", "ours", "runs", "status", "GPU hours, estimated"], rows)


def commands(entries: Sequence[Entry]) -> str:
    """What to type for each target that was not run, ready for a shell."""
    missing = [target for target in TARGETS if not target.runs(entries)]
    return "\n\n".join("\n".join([f"# {t.model}, {TITLES[t.dataset]}", *t.commands]) for t in missing)


def seeds(settings: Sequence[Setting], score: str) -> Table:
    """Block 3: the settings of a sweep on one data set, best first, with their distance from the best, seed by seed."""
    rows = []
    for setting in settings:
        row = setting.comparison
        apart = "-" if row.difference is None or row.seeds < 2 else f"{row.difference:+.4f} ± {row.half_width:.4f}"
        facts = [f"{setting.mean('parameters'):,.0f}", f"{setting.mean('images_seen'):,.0f}"]
        minutes = f"{setting.mean('wall_seconds') / 60:.1f}"
        rows.append([setting.name, str(row.seeds), _mean_and_error(setting), apart, *facts, minutes])
    against = "from the best, paired (95 %)"
    return Table(["setting", "seeds", UNITS[score], against, "parameters", "images seen", "minutes"], rows)


def matrix(columns: Mapping[str, Sequence[Setting]]) -> Table:
    """Block 3: one sweep, a column a data set. Bold: the best, and what its seeds do not tell from the best."""
    names = dict.fromkeys(setting.name for settings in columns.values() for setting in settings)
    found = {(dataset, s.name): s for dataset, settings in columns.items() for s in settings}

    def cell(dataset: str, name: str) -> str:
        if (dataset, name) not in found:
            return "-"
        row = found[dataset, name].comparison
        equal = row.difference is None or abs(row.difference) <= row.half_width
        return f"**{_mean_and_error(found[dataset, name])}**" if equal else _mean_and_error(found[dataset, name])

    rows = [[name, *(cell(dataset, name) for dataset in columns)] for name in names]
    return Table(["setting", *(TITLES.get(dataset, dataset) for dataset in columns)], rows)


def _mean_and_error(setting: Setting) -> str:
    """Mean and standard error over seeds; of a single seed, the number alone."""
    row = setting.comparison
    return f"{row.mean:.3f} ± {row.error:.3f}" if isfinite(row.error) else f"{row.mean:.3f}"


def readme(entries: Sequence[Entry]) -> Table:
    """For each system: the paper's numbers, what was run at full scale here, and the laptop's numbers, by sweep."""
    laptop = {
        TITLES.get(dataset, dataset) + BUDGETS.get(sweep, ""): {s.system: s for s in reversed(settings)}
        for (sweep, dataset, score), settings in scaled_down(entries, "laptop").items()
        if score == "bits_per_dim" and any(s.system for s in settings)
    }
    rows = []
    for name, system in systems.items():
        model = f"{system.label} ({system.source})"
        reported = [_reported(model, dataset) for dataset in ("mnist", "cifar10")]
        small = [_small(found.get(name)) for found in laptop.values()]
        rows.append([model, *reported, _full_scale(model, entries), *small])
    small = [f"here, scaled down: {title}" for title in laptop]
    return Table(["bits/dim", "paper: MNIST", "paper: CIFAR-10", "here, full scale", *small], rows)


def _full_scale(model: str, entries: Sequence[Entry]) -> str:
    """What was run of a model's targets; "-" for a model that this package has no full-scale recipe of."""
    if all(target.model != model for target in TARGETS):
        return "-"
    words = []
    for target in TARGETS:
        if target.model == model and (runs := target.runs(entries)):
            status, mean, _ = outcome(target.reported, runs)
            words.append(f"{TITLES[target.dataset]} {mean:.3f} ({status})")
    return "; ".join(words) or "not run"


def _small(setting: Setting | None) -> str:
    return "not run" if setting is None else f"{_mean_and_error(setting)} ({setting.comparison.seeds} seeds)"


def update_readme(text: str, entries: Iterable[Entry]) -> str:
    """The README's text with its table made afresh. Raises DataError where the marks around the table are missing."""
    before, found, rest = text.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not (found and closed):
        raise DataError(f"README.md: expected the lines {BEGIN!r} and {END!r} around the table of results")
    return f"{before}{BEGIN}\n{readme(list(entries))}\n{END}{after}"


def _reported(model: str, dataset: str) -> str:
    """With as many digits as the paper gives: three for its own model."""
    digits = 3 if model == "Residual Flow (Chen et al. 2019)" else 2
    return f"{REPORTED[model][dataset]:.{digits}f}" if dataset in REPORTED[model] else "-"
