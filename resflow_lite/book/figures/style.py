"""One look for all figures: colours that the colour-blind can tell apart (Okabe and Ito 2008), readable at 80 dpi."""

import re
from collections.abc import Callable
from functools import wraps

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .words import show_with_words

# an estimator has the same colour in every chapter
EXACT, TRUNCATED, ROULETTE = "#222222", "#D55E00", "#0072B2"
GREEN, AMBER, SKY, PINK = "#009E73", "#E69F00", "#56B4E9", "#CC79A7"
GREY, LIGHT = "#767676", "#DDDDDD"

STYLE = {
    "figure.dpi": 80,
    "figure.constrained_layout.use": True,
    "font.size": 11,
    "axes.titlesize": 11.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 2,
    "image.cmap": "gray_r",
    "image.interpolation": "nearest",
    "text.usetex": False,  # labels are plain text, whatever the reader's own setting
}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw in this style, and leave the settings of the reader's own figures alone. The figure is labelled with what
    the function's docstring says first."""
    about = " ".join(re.split(r"(?<!\.)\.\s", draw.__doc__ or "")[0].split()).removesuffix(".")

    @wraps(draw)
    def in_style(*args, **kwargs) -> Figure:
        with plt.rc_context(STYLE):
            figure = draw(*args, **kwargs)
        if about and not figure.get_label():
            figure.set_label(f"{about}.")
        return figure

    return in_style


show_with_words()
