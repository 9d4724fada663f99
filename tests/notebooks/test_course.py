"""Assignments: hand-outs hold no answers, solutions earn everything, typical errors nothing, and untrusted code harms
nobody. One cycle (build, submit, grade, feedback, export) for each assignment; the tests read what it left."""

import ast
import csv
import importlib.util
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest

pytest.importorskip("nbgrader", reason="nbgrader is not installed: pip install -e .[course]")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="students' code is confined by the Linux kernel")

ASSIGNMENTS = Path(__file__).parents[2] / "notebooks" / "assignments"
NAMES = sorted(path.stem for path in ASSIGNMENTS.glob("*.ipynb"))
TERM = "test"
BLANK, SOLUTION, WRONG = "blank", "solution", ("first-error", "second-error")
CRASHES = {  # what is put before an answer, by the order of the questions
    "an endless loop": "while True:\n    pass",
    "a crash": "import os\nos._exit(0)",
    "too much memory": "x = [0] * 10**10",
    "a network": "import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=1)",
    "the package": f"import sys\nsys.path.insert(0, {str(ASSIGNMENTS.parents[1])!r})\nimport resflow_lite",
    "the solutions": f"open({str(ASSIGNMENTS / 'estimators.ipynb')!r}).read()",
    "another program": "import subprocess\nsubprocess.run(['true'])",
    "an exit": "raise SystemExit",
}


@pytest.fixture(scope="module")
def course():
    """The course's command, as a function; its modules are importable while it lives."""
    folder = str(ASSIGNMENTS / "course")
    before = set(sys.modules)
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("course_main", ASSIGNMENTS / "course" / "__main__.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(folder)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(folder):
            del sys.modules[name]


def kind(cell):
    return {"grade": False, "solution": False} | cell.metadata.get("nbgrader", {})


def by_id(notebook):
    return {kind(cell)["grade_id"]: cell for cell in notebook.cells if "grade_id" in kind(cell)}


def described_errors(name):
    """{grade_id: [(description, code), ...]} from the list of typical errors that instructors read."""
    sections = re.split(r"^## (\S+)$", (ASSIGNMENTS / "typical_errors" / f"{name}.md").read_text(), flags=re.M)[1:]
    return {
        grade_id: re.findall(r"^(\*\*.*?)\n\n```python\n(.*?)```", text, re.DOTALL | re.MULTILINE)
        for grade_id, text in zip(sections[::2], sections[1::2])
    }


def errors(name):
    return {grade_id: [code for _, code in found] for grade_id, found in described_errors(name).items()}


def submit(folder, student, name, notebook):
    path = folder / student / f"{name}.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)


@pytest.fixture(scope="module", params=NAMES)
def cycle(request, course, tmp_path_factory):
    """Where one whole cycle took place: handout/, instructor-pack/, submissions/, grades/."""
    name, out = request.param, tmp_path_factory.mktemp("course")
    course.main(["handout", "--term", TERM, "--out", str(out)])
    course.main(["pack", "--term", TERM, "--out", str(out)])
    out = out / TERM
    handout = nbformat.read(out / "handout" / f"{name}.ipynb", 4)
    solved = nbformat.read(out / "instructor-pack" / "source" / name / f"{name}.ipynb", 4)
    submit(out / "submissions", BLANK, name, handout)
    submit(out / "submissions", SOLUTION, name, solved)
    for i, student in enumerate(WRONG):
        wrong = nbformat.from_dict(solved)
        for grade_id, codes in errors(name).items():
            by_id(wrong)[f"{grade_id}-answer"].source = codes[i]
        submit(out / "submissions", student, name, wrong)
    roster = out / "roster.csv"
    roster.write_text(f"student,name,moodle,canvas\n{SOLUTION},Ada Lovelace,4711,12\n{BLANK},Bo Blank,4712,13\n")
    arguments = ["grade", name, str(out / "submissions"), "--pack", str(out / "instructor-pack")]
    arguments += ["--out", str(out / "grades"), "--roster", str(roster)]
    course.main(arguments)
    return name, out, arguments


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def grades(out):
    return {row["student"]: row for row in table(out / "grades" / "grades.csv")}


def test_an_assignment_has_100_points_of_which_about_30_are_for_words(cycle):
    name, _, _ = cycle
    cells = [cell for cell in nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4).cells if kind(cell)["grade"]]
    assert sum(kind(cell)["points"] for cell in cells) == 100
    assert 27 <= sum(kind(cell)["points"] for cell in cells if cell.cell_type == "markdown") <= 33


def test_solutions_earn_every_point_and_the_blank_hand_out_none(cycle):
    name, out, _ = cycle
    for grade_id, cell in by_id(nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4)).items():
        if kind(cell)["grade"]:
            by_hand = cell.cell_type == "markdown"
            assert grades(out)[SOLUTION][grade_id] == ("" if by_hand else str(float(kind(cell)["points"]))), grade_id
            assert grades(out)[BLANK][grade_id] == "0.0", grade_id


@pytest.mark.parametrize("which", [0, 1])
def test_a_typical_error_scores_zero_for_its_question_and_costs_no_other(cycle, which):
    name, out, _ = cycle
    wrong, right = grades(out)[WRONG[which]], grades(out)[SOLUTION]
    automatic = {grade_id for grade_id, score in right.items() if grade_id.startswith("q") and score}
    assert set(errors(name)) == automatic
    assert all(len(codes) >= 2 for codes in errors(name).values())
    assert {grade_id for grade_id in automatic if wrong[grade_id] != "0.0"} == set()
    page = (out / "grades" / "feedback" / f"{WRONG[which]}.html").read_text()
    assert "all tests passed" not in page and "the tests cannot use" not in page and "Error" not in page


def test_the_hand_out_holds_no_answer_no_hidden_test_and_no_output(cycle):
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
    tests = [cell for cell in handout.cells if kind(cell)["grade"] and cell.cell_type == "code"]
    assert all(not cell.metadata.editable and "assert" in cell.source for cell in tests)


def test_every_visible_test_has_a_message(cycle):
    name, out, _ = cycle
    for cell in nbformat.read(out / "handout" / f"{name}.ipynb", 4).cells:
        if kind(cell)["grade"] and cell.cell_type == "code":
            asserts = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Assert)]
            assert asserts and all(node.msg is not None for node in asserts), kind(cell)["grade_id"]


def test_visible_tests_catch_the_errors_that_the_guide_says(cycle):
    name, out, _ = cycle
    handout = by_id(nbformat.read(out / "handout" / f"{name}.ipynb", 4))
    names = {}
    for grade_id, cell in by_id(nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4)).items():
        if cell.cell_type == "code" and not kind(cell)["grade"] and "not-graded" not in cell.metadata.get("tags", []):
            exec(cell.source, names)
        for description, code in described_errors(name).get(grade_id.removesuffix("-answer"), []):
            if kind(cell)["grade"]:
                wrong = dict(names)
                exec(code, wrong)
                try:
                    exec(handout[grade_id].source, wrong)
                    passes = True
                except AssertionError:
                    passes = False
                assert passes == ("Visible tests pass" in description), f"{grade_id}: {description}"


def test_each_student_has_other_constants(cycle):
    name, _, _ = cycle
    source = by_id(nbformat.read(ASSIGNMENTS / f"{name}.ipynb", 4))

    def constants(term, student):
        names = {"term": term, "student": student}
        exec(source["numbers"].source, names)
        return {key: repr(names[key]) for key in names if key in source["numbers"].source.split("mine")[0]} | {
            key: repr(value) for key, value in names.items() if isinstance(value, (int, float)) and key[0] != "_"
        }

    assert constants("2027", "ada") == constants("2027", "ada")
    different = {json.dumps(constants(*who)) for who in (("2027", "ada"), ("2027", "bob"), ("2028", "ada"))}
    assert len(different) == 3


def test_scores_given_by_hand_are_kept_until_the_answer_changes(cycle, course):
    name, out, arguments = cycle
    by_hand = out / "grades" / "by_hand.csv"
    rows = table(by_hand)
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
    assert float(grades(out)[SOLUTION]["total"]) == 100 and float(grades(out)[BLANK]["total"]) == 0

    (moodle, _) = sorted(table(out / "grades" / "moodle.csv"), key=lambda row: row["Identifier"])
    assert (moodle["Identifier"], moodle["Grade"]) == ("Participant 4711", "100.0")
    with zipfile.ZipFile(out / "grades" / "moodle-feedback.zip") as bundle:
        page = bundle.read("Ada Lovelace_4711_assignsubmission_file_/feedback.html").decode()
    assert "100 of 100 points" in page and "well done" in page
    possible, *people = table(out / "grades" / "canvas.csv")
    assert possible[name] == "100"
    assert {(row["Student"], row["ID"], row[name]) for row in people} == {
        ("Ada Lovelace", "12", "100.0"),
        ("Bo Blank", "13", "0.0"),
    }


def test_code_that_misbehaves_costs_one_question_and_harms_nobody(course, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["grade"], "SECONDS", 2.0)
    build, grade = sys.modules["build"], sys.modules["grade"]
    source = nbformat.read(ASSIGNMENTS / "estimators.ipynb", 4)
    submission = nbformat.from_dict(source)
    answers = [cell for cell in submission.cells if cell.cell_type == "code" and kind(cell)["solution"]]
    hurt = {}
    for (what, code), cell in zip(CRASHES.items(), answers):
        cell.source = f"{code}\n{cell.source}"
        hurt[kind(cell)["grade_id"].removesuffix("-answer")] = what
    assert len(hurt) == len(CRASHES)
    marks = {mark.grade_id: mark for mark in grade.grade(source, submission, TERM, "mallory") if not mark.by_hand}
    assert {name for name, mark in marks.items() if mark.score == 0} == set(hurt)
    said = {what: marks[grade_id].message for grade_id, what in hurt.items()}
    assert "out of time" in said["an endless loop"] and "crashed" in said["a crash"]
    assert "MemoryError" in said["too much memory"] and "PermissionError" in said["a network"]
    assert "No module named 'resflow_lite'" in said["the package"]
    assert "PermissionError" in said["the solutions"] and "PermissionError" in said["another program"]
    assert "SystemExit" in said["an exit"]
    assert build.meta(source.cells[0]).points == 0


def test_gradescope_gets_its_four_files_and_its_results(course, tmp_path):
    course.main(["pack", "--term", TERM, "--out", str(tmp_path)])
    pack = tmp_path / TERM / "instructor-pack"
    root = tmp_path / "autograder"
    with zipfile.ZipFile(pack / "gradescope-estimators.zip") as bundle:
        bundle.extractall(root / "source")
    word = (pack / "secret.txt").read_text()
    course.main(["pack", "--term", TERM, "--out", str(tmp_path)])
    assert (pack / "secret.txt").read_text() == word  # regrading asks the same questions
    source = (root / "source" / "source" / "estimators" / "estimators.ipynb").read_text()
    assert word in source and "SECRET" not in source and "guide.md" in os.listdir(pack)
    setup, run = ((root / "source" / name).read_text() for name in ("setup.sh", "run_autograder"))
    assert setup.startswith("#!") and "torch==" in setup and "resflow" not in setup + run
    submission = nbformat.read(pack / "source" / "estimators" / "estimators.ipynb", 4)
    answer = by_id(submission)["q08-survival-answer"]
    answer.source = errors("estimators")["q08-survival"][0]
    (root / "submission").mkdir()
    nbformat.write(submission, root / "submission" / "my homework.ipynb")
    (root / "submission_metadata.json").write_text(json.dumps({"users": [{"email": "ada@example.org"}]}))
    course.main(["gradescope", "estimators", str(root)])
    results = json.loads((root / "results" / "results.json").read_text())
    scores = {test["name"]: test["score"] for test in results["tests"]}
    assert scores.pop("q08-survival") == 0 and sum(scores.values()) == 64
    assert "q10-proof" in results["output"]


def test_nbgrader_makes_the_same_hand_out_from_the_pack(course, tmp_path):
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
    assert [kind(cell).get("grade_id") for cell in made.cells] == [kind(cell).get("grade_id") for cell in ours.cells]


@pytest.mark.slow
def test_ten_submissions_take_at_most_ten_minutes(course, tmp_path):
    course.main(["pack", "--term", TERM, "--out", str(tmp_path)])
    pack = tmp_path / TERM / "instructor-pack"
    for name in NAMES:
        solved = nbformat.read(pack / "source" / name / f"{name}.ipynb", 4)
        for i in range(10):
            submit(tmp_path / name, f"student{i}", name, solved)
        before = os.times()
        out = tmp_path / "grades" / name
        course.main(["grade", name, str(tmp_path / name), "--pack", str(pack), "--out", str(out)])
        used = os.times()
        seconds = used.user + used.children_user - before.user - before.children_user
        print(f"{name}: {used.elapsed - before.elapsed:.0f} s, {seconds:.0f} s of computing")
        assert seconds < 2 * 600  # two cores, ten minutes: computing time, so that a busy machine does not fail it
        totals = [float(row["total"]) for row in table(out / "grades.csv")]
        assert len(totals) == 10 and len(set(totals)) == 1
