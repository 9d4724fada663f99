"""Hand-outs, the instructor pack and grading: `python notebooks/assignments/course --help`."""

import argparse
import json
import sys
from pathlib import Path

import build
import export
import gradescope
from grade import Mark, grade


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="course", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (("handout", "write what students get"), ("pack", "write what only instructors may see")):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("--term", default="demo", help="seeds the constants: a new word for every term")
        command.add_argument("--out", type=Path, default=Path("runs/course"))
        if verb == "handout":
            command.add_argument("--roster", type=Path, help="CSV with a column 'student': one hand-out for each")
    command = verbs.add_parser("grade", help="grade a folder that holds one folder for each student")
    command.add_argument("assignment", choices=build.ASSIGNMENTS)
    command.add_argument("submissions", type=Path)
    command.add_argument("--pack", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--roster", type=Path)
    command = verbs.add_parser("gradescope", help="grade the one submission of a Gradescope container")
    command.add_argument("assignment", choices=build.ASSIGNMENTS)
    command.add_argument("root", type=Path)
    options = parser.parse_args(arguments)
    {"handout": write_handouts, "pack": write_pack, "grade": grade_folder, "gradescope": grade_one}[options.verb](
        options
    )


def write_handouts(options: argparse.Namespace) -> None:
    students = [person.student for person in export.read_roster(options.roster)] if options.roster else []
    build.build_handouts(options.out / options.term / "handout", options.term, students)
    print(f"hand-outs for {options.term}: {options.out / options.term / 'handout'}")


def write_pack(options: argparse.Namespace) -> None:
    folder = options.out / options.term / "instructor-pack"
    build.build_pack(folder, options.term)
    for name in build.ASSIGNMENTS:
        gradescope.build_zip(folder, name)
    print(f"keep this folder out of public places: {folder}")


def grade_folder(options: argparse.Namespace) -> None:
    roster = export.read_roster(options.roster) if options.roster else []
    options.out.mkdir(parents=True, exist_ok=True)
    marks = {}
    for folder in sorted(path for path in options.submissions.iterdir() if path.is_dir()):
        student = whose(folder.name, roster)
        marks[student] = grade_submission(options.pack, options.assignment, folder, student)
        waiting = sum(mark.by_hand for mark in marks[student])
        print(f"{student}: {export.total(marks[student]):g} points, {waiting} answers wait for a person", flush=True)
    marks = export.with_hand_marks(marks, options.out / "by_hand.csv")
    export.write_all(options.out, options.assignment, marks, roster)
    print(f"grades and feedback: {options.out}")


def grade_submission(pack: Path, assignment: str, folder: Path, student: str) -> list[Mark]:
    source = build.read(pack / "source" / assignment / f"{assignment}.ipynb")
    found = sorted(folder.rglob(f"{assignment}.ipynb")) or sorted(folder.rglob("*.ipynb"))
    try:
        submission = build.read(found[0])
        return grade(source, submission, (pack / "term.txt").read_text(), student)
    except (IndexError, ValueError, KeyError, AttributeError) as error:
        problem = f"no notebook that can be read ({type(error).__name__})"
        return [Mark(m.grade_id, m.points, 0.0, problem) for c in source.cells if (m := build.meta(c)).grade]


def whose(folder: str, roster: list[export.Student]) -> str:
    """The user name: the folder's, or the one of the participant whom Moodle names in it."""
    for person in roster:
        if person.moodle and f"_{person.moodle}_assignsubmission" in folder:
            return person.student
    return folder


def grade_one(options: argparse.Namespace) -> None:
    student = gradescope.submitter(options.root / "submission_metadata.json")
    marks = grade_submission(options.root / "source", options.assignment, options.root / "submission", student)
    results = options.root / "results" / "results.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps(export.gradescope_results(marks), indent=1))


if __name__ == "__main__":
    sys.exit(main())
