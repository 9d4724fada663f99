"""What leaves the grader: a table of grades, a report, feedback pages, uploads for Moodle and Canvas."""

import html
import math
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from marking import document
from marks import Mark
from tables import Student, file_name, write_table

DAY = 86400.0
MOODLE = ["Identifier", "Full name", "Grade", "Last modified (grade)", "Feedback comments"]


@dataclass(frozen=True)
class Result:
    """One student's row. `marks` is empty where nothing was handed in: the grade is then left to a person."""

    person: Student
    marks: list[Mark]
    notes: list[str]
    late_days: int = 0
    on_roster: bool = True

    @property
    def total(self) -> float | str:
        return round(sum(mark.score or 0.0 for mark in self.marks), 2) if self.marks else ""


def late_days(handed_in: float, due: float | None) -> int:
    """Begun days after the due time."""
    return max(0, math.ceil((handed_in - due) / DAY)) if due else 0


def write_all(folder: Path, assignment: str, results: list[Result], problems: list[str]) -> None:
    """grades.csv, report.txt, feedback/, moodle.csv, moodle-feedback.zip and canvas.csv, below `folder`."""
    (folder / "feedback").mkdir(exist_ok=True)
    ids = [mark.grade_id for result in results for mark in result.marks]
    columns = ["student", "total", "waiting for a person", "late days", *dict.fromkeys(ids), "notes"]
    write_table(folder / "grades.csv", map(grades_row, results), columns)
    for result in results:
        page = folder / "feedback" / f"{file_name(result.person.student)}.html"
        page.write_text(feedback(assignment, result), encoding="utf-8")
    lines = problems + [f"{result.person.student}: {note}" for result in results for note in result.notes]
    (folder / "report.txt").write_text("\n".join(lines or ["nothing odd"]) + "\n", encoding="utf-8")
    write_moodle(folder, [result for result in results if result.person.moodle])
    write_canvas(folder / "canvas.csv", assignment, [result for result in results if result.on_roster])


def grades_row(result: Result) -> dict:
    row = {mark.grade_id: "" if mark.by_hand else mark.score for mark in result.marks}
    row |= {"student": result.person.student, "total": result.total, "late days": result.late_days}
    return row | {"waiting for a person": sum(m.by_hand for m in result.marks), "notes": "; ".join(result.notes)}


def feedback(assignment: str, result: Result) -> str:
    """One page for one student."""
    lines = [f"<p>{html.escape(note)}</p>" for note in result.notes]
    if result.late_days:
        days = "day" if result.late_days == 1 else "days"
        lines.append(f"<p>{result.late_days} {days} late</p>")
    messages = {mark.message for mark in result.marks if not mark.by_hand}
    if len(messages) == 1 and messages.issubset(result.notes):  # nothing could be graded: said once is enough
        return document(f"{assignment}: {result.person.student}", "".join(["<p>0 points</p>", *lines]))
    lines.append("<table><tr><th>question</th><th>points</th><th>comment</th></tr>")
    for mark in result.marks:
        score = "to come" if mark.by_hand else f"{mark.score:g}"
        words = "marked by a person" if mark.by_hand else mark.message or "all tests passed"
        cells = (mark.grade_id, f"{score} / {mark.points:g}", html.escape(words))
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    possible = sum(mark.points for mark in result.marks)
    points = f"{result.total:g} of {possible:g} points" if result.marks else "no hand-in"
    return document(f"{assignment}: {result.person.student}", f"<p>{points}</p>{''.join(lines)}</table>")


def write_moodle(folder: Path, results: list[Result]) -> None:
    """The grading worksheet as Moodle's importer reads it (in an English-language course), and feedback files."""
    now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    words = {True: "see the feedback file", False: "no hand-in"}
    rows = [(f"Participant {r.person.moodle}", r.person.name, r.total, now, words[bool(r.marks)]) for r in results]
    write_table(folder / "moodle.csv", [dict(zip(MOODLE, row)) for row in rows], MOODLE)
    with zipfile.ZipFile(folder / "moodle-feedback.zip", "w") as bundle:
        for result in results:  # the second word of the folder's name tells Moodle whose feedback it is
            name = file_name(result.person.name.replace("_", " "))
            page = folder / "feedback" / f"{file_name(result.person.student)}.html"
            bundle.write(page, f"{name}_{result.person.moodle}_assignsubmission_file_/feedback.html")


def write_canvas(path: Path, assignment: str, results: list[Result]) -> None:
    columns = ["Student", "ID", "SIS Login ID", "Section", assignment]
    possible = max((sum(mark.points for mark in result.marks) for result in results), default=0)
    rows = [("    Points Possible", "", "", "", possible)]
    rows += [(r.person.name or r.person.student, r.person.canvas, r.person.student, "", r.total) for r in results]
    write_table(path, [dict(zip(columns, row)) for row in rows], columns)
