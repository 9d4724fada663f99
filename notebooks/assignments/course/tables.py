"""Tables as this program and spreadsheets write them, and the roster of the course."""

import csv
import io
import os
import re
import sys
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FORMULA = ("=", "+", "-", "@", "\t", "\r")
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))


class Refused(ValueError):
    """What a person wrote or asked for cannot be used, or not on this machine; says where, and what to do."""


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows with stripped names of columns: UTF-8, UTF-16 or Windows-1252, with commas, semicolons or tabs."""
    lines = _text(path).splitlines(keepends=True)
    if lines and lines[0].lower().startswith("sep="):
        del lines[0]
    if not lines:
        return []
    separator = max(",;\t", key=lines[0].count)
    reader = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=separator)
    columns, rows = [name.strip() for name in next(reader)], []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):  # a comma more would shift scores without a word
            raise Refused(
                f"{path}, line {reader.line_num}: more cells than columns; a comma inside a cell needs quotes around it"
            )
        cells = [*map(plain, cells), *[""] * (len(columns) - len(cells))]
        rows.append(dict(zip(columns, cells)) | {"line": str(reader.line_num)})
    return rows


def _text(path: Path) -> str:
    raw = path.read_bytes()
    codes = ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252")
    for code in codes:
        try:
            return raw.decode(code)
        except UnicodeDecodeError:
            continue
    raise Refused(f"{path} is in an unknown encoding: save it as 'CSV UTF-8'")


def write_table(path: Path, rows: Iterable[dict], columns: list[str]) -> None:
    """All or nothing: an interruption leaves the old file."""
    draft = path.with_name(f".{path.name}.draft")
    with open(draft, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore")
        table.writeheader()
        table.writerows({key: harmless(value) for key, value in row.items()} for row in rows)
    os.replace(draft, path)


def harmless(value: object) -> object:
    """Text that a spreadsheet would run as a formula gets an apostrophe: it may be a student's."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def plain(value: str) -> str:
    """What `harmless` was given."""
    return value[1:] if value.startswith("'") and value[1:].startswith(FORMULA) else value


def printable(text: object) -> str:
    """Text that every file and page can hold: no lone surrogates, no control characters."""
    text = str(text).encode("utf-8", "replace").decode()
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def fold(name: str) -> str:
    """A name as it is compared: composed (NFC), without regard to case and outer blanks."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).strip().casefold())


def file_name(name: str) -> str:
    """A name of a file for a student: whatever the roster holds, it stays inside its folder."""
    return re.sub(r"[/\\\0]|^\.", "_", name)


def find_name(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that is meant; a spreadsheet may have taken leading zeros away."""
    names = list(names)
    for form in (fold, lambda n: fold(n).lstrip("0") if n.strip().isdecimal() else fold(n)):
        found = [known for known in names if form(known) == form(name)]
        if len(found) == 1:
            return found[0]
    return None


@dataclass(frozen=True)
class Student:
    """One line of the roster: the user name that seeds the variant, and what Moodle and Canvas call this person."""

    student: str
    name: str = ""
    moodle: str = ""
    canvas: str = ""


def read_roster(path: Path) -> list[Student]:
    rows = read_table(path)
    if not rows or "student" not in rows[0]:
        raise Refused(f"{path} needs a column 'student'; name, moodle and canvas are optional")
    people: dict[str, Student] = {}
    for row in rows:
        words = {key: row.get(key, "").strip() for key in ("student", "name", "moodle", "canvas")}
        person = Student(**words | {"student": unicodedata.normalize("NFC", words["student"])})
        if not person.student or fold(person.student) in people:
            raise Refused(
                f"{path}, line {row['line']}: {person.student or 'no student'!r} stands there twice, or empty"
            )
        people[fold(person.student)] = person
    for column in ("moodle", "canvas"):
        given = [number for person in people.values() if (number := getattr(person, column))]
        if doubles := {number for number in given if given.count(number) > 1}:
            raise Refused(f"{path}: the {column} numbers {sorted(doubles)} belong to two students each")
    return list(people.values())
