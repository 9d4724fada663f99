"""The figure of a run's estimators: how large their errors are, block by block."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..style import GREEN, GREY, ROULETTE, TRUNCATED, styled


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
