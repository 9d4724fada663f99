"""What depends on what: a map of the book, drawn from what its pages say that they need."""

import json
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ..style import GREY, ROULETTE, styled

Needs = Mapping[str, set[str]]
"""Title of a page -> titles of the pages that it needs."""
NUMBERED = re.compile(r"(\d+)(b?)_")
NAMED = re.compile(r"chapters? (\d+b?)(?: (and|to) (\d+b?))?")


def prerequisites(notebooks: Path | str) -> dict[str, set[str]]:
    """Of every page in the folder with "You need" in its head: the chapters that this sentence names."""
    heads, titles = {}, {}
    for path in sorted(Path(notebooks).glob("*.ipynb")):
        head = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
        if need := re.search(r"\*\*You need\*\*(.*)", head):
            title = head.splitlines()[0].lstrip("# ")
            heads[title] = need[1].split(". ")[0]
            if number := NUMBERED.match(path.name):
                titles[f"{int(number[1])}{number[2]}"] = title
    return {title: {titles[n] for n in _numbers(need) if n in titles} for title, need in heads.items()}


def _numbers(need: str) -> set[str]:
    """From "chapters 1 to 3 and chapter 4b": 1, 2, 3, 4b."""
    found = set()
    for first, word, last in NAMED.findall(need):
        found |= {str(n) for n in range(int(first), int(last) + 1)} if word == "to" else {first, last} - {""}
    return found


def direct(needs: Needs) -> dict[str, set[str]]:
    """Without what follows: where a page needs B, and B needs A, the arrow from A is left out."""
    return {page: {a for a in of if not any(a in _all(needs, b) for b in of)} for page, of in needs.items()}


def _all(needs: Needs, page: str) -> set[str]:
    return needs[page].union(*(_all(needs, b) for b in needs[page]))


@styled
def map_of_the_book(needs: Needs) -> Figure:
    """Every page of the book, with arrows to the pages that need it; of no pages, a sentence that says so."""
    if not needs:
        figure, ax = plt.subplots(figsize=(6, 0.6))  # axes: without any, Jupyter shows nothing
        figure.set_label("No chapter lies in this folder: the map of the book is drawn from their heads.")
        ax.text(0.5, 0.4, figure.get_label(), ha="center", color=GREY)
        ax.set_axis_off()
        return figure
    arrows, depth = direct(needs), {}
    while len(depth) < len(needs):  # a page stands one column to the right of the last that it needs
        depth |= {p: max((depth[a] + 1 for a in of), default=0) for p, of in needs.items() if of <= depth.keys()}
    for page in [p for p, of in needs.items() if not of]:  # what needs nothing stands beside the first that needs it
        depth[page] = max(0, min((depth[p] for p, of in needs.items() if page in of), default=0) - 1)
    columns = [[p for p in needs if depth[p] == column] for column in range(max(depth.values()) + 1)]
    place: dict[str, tuple[int, float]] = {}
    for x, pages in enumerate(columns):  # as high as what they need, or arrows cross
        above = {p: sum(place[a][1] for a in arrows[p]) / max(1, len(arrows[p])) for p in pages}
        pages = sorted(pages, key=above.get, reverse=True)
        place |= {p: (x, (len(pages) - 1) / 2 - i) for i, p in enumerate(pages)}
    figure, ax = plt.subplots(figsize=(1.55 * len(columns), 0.95 * max(map(len, columns)) + 0.2))
    for page, (x, y) in place.items():
        box = dict(boxstyle="round,pad=0.35", facecolor="white", edgecolor=ROULETTE if page[0].isdigit() else GREY)
        lines = textwrap.fill(page.replace(" · ", "\u00a0· "), 15)
        ax.text(x, y, lines, ha="center", va="center", fontsize=8.5, bbox=box, zorder=3)
        for before in arrows[page]:
            look = dict(arrowstyle="-|>", color=GREY, shrinkA=38, shrinkB=40, linewidth=1.2)
            ax.annotate("", (x, y), place[before], arrowprops=look, zorder=1)
    middle = (max(map(len, columns)) - 1) / 2
    ax.set(xlim=(-0.55, len(columns) - 0.45), ylim=(-middle - 0.6, middle + 0.6))
    ax.set_axis_off()
    told = (f"{page} needs {', '.join(sorted(of))}" for page, of in arrows.items() if of)
    figure.set_label(f"What depends on what. {'; '.join(told)}.")
    return figure
