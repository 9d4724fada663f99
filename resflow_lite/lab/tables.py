"""The tables of the results page, in Markdown; those of the README too are in leaderboard.py."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from .report import TARGETS, Entry, Setting
from .reported import REPORTED, SECOND_HAND, VARIATIONAL

TITLES = dict(mnist="MNIST", cifar10="CIFAR-10", imagenet32="ImageNet 32", imagenet64="ImageNet 64")
TITLES |= dict(celebahq256="CelebA-HQ 256", digits="digits 8x8", mnist14="MNIST 14x14")
UNITS = dict(bits_per_dim="bits/dim", nats="nats", accuracy="accuracy")


@dataclass(frozen=True, repr=False)
class Table:
    """A table that Jupyter, GitHub and `print` show alike: Markdown."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __repr__(self) -> str:
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        return "\n".join("| " + " | ".join(map(escaped, line)) + " |" for line in lines)

    def _repr_markdown_(self) -> str:
        return str(self)


def escaped(cell: str) -> str:
    """Names come out of files: none of them may end a cell or be a tag, a picture or a link."""
    for sign, escaped in (("|", "\\|"), ("<", "&lt;"), (">", "&gt;"), ("](", "]&#40;")):
        cell = cell.replace(sign, escaped)
    return " ".join(cell.split())


def paper() -> Table:
    """Block 1: bits/dim as reported, without error bars; in brackets, with variational dequantisation."""

    def cell(model: str, dataset: str) -> str:
        bound = VARIATIONAL.get(model, {}).get(dataset)
        return reported(model, dataset) + (f" ({bound:.2f})" if bound else "")

    datasets = REPORTED["Residual Flow (Chen et al. 2019)"]
    rows = [[model, *(cell(model, dataset) for dataset in datasets)] for model in REPORTED]
    return Table(["model", *(TITLES[name] for name in datasets)], rows)


def second_hand() -> Table:
    """Of block 1, what was read in a text that cites the source."""
    return Table(["reported, read at second hand", "value"], list(SECOND_HAND.items()))


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
        rows.append([setting.name, str(row.seeds), mean_words(setting), apart, *facts, minutes])
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
        return f"**{mean_words(found[dataset, name])}**" if equal else mean_words(found[dataset, name])

    rows = [[name, *(cell(dataset, name) for dataset in columns)] for name in names]
    return Table(["setting", *(TITLES.get(dataset, dataset) for dataset in columns)], rows)


def mean_words(setting: Setting) -> str:
    """Mean and standard error over seeds; of a single seed, the number alone."""
    row = setting.comparison
    return f"{row.mean:.3f} ± {row.error:.3f}" if isfinite(row.error) else f"{row.mean:.3f}"


def reported(model: str, dataset: str) -> str:
    """With as many digits as the paper gives: three for its own model."""
    digits = 3 if model == "Residual Flow (Chen et al. 2019)" else 2
    return f"{REPORTED[model][dataset]:.{digits}f}" if dataset in REPORTED[model] else "-"
