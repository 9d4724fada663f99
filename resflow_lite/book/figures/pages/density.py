"""Figures of a training run at any scale."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..style import AMBER, GREEN, GREY, ROULETTE, TRUNCATED, styled

__all__ = ["progress", "estimator_bias"]


@styled
def progress(history: Sequence[Mapping[str, Any]], lines: Mapping[str, float]) -> Figure:
    """Bits/dim over steps: training batches, held-out images where they were scored, and lines to compare with.

    history: rows of training.jsonl.
    """
    figure, ax = plt.subplots(figsize=(8, 3.4))
    for style, (name, value) in zip(("--", "-.", ":", (0, (5, 1))), lines.items()):
        ax.axhline(value, color=GREY, linestyle=style, linewidth=1.4, label=f"{name}, {value:.2f}")
    steps, bits = zip(*((row["step"], row["bits_per_dim"]) for row in history))
    ax.plot(steps, bits, color=ROULETTE, label="training batches", linewidth=1.6)
    scored = [(row["step"], row["validation"]) for row in history if "validation" in row]
    if scored:
        ax.plot(*zip(*scored), color=AMBER, marker="o", markersize=4, linewidth=0.8, label="held-out, averaged weights")
    ax.set(xlabel="step", ylabel="bits/dim")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def estimator_bias(report: Any) -> Figure:
    """Size of the error of log det(I + J), block by block, on a logarithmic axis. report: a BiasReport.

    Hollow where three standard errors cover zero, and drawn at that height: no bias was found, down to this size.
    """
    looks = {"truncated": (TRUNCATED, "s"), "roulette": (ROULETTE, "o"), "krylov": (GREEN, "D")}
    blocks = np.arange(1, len(report.rows) + 1)
    figure, ax = plt.subplots(figsize=(8, 3.4))
    for name, (colour, marker) in looks.items():
        error, standard_error = np.array([row.errors[name] for row in report.rows]).T
        size = np.maximum(np.abs(error), 3 * standard_error).clip(1e-12)
        seen = np.abs(error) > 3 * standard_error
        for chosen, face in ((seen, colour), (~seen, "none")):
            ax.plot(blocks[chosen], size[chosen], marker, color=colour, markerfacecolor=face, markersize=6)
        ax.plot([], [], marker, color=colour, label=name)
    ax.plot([], [], "o", color=GREY, markerfacecolor="none", label="none found;\n3 standard errors")
    ticks = blocks if len(blocks) <= 20 else blocks[4::5]
    ax.set(yscale="log", xlabel="block", ylabel="|error|, nats", xticks=ticks)
    ax.set_title(f"error of the mean log-determinant, {report.products} products each")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
