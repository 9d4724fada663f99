"""What leaves the grader: a table of grades, feedback pages, uploads for Moodle and Canvas, results for Gradescope."""

import csv
import html
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from grade import Mark


@dataclass(frozen=True)
class Student:
    """One line of the roster: the user name that seeds the variant, and what Moodle and Canvas call this person."""

    student: str
    name: str = ""
    moodle: str = ""
    canvas: str = ""


def read_table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Iterable[dict], columns: list[str]) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows({key: harmless(value) for key, value in row.items()} for row in rows)


def harmless(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets an apostrophe: it may be a student's."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def read_roster(path: Path) -> list[Student]:
    rows = read_table(path)
    if not rows or "student" not in rows[0]:
        raise ValueError(f"{path} needs a column 'student'; name, moodle and canvas are optional")
    return [
        Student(**{key: row[key].strip() for key in ("student", "name", "moodle", "canvas") if row.get(key)})
        for row in rows
    ]


BY_HAND = ["student", "grade_id", "points", "score", "comment", "answer"]


def with_hand_marks(marks: dict[str, list[Mark]], path: Path) -> dict[str, list[Mark]]:
    """Take the scores that a person has written into `path`, and write it again with all answers there are.

    A score counts as long as the answer that it was given for is unchanged.
    """
    known = {(row["student"], row["grade_id"]): row for row in read_table(path)} if path.exists() else {}
    rows, graded = [], {}
    for student, list_of_marks in marks.items():
        graded[student] = []
        for mark in list_of_marks:
            if mark.by_hand:
                old = known.get((student, mark.grade_id), {})
                same = old.get("answer") == harmless(mark.message)
                score, comment = (old.get("score", ""), old.get("comment", "")) if same else ("", "")
                rows.append(dict(zip(BY_HAND, (student, mark.grade_id, mark.points, score, comment, mark.message))))
                if score.strip():
                    points = float(score)
                    if not 0 <= points <= mark.points:
                        raise ValueError(
                            f"{path}: {student}, {mark.grade_id}: {score} is not between 0 and {mark.points}"
                        )
                    mark = replace(mark, score=points, message=comment)
            graded[student].append(mark)
    write_table(path, rows, BY_HAND)
    return graded


def total(marks: list[Mark]) -> float:
    return sum(mark.score or 0.0 for mark in marks)


def feedback(assignment: str, student: str, marks: list[Mark]) -> str:
    """One page for one student."""
    lines = []
    for mark in marks:
        score = "to come" if mark.by_hand else f"{mark.score:g}"
        text = "graded by a person" if mark.by_hand else mark.message or "all tests passed"
        lines.append(f"<tr><td>{mark.grade_id}</td><td>{score} / {mark.points:g}</td><td>{html.escape(text)}</td></tr>")
    possible = sum(mark.points for mark in marks)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(assignment)}</title>'
        "<style>body{font-family:sans-serif;max-width:50em;margin:2em auto}td{padding:.3em .8em}</style>"
        f"<h1>{html.escape(assignment)}: {html.escape(student)}</h1><p>{total(marks):g} of {possible:g} points</p>"
        f"<table><tr><th>question</th><th>points</th><th>comment</th></tr>{''.join(lines)}</table></html>"
    )


def write_all(folder: Path, assignment: str, marks: dict[str, list[Mark]], roster: list[Student]) -> None:
    """grades.csv, feedback/, moodle.csv, moodle-feedback.zip and canvas.csv, below `folder`."""
    people = {person.student: person for person in roster}
    people = {student: people.get(student, Student(student)) for student in marks}
    ids = [mark.grade_id for mark in next(iter(marks.values()), [])]
    rows = []
    for student, given in marks.items():
        page = folder / "feedback" / f"{student}.html"
        page.parent.mkdir(exist_ok=True)
        page.write_text(feedback(assignment, student, given), encoding="utf-8")
        scores = {mark.grade_id: "" if mark.by_hand else mark.score for mark in given}
        waiting = sum(mark.by_hand for mark in given)
        rows.append({"student": student, "total": total(given), "waiting for a person": waiting} | scores)
    write_table(folder / "grades.csv", rows, ["student", "total", "waiting for a person", *ids])

    columns = ["Identifier", "Full name", "Grade", "Feedback comments"]
    moodle = [
        (f"Participant {p.moodle}", p.name, total(marks[s]), "see the feedback file")
        for s, p in people.items()
        if p.moodle
    ]
    write_table(folder / "moodle.csv", [dict(zip(columns, row)) for row in moodle], columns)
    with zipfile.ZipFile(folder / "moodle-feedback.zip", "w") as bundle:
        for student, person in people.items():
            if person.moodle:  # the name of the folder tells Moodle whose feedback it is
                name = f"{person.name}_{person.moodle}_assignsubmission_file_/feedback.html"
                bundle.write(folder / "feedback" / f"{student}.html", name)

    columns = ["Student", "ID", "SIS Login ID", "Section", assignment]
    possible = sum(mark.points for mark in next(iter(marks.values()), []))
    canvas = [("    Points Possible", "", "", "", possible)]
    canvas += [(p.name or s, p.canvas, s, "", total(marks[s])) for s, p in people.items()]
    write_table(folder / "canvas.csv", [dict(zip(columns, row)) for row in canvas], columns)


def gradescope_results(marks: list[Mark]) -> dict:
    """What Gradescope reads from results.json; questions graded by hand get their points in its own rubric."""
    tests = [
        {"name": m.grade_id, "score": m.score, "max_score": m.points, "output": m.message or "all tests passed"}
        for m in marks
        if not m.by_hand
    ]
    waiting = [m.grade_id for m in marks if m.by_hand]
    return {"tests": tests, "output": f"graded by a person: {', '.join(waiting) or 'nothing'}", "visibility": "visible"}
