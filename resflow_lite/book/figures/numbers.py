"""Figures with numbers that the text can refer to: Figure 7.3 is the third that chapter 7 shows.

    number_figures("7")     # once, in the cell of imports

Only figures of the book are counted (`styled` labels them), not those that a reader draws. A cell that runs again keeps
its numbers; run from the top, a chapter has those of its text.
"""

from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure


@dataclass
class _Numbers:
    chapter: str = ""
    known: dict[tuple[str, int], int] = field(default_factory=dict)
    """(cell, place in it) -> number"""
    run: int = -1
    place: int = 0

    def next(self, run: int, cell: str) -> str:
        self.place = self.place + 1 if run == self.run else 1
        self.run = run
        return f"{self.chapter}.{self.known.setdefault((cell, self.place), len(self.known) + 1)}"


_numbers = _Numbers()


def number_figures(chapter: str) -> None:
    """From now on this kernel's figures are Figure chapter.1, chapter.2, ... in the order in which they are shown.

    chapter: its number, as in "4" or "4b".
    """
    global _numbers
    _numbers = _Numbers(chapter)


def write_number(figure: Figure, shell: Any) -> str:
    """Writes "Figure 7.3" under the figure and returns "Figure 7.3. "; "" where figures have no numbers."""
    if not _numbers.chapter or not figure.get_label():
        return ""
    name = f"Figure {_numbers.next(shell.execution_count, shell.user_ns['In'][-1])}"
    figure.text(0.005, -0.01, name, va="top", fontsize=9, color="#767676")
    return f"{name}. "
