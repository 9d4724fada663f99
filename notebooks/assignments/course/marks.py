"""What a question earned."""

from dataclasses import dataclass

from build import meta
from nbformat import NotebookNode


@dataclass(frozen=True)
class Mark:
    """One graded question. score None: to be marked by hand, `message` is then the student's answer."""

    grade_id: str
    points: float
    score: float | None
    message: str = ""
    visible: str = ""  # the part of the message that comes from the tests in the hand-out

    @property
    def by_hand(self) -> bool:
        return self.score is None


def no_marks(source: NotebookNode, why: str) -> list[Mark]:
    """Zero for every question of `source`."""
    return [Mark(m.grade_id, m.points, 0.0, why, why) for c in source.cells if (m := meta(c)).grade]
