"""Figures of the ledger: bits/dim against images seen, and the settings of a sweep side by side."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ....lab.report import Setting
from ....lab.tables import TITLES
from ..panels import rows
from ..style import AMBER, GREEN, GREY, PINK, ROULETTE, SKY, styled

COLOURS = (ROULETTE, AMBER, GREEN, PINK, SKY)


@styled
def bits_against_images(
    found: Mapping[tuple[str, str, str], Sequence[Setting]], reported: Mapping[str, Mapping[str, float]]
) -> Figure:
    """A panel for each data set: a point for each setting, with two standard errors over seeds, and dashed lines at
    what others report.

    found: (sweep, data set, score) -> settings, of which those with bits/dim are drawn.  reported: as REPORTED.
    """
    panels: dict[str, dict[str, Sequence[Setting]]] = {}
    for (sweep, dataset, score), settings in found.items():
        if score == "bits_per_dim":
            panels.setdefault(dataset, {})[sweep or "single runs"] = settings
    colours = dict(zip(dict.fromkeys(sweep for sweeps in panels.values() for sweep in sweeps), COLOURS * 9))
    size = (1.5 + 4 * max(1, len(panels)), 4.0)
    figure, axes = plt.subplots(1, max(1, len(panels)), figsize=size, squeeze=False)
    for ax, (dataset, sweeps) in zip(axes.flat, panels.items()):
        for sweep, settings in sweeps.items():
            points = [(s.mean("images_seen"), s.comparison.mean, _bar(s)) for s in settings]
            look = dict(fmt="o", markerfacecolor="none", capsize=3, linewidth=1.4)
            ax.errorbar(*zip(*points), color=colours[sweep], label=sweep, **look)
        lines = sorted((bits[dataset], model) for model, bits in reported.items() if dataset in bits)
        for i, (bits, _) in enumerate(lines):
            label = f"reported: {lines[0][0]:.2f} to {lines[-1][0]:.2f}" if i == 0 else None
            ax.axhline(bits, color=GREY, linestyle="--", linewidth=1, label=label)
        ax.set(xscale="log", xlabel="training images seen", title=TITLES.get(dataset, dataset))
        ax.margins(x=0.3)
        ax.legend()
    axes[0, 0].set_ylabel("test bits/dim")
    return figure


@styled
def side_by_side(settings: Sequence[Setting], score: str, label: str) -> Figure:
    """The settings of a sweep from best to worst: every seed a small dot, the mean a large one, with two standard
    errors where there are two seeds. score: of the entries.  label: of the axis, with the unit."""
    figure, ax = plt.subplots(figsize=(8, 1.2 + 0.34 * len(settings)))
    for y, setting in enumerate(settings):
        values = [entry.facts[score] for entry in setting.entries]
        ax.plot(values, [y] * len(values), "o", color=GREY, markersize=4, alpha=0.6)
        ax.errorbar(setting.comparison.mean, y, xerr=_bar(setting), fmt="o", color=ROULETTE, markersize=7, capsize=4)
    rows(ax, [setting.name for setting in settings], xlabel=label)
    return figure


def _bar(setting: Setting) -> float:
    """Two standard errors over seeds; nothing for a single seed."""
    error = setting.comparison.error
    return 0.0 if math.isnan(error) else 2 * error
