"""What a training step keeps in memory, by arithmetic. js/memory_against_terms.js has the same numbers."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..figures.style import AMBER, GREEN, GREY, PINK, styled

WAYS = {"series, store": (AMBER, "--"), "neumann, store": (AMBER, "-")}
WAYS |= {"neumann, backward-in-forward": (PINK, "-"), "neumann, recompute": (GREEN, "-")}


def peaks(n_terms: float, blocks: int, hidden: float, vector: float) -> dict[str, float]:
    """Bytes at the peak of a training step, by (gradient, memory). hidden, vector: bytes of a hidden layer and of x.

    The graph of a branch g with two hidden layers keeps 3 hidden tensors, that of a product with its Jacobian 4
    (counted in chapter 5, section 3). The backpropagated series has one such product for each term, the Neumann
    gradient one at all. Backward-in-forward drops it block by block; recompute keeps three vectors of a block, and one
    block at work.
    """
    kept = (blocks * (3 + 4 * n_terms), blocks * (3 + 4), blocks * 3 + 4)
    return dict(zip(WAYS, (*(n * hidden for n in kept), blocks * 3 * vector + (3 + 4) * hidden)))


@styled
def memory_against_terms(n_terms: int = 5, card: float = 24e9) -> Figure:
    """Peak memory against the number of terms: 16 blocks, 512 channels of 32 x 32, 64 images."""
    hidden, vector = 64 * 512 * 32 * 32 * 4, 64 * 3 * 32 * 32 * 4
    figure, ax = plt.subplots(figsize=(8, 3.8))
    terms = np.arange(1, 31)
    found = [peaks(n, 16, hidden, vector) for n in terms]
    for way, (colour, line) in WAYS.items():
        gigabytes = [each[way] / 1e9 for each in found]
        ax.semilogy(terms, gigabytes, line, color=colour, label=f"{way}: {gigabytes[n_terms - 1]:.3g} GB at {n_terms}")
    ax.axhline(card / 1e9, color=GREY, linestyle=":", label=f"a card of {card / 1e9:g} GB")
    ax.set(xlabel="terms of the series", ylabel="peak of a training step, GB")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
