"""Hand-outs, the instructor pack and grading: `python notebooks/assignments/course --help`."""

import argparse
import json
import os
import sys
from datetime import datetime
from pathlib import Path

import build
import gradescope
from tables import Refused, Student, read_roster

# What grading needs is imported where it is used: hand-outs and packs can be built without Linux.


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="course", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (("handout", "write what students get"), ("pack", "write what only instructors may see")):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("--term", default="demo", help="seeds the constants: a new word for every term")
        command.add_argument("--out", type=Path, default=Path("runs/course"))
        command.add_argument("--partial", action="store_true", help="points for each test, not for all or none")
        if verb == "handout":
            command.add_argument("--roster", type=Path, help="CSV with a column 'student': one hand-out for each")
    command = verbs.add_parser("grade", help="grade a folder that holds one folder for each student")
    command.add_argument("assignment", choices=build.ASSIGNMENTS)
    command.add_argument("submissions", type=Path)
    command.add_argument("--pack", type=Path, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--roster", type=Path)
    command.add_argument("--jobs", type=int, default=1, help="hand-ins at the same time: at most one a core")
    command.add_argument("--seconds", type=float, default=20.0, help="CPU time a question")
    command.add_argument("--due", type=datetime.fromisoformat, help="for the column of late days: 2027-03-01T23:59")
    command.add_argument("--trust-students", action="store_true", help="run their code as yourself, without a wall")
    command = verbs.add_parser("gradescope", help="grade the one submission of a Gradescope container")
    command.add_argument("assignment", choices=build.ASSIGNMENTS)
    command.add_argument("root", type=Path)
    options = parser.parse_args(arguments)
    verbs = {"handout": write_handouts, "pack": write_pack, "grade": grade_folder, "gradescope": grade_one}
    try:
        verbs[options.verb](options)
    except Refused as error:
        sys.exit(str(error))


def write_handouts(options: argparse.Namespace) -> None:
    students = [person.student for person in read_roster(options.roster)] if options.roster else []
    build.build_handouts(options.out / options.term / "handout", options.term, students, partial=options.partial)
    print(f"hand-outs for {options.term}: {options.out / options.term / 'handout'}")


def write_pack(options: argparse.Namespace) -> None:
    folder = options.out / options.term / "instructor-pack"
    build.build_pack(folder, options.term, partial=options.partial)
    for name in build.ASSIGNMENTS:
        gradescope.build_zip(folder, name)
    print(f"keep this folder out of public places: {folder}")


def grade_folder(options: argparse.Namespace) -> None:
    import by_hand
    import export
    import run
    import sandbox
    from find import find_hand_ins

    roster = read_roster(options.roster) if options.roster else []
    if not options.submissions.is_dir():
        raise Refused(f"{options.submissions} is not a folder: name the one that holds a folder for each student")
    wall = sandbox.find_wall() or ("none" if options.trust_students else "")
    if not wall:
        raise Refused(sandbox.NO_WALL)
    limits = sandbox.Limits(seconds=options.seconds)
    course = run.Course(options.pack, options.assignment, wall, limits)
    options.out.mkdir(parents=True, exist_ok=True)
    hand_ins = find_hand_ins(options.submissions, options.assignment, course.grade_ids, roster)
    print(f"{len(hand_ins)} hand-ins, confined by: {wall}", flush=True)
    verdicts = {v.student: v for v in run.grade_all(course, hand_ins, options.out, options.jobs)}
    everybody = {v.student for v in run.read_verdicts(options.out / "verdicts.jsonl")} | {p.student for p in roster}
    marks = {student: verdicts[student].marks for student in sorted(verdicts)}
    marks = by_hand.with_hand_marks(marks, options.out / "by_hand.csv", everybody)

    people = {person.student: person for person in roster}
    due = options.due.timestamp() if options.due else None
    results = [
        export.Result(
            people.get(student, Student(student)),
            marks[student],
            verdicts[student].notes,
            export.late_days(verdicts[student].time, due),
            on_roster=student in people or not roster,
        )
        for student in marks
    ]
    missing = [person for person in roster if person.student not in marks]
    results += [export.Result(person, [], ["no hand-in"]) for person in missing]
    problems = [f"{v.place}: graded as {v.student}" for v in verdicts.values() if v.place != v.student]
    export.write_all(options.out, options.assignment, results, problems)
    odd = sum(bool(result.notes) for result in results)
    print(f"grades and feedback: {options.out}; {odd} students with something to look at: {options.out / 'report.txt'}")


def grade_one(options: argparse.Namespace) -> None:
    import run
    import sandbox
    from find import HandIn, in_folder

    target = options.root / "results" / "results.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(gradescope.failed(gradescope.FAILED)))
    student = gradescope.submitter(options.root / "submission_metadata.json")
    wall = sandbox.find_wall() or ("nobody" if os.geteuid() == 0 else "")
    if not wall:
        raise Refused(sandbox.NO_WALL)
    course = run.Course(options.root / "source", options.assignment, wall)
    found = in_folder(options.root / "submission", options.assignment, course.grade_ids)
    verdict = course.verdict(HandIn(student, "submission", found.file, found.time, found.notes, found.problem))
    target.write_text(json.dumps(gradescope.results(verdict.marks, verdict.notes), indent=1))


if __name__ == "__main__":
    sys.exit(main())
