"""Which file is whose hand-in: folders matched to students, and the right notebook in each."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from tables import Student, find_name, printable

LARGEST_FILE = 2**25  # bytes
DEEPEST, MOST_FILES, MOST_NOTEBOOKS = 12, 5000, 50
MOODLE = re.compile(r".*_(\d+)_assignsubmission_(?:file|onlinetext)_?", re.DOTALL)
CANVAS = re.compile(r"[^_]*_(?:LATE_)?(\d+)_\d+_.*\.ipynb", re.DOTALL)


@dataclass(frozen=True)
class HandIn:
    """What one student handed in. Without a `file`, `problem` says why."""

    student: str
    place: str  # the folder or file below the folder of submissions
    file: Path | None
    time: float = 0.0  # seconds since 1970
    notes: tuple[str, ...] = ()
    problem: str = ""


def find_hand_ins(submissions: Path, assignment: str, grade_ids: Iterable[str], roster: list[Student]) -> list[HandIn]:
    """One hand-in a student, by student; of two folders for one student, the one with the newest notebook."""
    found: dict[str, HandIn] = {}
    for entry in sorted(os.scandir(submissions), key=lambda entry: entry.name):
        if ignored(entry.name) or not (entry.is_dir(follow_symlinks=False) or entry.name.endswith(".ipynb")):
            continue
        student = whose(entry.name, roster)
        hand_in = in_folder(Path(entry.path), assignment, grade_ids)
        hand_in = replace(hand_in, student=student, place=printable(entry.name))
        if roster and student not in {person.student for person in roster}:
            hand_in = replace(hand_in, notes=(*hand_in.notes, "not in the roster"))
        if other := found.get(student):
            hand_in, older = sorted((hand_in, other), key=lambda h: (h.file is not None, h.time), reverse=True)
            note = f"handed in twice: {hand_in.place!r} is newer and counts, {older.place!r} does not"
            hand_in = replace(hand_in, notes=(*hand_in.notes, note))
        found[student] = hand_in
    return [found[student] for student in sorted(found)]


def ignored(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def whose(place: str, roster: list[Student]) -> str:
    """The user name: the one that Moodle's or Canvas's number in the name stands for, or the name itself."""
    for pattern, column in ((MOODLE, "moodle"), (CANVAS, "canvas")):
        if match := pattern.fullmatch(place):
            for person in roster:
                if getattr(person, column) == match[1]:
                    return person.student
    name = unicodedata.normalize("NFC", printable(place.removesuffix(".ipynb")))
    return find_name(name, (person.student for person in roster)) or name


def in_folder(place: Path, assignment: str, grade_ids: Iterable[str]) -> HandIn:
    """The notebook of this assignment in a folder: the newest regular file with at least one of its questions."""
    try:
        files, notes = _notebooks(place)
        marks = [f'"{grade_id}"'.encode() for grade_id in grade_ids]
        ours = [f for f in files if any(mark in read_bytes(f) for mark in marks)]
        ours = ours or [f for f in files if f.stem.lower().startswith(assignment)]
        ours.sort(key=lambda f: (f.stat().st_mtime, f.stem == assignment, f.name), reverse=True)
        if not ours:
            seen = ", ".join(f.name for f in files[:5]) or "none"
            problem = f"no notebook of {assignment} found (notebooks: {seen})"
            return HandIn("", "", None, notes=tuple(map(printable, notes)), problem=printable(problem))
        if len(ours) > 1:
            others = ", ".join(str(f.relative_to(place)) for f in ours[1:6])
            notes.append(f"{len(ours)} notebooks: the newest, {ours[0].relative_to(place)}, is graded, not {others}")
        return HandIn("", "", ours[0], _handed_in(ours[0]), tuple(map(printable, notes)))
    except OSError as error:
        return HandIn("", "", None, problem=f"the folder cannot be read: {error.strerror}")


def _notebooks(place: Path) -> tuple[list[Path], list[str]]:
    """Regular files that end in .ipynb, no deeper than DEEPEST; links, checkpoints and the like do not count."""
    files, notes, folders, count = [], [], [(place, 0)], 0
    if not place.is_dir():
        return [place] if _regular(place) else [], notes
    while folders:
        folder, depth = folders.pop()
        for entry in os.scandir(folder):
            count += 1
            if count > MOST_FILES or len(files) >= MOST_NOTEBOOKS:
                return files, [f"more than {MOST_FILES} files or {MOST_NOTEBOOKS} notebooks: not all were looked at"]
            if ignored(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False) and depth < DEEPEST:
                folders.append((Path(entry.path), depth + 1))
            elif entry.name.lower().endswith(".ipynb") and _regular(Path(entry.path)):
                files.append(Path(entry.path))
            elif entry.is_symlink() or entry.name.lower().endswith(".ipynb"):
                notes.append(f"{entry.name}: a link, a folder or too large, so not a hand-in")
    return files, notes[:3]


def _regular(path: Path) -> bool:
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and status.st_size <= LARGEST_FILE


def read_bytes(path: Path) -> bytes:
    """The bytes of a regular file; a link that has come in its place is not followed."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        return file.read(LARGEST_FILE)


def _handed_in(path: Path) -> float:
    """When: from nbgrader's timestamp.txt beside the notebook, or the file's own time."""
    stamp = path.with_name("timestamp.txt")
    try:
        if _regular(stamp):
            return datetime.fromisoformat(stamp.read_text()[:40].removesuffix(" UTC").strip() + "+00:00").timestamp()
    except (OSError, ValueError):
        pass
    return path.stat().st_mtime
