"""Marks that a person gives: read from by_hand.csv, merged by student and question, never lost."""

import hashlib
import math
import shutil
import time
from dataclasses import replace
from pathlib import Path

from marks import Mark
from tables import Refused, file_name, find_name, read_table, write_table

COLUMNS = ["student", "grade_id", "points", "score", "comment", "answer", "page"]
NEEDED = ("student", "grade_id", "score", "comment")


def with_hand_marks(marks: dict[str, list[Mark]], path: Path, everybody: set[str]) -> dict[str, list[Mark]]:
    """Take the scores that a person has written into `path`, and write it again with all answers there are.

    A score counts as long as the answer that it was given for is unchanged; after that it moves into the comment.
    Rows of students and questions that are not in `marks` stay as they are. What cannot be read is refused, all of it
    named, with the file left alone; a file that changes leaves a backup. Raises Refused.
    """
    old = _read(path, marks, everybody)
    rows, graded = [], {}
    for student, given in marks.items():
        graded[student] = []
        for mark in given:
            if mark.by_hand:
                row, mark = _merged(student, mark, old.pop((student, mark.grade_id), {}))
                rows.append(row)
            graded[student].append(mark)
    rows += [row for row in old.values() if row["score"] or row["comment"]]
    _write(path, rows)
    return graded


def digest(answer: str) -> str:
    """What an answer is known by: line ends and blanks do not matter, which spreadsheets change."""
    return hashlib.sha256(" ".join(answer.split()).encode()).hexdigest()[:8] + "x"  # no number, whatever comes out


def number(words: str) -> float:
    """A score as people and spreadsheets write it: 6.5 or 6,5. Raises ValueError."""
    value = float(words.strip().replace(",", "."))
    if not math.isfinite(value):
        raise ValueError
    return value


def _read(path: Path, marks: dict[str, list[Mark]], everybody: set[str]) -> dict[tuple[str, str], dict]:
    rows = read_table(path) if path.exists() else []
    if missing := [name for name in NEEDED if rows and name not in rows[0]]:
        raise Refused(f"{path} lacks the columns {', '.join(missing)}: it was not changed")
    points = {mark.grade_id: mark.points for given in marks.values() for mark in given}
    known, problems = {}, []
    for row in rows:
        student = find_name(row["student"], everybody)
        where = f"line {row['line']}: {row['student']}, {row['grade_id']}"
        row["score"], row["comment"] = row["score"].strip(), row["comment"].strip()
        filled = bool(row["score"] or row["comment"])
        if filled and student is None:
            problems.append(f"{where}: nobody has this name; did a spreadsheet change it? (save as CSV UTF-8)")
        if filled and points and row["grade_id"].strip() not in points:
            problems.append(f"{where}: no question is called so")
        row["student"] = student or row["student"]
        key = (row["student"], row["grade_id"].strip())
        if key in known and filled and known[key]["score"] and row["score"] != known[key]["score"]:
            problems.append(f"{where}: stands there twice, with different scores")
        try:
            if row["score"] and not 0 <= number(row["score"]) <= points.get(key[1], math.inf):
                problems.append(f"{where}: the score {row['score']} is not between 0 and {points[key[1]]:g}")
        except ValueError:
            problems.append(f"{where}: the score {row['score']!r} is not a number")
        if key not in known or filled:
            known[key] = row
    if problems:
        raise Refused("\n".join([f"{path} and the tables were not changed. Correct these lines:", *problems]))
    return known


def _merged(student: str, mark: Mark, old: dict) -> tuple[dict, Mark]:
    score, comment = old.get("score", ""), old.get("comment", "")
    for_answer = old.get("answer", "").strip()
    if (score or comment) and for_answer and digest(mark.message) not in (for_answer, digest(for_answer)):
        score, comment = "", f"{score} for an earlier answer, mark it again. {comment}".strip()
    page = f"marking/{file_name(student)}.html"
    values = (student, mark.grade_id, f"{mark.points:g}", score, comment, digest(mark.message), page)
    if score:
        mark = replace(mark, score=number(score), message=comment)
    return dict(zip(COLUMNS, values)), mark


def _write(path: Path, rows: list[dict]) -> None:
    before = path.read_bytes() if path.exists() else b""
    draft = path.with_name("by_hand.new.csv")
    write_table(draft, rows, COLUMNS)
    if draft.read_bytes() == before:
        draft.unlink()
        return
    if before:
        backups = path.with_name("by_hand-backups")
        backups.mkdir(exist_ok=True)
        stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{hashlib.sha256(before).hexdigest()[:6]}"
        shutil.copy2(path, backups / f"{stamp}.csv")
    draft.replace(path)
