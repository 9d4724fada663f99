"""Assignments: hand-outs hold no answers, solutions earn everything, typical errors nothing, and untrusted code harms
nobody. One cycle (build, submit, grade, feedback, export) for each assignment; the tests read what it left."""

import ast
import csv
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

ASSIGNMENTS = Path(__file__).parents[3] / "notebooks" / "assignments"
NAMES = sorted(path.stem for path in ASSIGNMENTS.glob("*.ipynb"))
TERM = "test"
BLANK, SOLUTION, WRONG = "blank", "solution", ("first-error", "second-error")


@pytest.fixture(scope="module", params=NAMES)
def cycle(request, course, kit, tmp_path_factory):
    """Where one whole cycle took place: handout/, instructor-pack/, submissions/, grades/."""
    name, out = request.param, tmp_path_factory.mktemp("course")
    course.main(["handout", "--term", TERM, "--out", str(out)])
    course.main(["pack", "--term", TERM, "--out", str(out)])
    out = out / TERM
    handout = nbformat.read(out / "handout" / f"{name}.ipynb", 4)
    solved = nbformat.read(out / "instructor-pack" / "source" / name / f"{name}.ipynb", 4)
    kit.submit(out / "submissions", BLANK, name, handout)
    kit.submit(out / "submissions", SOLUTION, name, solved)
    for i, student in enumerate(WRONG):
        wrong = nbformat.from_dict(solved)
        for grade_id, codes in kit.errors(name).items():
            kit.by_id(wrong)[f"{grade_id}-answer"].source = codes[i]
        kit.submit(out / "submissions", student, name, wrong)
    roster = out / "roster.csv"
    roster.write_text(f"student,name,moodle,canvas\n{SOLUTION},Ada Lovelace,4711,12\n{BLANK},Bo Blank,4712,13\n")
    arguments = ["grade", name, str(out / "submissions"), "--pack", str(out / "instructor-pack")]
    arguments += ["--out", str(out / "grades"), "--roster", str(roster)]
    course.main(arguments)
    return name, out, arguments


@pytest.fixture
def grades(kit, cycle):
    """{student: row of grades.csv}, read anew at each call."""
    return lambda: {row["student"]: row for row in kit.table(cycle[1] / "grades" / "grades.csv")}


def test_an_assignment_has_100_points_of_which_about_30_are_for_words(cycle, kit):
    name, _, _ = cycle
    cells = [cell for cell in nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4).cells if kit.kind(cell)["grade"]]
    assert sum(kit.kind(cell)["points"] for cell in cells) == 100
    assert 27 <= sum(kit.kind(cell)["points"] for cell in cells if cell.cell_type == "markdown") <= 33


@pytest.mark.parametrize("name", NAMES)
def test_an_assignment_is_stored_as_it_ran_and_its_lines_fit_a_screen(name):
    code = [cell for cell in nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not any(output.output_type == "error" for cell in code for output in cell.outputs)
    assert max(len(line) for cell in code for line in cell.source.splitlines()) <= 88


def test_solutions_earn_every_point_and_the_blank_hand_out_none(cycle, kit, grades):
    name, out, _ = cycle
    for grade_id, cell in kit.by_id(nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4)).items():
        if kit.kind(cell)["grade"]:
            by_hand = cell.cell_type == "markdown"
            assert grades()[SOLUTION][grade_id] == ("" if by_hand else str(float(kit.kind(cell)["points"]))), grade_id
            assert grades()[BLANK][grade_id] == "0.0", grade_id


@pytest.mark.parametrize("which", [0, 1])
def test_a_typical_error_scores_zero_for_its_question_and_costs_no_other(cycle, which, kit, grades):
    name, out, _ = cycle
    wrong, right = grades()[WRONG[which]], grades()[SOLUTION]
    automatic = {grade_id for grade_id, score in right.items() if grade_id.startswith("q") and score}
    assert set(kit.errors(name)) == automatic
    assert all(len(codes) >= 2 for codes in kit.errors(name).values())
    assert {grade_id for grade_id in automatic if wrong[grade_id] != "0.0"} == set()
    page = (out / "grades" / "feedback" / f"{WRONG[which]}.html").read_text()
    assert "all tests passed" not in page and "the tests cannot use" not in page and "Error" not in page


def test_the_hand_out_holds_no_answer_no_hidden_test_and_no_output(cycle, kit):
    name, out, _ = cycle
    source = nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4)
    handout = nbformat.read(out / "handout" / f"{name}.ipynb", 4)
    text = json.dumps(handout)
    assert not re.search(r"SOLUTION|HIDDEN|SECRET|[Rr]ubric|Model answer", text)
    shown = {line.strip() for cell in handout.cells for line in cell.source.splitlines()}
    regions = r"BEGIN (SOLUTION|HIDDEN TESTS).*?\n(.*?)\n[^\n]*END \1"
    secret = {
        line.strip()
        for cell in source.cells
        for _, region in re.findall(regions, cell.source, re.DOTALL)
        for line in region.splitlines()
        if len(line.strip()) > 25
    }
    assert len(secret) > 40 and not secret & shown
    assert not any(cell.get("outputs") for cell in handout.cells)
    tests = [cell for cell in handout.cells if kit.kind(cell)["grade"] and cell.cell_type == "code"]
    assert all(not cell.metadata.editable and "assert" in cell.source for cell in tests)


def test_every_visible_test_has_a_message(cycle, kit):
    name, out, _ = cycle
    for cell in nbformat.read(out / "handout" / f"{name}.ipynb", 4).cells:
        if kit.kind(cell)["grade"] and cell.cell_type == "code":
            asserts = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Assert)]
            assert asserts and all(node.msg is not None for node in asserts), kit.kind(cell)["grade_id"]


def test_visible_tests_catch_the_errors_that_the_guide_says(cycle, kit):
    name, out, _ = cycle
    handout = kit.by_id(nbformat.read(out / "handout" / f"{name}.ipynb", 4))
    names = {}
    for grade_id, cell in kit.by_id(nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4)).items():
        if (
            cell.cell_type == "code"
            and not kit.kind(cell)["grade"]
            and "not-graded" not in cell.metadata.get("tags", [])
        ):
            exec(cell.source, names)
        for description, code in kit.described_errors(name).get(grade_id.removesuffix("-answer"), []):
            if kit.kind(cell)["grade"]:
                wrong = dict(names)
                exec(code, wrong)
                try:
                    exec(handout[grade_id].source, wrong)
                    passes = True
                except AssertionError:
                    passes = False
                assert passes == ("Visible tests pass" in description), f"{grade_id}: {description}"


def test_each_student_has_other_constants(cycle, kit):
    name, _, _ = cycle
    source = kit.by_id(nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4))

    def constants(term, student):
        names = {"term": term, "student": student}
        exec(source["numbers"].source, names)
        return {key: repr(names[key]) for key in names if key in source["numbers"].source.split("mine")[0]} | {
            key: repr(value) for key, value in names.items() if isinstance(value, (int, float)) and key[0] != "_"
        }

    assert constants("2027", "ada") == constants("2027", "ada")
    different = {json.dumps(constants(*who)) for who in (("2027", "ada"), ("2027", "bob"), ("2028", "ada"))}
    assert len(different) == 3


def test_scores_given_by_hand_are_kept_until_the_answer_changes(cycle, course, kit, grades):
    name, out, arguments = cycle
    by_hand = out / "grades" / "by_hand.csv"
    rows = kit.table(by_hand)
    assert {row["student"] for row in rows} == {SOLUTION, *WRONG}
    for row in rows:
        if row["student"] == SOLUTION:
            row |= {"score": row["points"], "comment": "=well done"}
    with open(by_hand, "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    again = out / "again"
    for student in (SOLUTION, BLANK):
        (again / student).mkdir(parents=True, exist_ok=True)
        notebook = out / "submissions" / student / f"{name}.ipynb"
        (again / student / notebook.name).write_bytes(notebook.read_bytes())
    course.main([str(again) if argument == str(out / "submissions") else argument for argument in arguments])
    assert float(grades()[SOLUTION]["total"]) == 100 and float(grades()[BLANK]["total"]) == 0

    (moodle, _) = sorted(kit.table(out / "grades" / "moodle.csv"), key=lambda row: row["Identifier"])
    assert (moodle["Identifier"], moodle["Grade"]) == ("Participant 4711", "100.0")
    with zipfile.ZipFile(out / "grades" / "moodle-feedback.zip") as bundle:
        page = bundle.read("Ada Lovelace_4711_assignsubmission_file_/feedback.html").decode()
    assert "100 of 100 points" in page and "well done" in page
    possible, *people = kit.table(out / "grades" / "canvas.csv")
    assert possible[name] == "100"
    assert {(row["Student"], row["ID"], row[name]) for row in people} == {
        ("Ada Lovelace", "12", "100.0"),
        ("Bo Blank", "13", "0.0"),
    }


def test_nbgrader_makes_the_same_hand_out_from_the_pack(course, tmp_path, kit):
    course.main(["handout", "--term", TERM, "--out", str(tmp_path)])
    course.main(["pack", "--term", TERM, "--out", str(tmp_path)])
    pack = tmp_path / TERM / "instructor-pack"
    command = [sys.executable, "-m", "nbgrader", "generate_assignment", "estimators", "--create"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=pack, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    released = [path.name for path in (pack / "release" / "estimators").iterdir()]
    assert released == ["estimators.ipynb"]  # nbgrader releases whatever lies beside the source
    assert "Model answer" in (pack / "rubrics" / "estimators.md").read_text()
    made = nbformat.read(pack / "release" / "estimators" / "estimators.ipynb", 4)
    ours = nbformat.read(tmp_path / TERM / "handout" / "estimators.ipynb", 4)
    assert [cell.source for cell in made.cells] == [cell.source for cell in ours.cells]
    assert [kit.kind(cell).get("grade_id") for cell in made.cells] == [
        kit.kind(cell).get("grade_id") for cell in ours.cells
    ]


@pytest.mark.slow
def test_ten_submissions_take_at_most_ten_minutes(pack, solved, tmp_path, kit):
    for name in NAMES:
        for i in range(10):
            kit.submit(tmp_path / name, f"student{i}", name, solved(name))
        out = tmp_path / "grades" / name
        done = kit.command("grade", name, tmp_path / name, "--pack", pack, "--out", out, "--jobs", 2)
        assert done.returncode == 0, done.stderr
        seconds = sum(json.loads(line)["seconds"] for line in (out / "verdicts.jsonl").read_text().splitlines())
        print(f"{name}: {seconds:.0f} s of computing")
        assert 10 < seconds < 2 * 600  # two cores, ten minutes: computing time, so that a busy machine does not fail it
        assert [row["total"] for row in kit.table(out / "grades.csv")] == ["70.0"] * 10
