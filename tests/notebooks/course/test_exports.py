"""What leaves the grader, against what Moodle's and Canvas's importers and Gradescope's documentation ask for."""

import json
import os
import re
import subprocess
import sys
import zipfile

import nbformat
import pytest


@pytest.fixture
def exported(course, tmp_path, kit):
    """A folder with the exports of one graded student, one without a hand-in, and one who is not in the roster."""
    from export import Result, write_all
    from marks import Mark
    from tables import Student

    marks = [Mark("q01", 7, 7.0), Mark("q03", 8, None, "words")]
    results = [
        Result(Student("ada", "Ada_L, Countess", "4711", "12"), marks, [], 2),
        Result(Student("absent", "=Bo", "4712", "13"), [], ["no hand-in"]),
        Result(
            Student("stranger"), [Mark("q01", 7, 0.0, "wrong"), Mark("q03", 8, 0.0)], ["not in the roster"], 0, False
        ),
    ]
    write_all(tmp_path, "estimators", results, ["a folder: graded as ada"])
    return tmp_path


def test_moodles_importer_finds_its_columns_and_a_date_that_it_can_read(exported, kit):
    rows = kit.table(exported / "moodle.csv")
    assert {"Identifier", "Grade", "Last modified (grade)"} <= set(rows[0])  # all three, or it refuses the file
    assert [(row["Identifier"], row["Grade"]) for row in rows] == [
        ("Participant 4711", "7.0"),
        ("Participant 4712", ""),
    ]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", row["Last modified (grade)"]) for row in rows)


def test_moodles_feedback_folders_have_the_number_as_their_second_word(exported):
    with zipfile.ZipFile(exported / "moodle-feedback.zip") as bundle:
        names = bundle.namelist()
    assert [name.split("/")[0].split("_", 4)[1:4] for name in names] == [
        [number, "assignsubmission", "file"] for number in ("4711", "4712")
    ]


def test_canvas_finds_its_header_and_leaves_a_missing_grade_open(exported, kit):
    first, *people = kit.table(exported / "canvas.csv")
    assert list(first) == ["Student", "ID", "SIS Login ID", "Section", "estimators"]
    assert first["Student"].strip() == "Points Possible" and first["estimators"] == "15"
    assert [(row["ID"], row["estimators"]) for row in people] == [("12", "7.0"), ("13", "")]


def test_nobody_is_left_out_of_the_table_and_the_report(exported, kit):
    rows = {row["student"]: row for row in kit.table(exported / "grades.csv")}
    assert [rows["ada"][column] for column in ("total", "late days", "q01", "q03")] == ["7.0", "2", "7.0", ""]
    assert rows["absent"]["total"] == "" and rows["stranger"]["total"] == "0.0"
    report = (exported / "report.txt").read_text()
    assert "absent: no hand-in" in report and "stranger: not in the roster" in report and "graded as ada" in report
    assert "no hand-in" in (exported / "feedback" / "absent.html").read_text()


@pytest.fixture
def container(pack, tmp_path):
    """A Gradescope container's folders, with the autograder for `estimators` in place."""
    root = tmp_path / "autograder"
    with zipfile.ZipFile(pack / "gradescope-estimators.zip") as bundle:
        bundle.extractall(root / "source")
    (root / "submission").mkdir()
    (root / "submission_metadata.json").write_text(json.dumps({"users": [{"email": "ada@example.org"}]}))
    return root


def test_gradescope_gets_its_files_and_hidden_tests_after_the_due_date(course, container, pack, solved, kit):
    word = (pack / "secret.txt").read_text()
    source = (container / "source" / "source" / "estimators" / "estimators.ipynb").read_text()
    assert word in source and "SECRET" not in source and "guide.md" in os.listdir(pack)
    texts = {name: (container / "source" / name).read_text() for name in ("setup.sh", "run_autograder", "Dockerfile")}
    assert texts["setup.sh"].startswith("#!") and "requirements.txt" in texts["setup.sh"]
    assert texts["Dockerfile"].startswith("FROM gradescope/") and not any("resflow" in text for text in texts.values())
    submission = solved()
    kit.by_id(submission)["q08-survival-answer"].source = kit.errors("estimators")["q08-survival"][1]
    nbformat.write(submission, container / "submission" / "my homework.ipynb")
    course.main(["gradescope", "estimators", str(container)])
    results = json.loads((container / "results" / "results.json").read_text())
    points = {test["name"]: test for test in results["tests"] if test["max_score"]}
    assert points["q08-survival"]["score"] == 0 and sum(test["score"] for test in points.values()) == 64
    assert {test["visibility"] for test in points.values()} == {"after_due_date"}
    seen = {test["name"].split(",")[0]: test for test in results["tests"] if not test["max_score"]}
    assert seen["q08-survival"]["status"] == "passed" and seen["q08-survival"]["visibility"] == "visible"
    assert "another law" not in json.dumps(seen) and "another law" in points["q08-survival"]["output"]
    assert "q10-proof" in results["output"]


def test_gradescope_gets_results_even_where_nothing_works(container):
    script = (container / "source" / "run_autograder").read_text().replace("/autograder", str(container))
    for python in ("/nowhere/python", f"{sys.executable} -c 'raise SystemExit(3)'"):
        broken = script.replace("/opt/grader/bin/python", python)
        subprocess.run(["bash", "-c", broken], capture_output=True)
        results = json.loads((container / "results" / "results.json").read_text())
        assert results["score"] == 0 and "not your fault" in results["output"]


def test_gradescope_gets_a_sentence_for_a_submission_without_a_notebook(course, container):
    course.main(["gradescope", "estimators", str(container)])
    results = json.loads((container / "results" / "results.json").read_text())
    assert sum(test["score"] for test in results["tests"]) == 0 and "no notebook of estimators" in results["output"]


def test_gradescopes_python_has_the_packages_that_are_asked_for(course):
    """Ubuntu 22.04 has Python 3.10; the versions in brackets are the last that exist there."""
    from gradescope import requirements
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requirements().splitlines()]
    for python, numpy in (("3.10", "==2.2.6"), ("3.11", None), ("3.13", None)):
        names = [r.name for r in wanted if not r.marker or r.marker.evaluate({"python_version": python})]
        assert sorted(names) == ["matplotlib", "nbformat", "numpy", "psutil", "scikit-learn", "torch"]
        versions = {
            r.name: str(r.specifier) for r in wanted if r.marker and r.marker.evaluate({"python_version": python})
        }
        assert numpy in (None, versions["numpy"])


def test_hand_outs_and_packs_are_built_without_linux(tmp_path, kit):
    code = f"""
import runpy, sys
for name in ("resource", "fcntl", "grp", "pwd"):
    sys.modules[name] = None
sys.argv = ["course", "pack", "--out", {str(tmp_path)!r}]
runpy.run_path({str(kit.assignments / "course")!r}, run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (tmp_path / "demo" / "instructor-pack" / "secret.txt").exists(), done.stderr


def test_the_grader_reads_as_python_3_10(kit):
    import ast

    for path in (kit.assignments / "course").glob("*.py"):
        ast.parse(path.read_text(), feature_version=(3, 10))
