"""What students and markers read: causes first, parts of points, pages for marking, the check before handing in."""

import json
import math
import random
import subprocess
import sys
import time

import nbformat
import pytest

SURVIVAL = {  # an answer to question 8, and the cause that its message starts with
    "def survival(pmf):\n    pmf.sum()": "survival returned nothing (None)",
    "def survival(pmf):\n    return pmf[:1]": "the shape is (1,), it should be (3,). P(N >= 0) = 1",
    "def survival(pmf):\n    return pmf.flip(0).float().cumsum(0).flip(0)": "the values are right to float32",
    "def survival(pmf):\n    return pmf / 0": "there are infinite values or NaN",
    "def survival(pmf):\n    return 1 - torch.cumsum(pmf, 0)": "P(N >= 0) = 1",
    "def survival(pmf):\n    raise NotImplementedError()": "no answer yet",
    "def survival(pmf):\n    return pmf.nothing": "AttributeError: 'Tensor' object has no attribute 'nothing' (line 2",
    "def survival(pmf):\n    return 'words'": "the tests cannot use what your code returned",
    "x = 1": "survival is not defined",
    "def survival(pmf)": "SyntaxError",
}


@pytest.fixture(scope="module")
def graded(course, pack, kit):
    """graded(notebook, student=...): the marks, by question."""
    from build import read
    from grade import grade
    from sandbox import Limits, find_wall
    from submission import Submission

    def run(notebook, name="estimators", student="ada", partial=False, only=None):
        source = read(pack / "source" / name / f"{name}.ipynb")
        if only:
            keep = ("variant", "numbers", *only, *(f"{o}-answer" for o in only))
            source.cells = [cell for cell in source.cells if kit.kind(cell).get("grade_id") in keep]
        submission = Submission(
            {kit.kind(c)["grade_id"]: c.source for c in notebook.cells if "grade_id" in kit.kind(c)}
        )
        limits = Limits(seconds=5.0)
        marks, _ = grade(source, submission, kit.term, student, find_wall(), limits, partial=partial)
        return {mark.grade_id: mark for mark in marks}

    return run


def test_a_message_names_the_cause_first_and_the_mathematics_after(course, pack, solved, kit):
    import build
    from grade import Grading
    from sandbox import Limits, find_wall
    from submission import Submission

    cells = kit.by_id(build.personal(solved(), kit.term, "ada"))
    with Grading(Submission(), find_wall(), Limits(), partial=False) as grading:
        for name in ("variant", "numbers"):
            grading.take(cells[name])
        for code, cause in SURVIVAL.items():
            grading.run("survival = None\ndel survival")
            grading.answer(cells["q08-survival-answer"].source, code)
            mark = grading.test(cells["q08-survival"].source, build.meta(cells["q08-survival"]))
            assert mark.score == 0 and mark.message.startswith(cause), (code, mark.message)


def test_parts_of_points_are_a_third_for_visible_and_two_thirds_for_hidden_checks(graded, solved, kit):
    notebook = solved()
    answers = kit.by_id(notebook)
    answers["q08-survival-answer"].source = kit.errors("estimators")["q08-survival"][1]  # copied visible numbers
    answers["q07-probe-variance-answer"].source = kit.errors("estimators")["q07-probe-variance"][1]
    only = ("q01-partial-sum", "q07-probe-variance", "q08-survival")
    marks = graded(notebook, partial=True, only=only)
    assert marks["q01-partial-sum"].score == 7 and marks["q08-survival"].score == 2
    assert 0 < marks["q07-probe-variance"].score < 7
    all_or_none = graded(notebook, only=only)
    assert [all_or_none[grade_id].score for grade_id in only] == [7, 0, 0]


def test_what_the_pack_says_about_parts_of_points_the_hand_out_says_too(course, tmp_path, kit):
    for verb in ("pack", "handout"):
        course.main([verb, "--term", kit.term, "--out", str(tmp_path), "--partial"])
    handout = (tmp_path / kit.term / "handout" / "training.ipynb").read_text()
    assert "A third of a question's points" in handout and "earned when all of its tests" not in handout
    assert (tmp_path / kit.term / "instructor-pack" / "partial.txt").exists()
    course.main(["pack", "--term", kit.term, "--out", str(tmp_path)])
    assert not (tmp_path / kit.term / "instructor-pack" / "partial.txt").exists()


def test_a_hand_in_that_takes_all_its_time_keeps_what_it_had(course, solved, kit):
    import build
    from grade import Grading
    from sandbox import Limits, find_wall
    from submission import Submission

    cells = kit.by_id(build.personal(solved(), kit.term, "ada"))
    answers = {grade_id: cell.source for grade_id, cell in cells.items()}
    answers["q02-bias-answer"] = "import time\ntime.sleep(1000)"
    marks = {}
    with Grading(Submission(answers), find_wall(), Limits(), partial=False) as grading:
        for name in ("variant", "numbers", "q01-partial-sum", "q02-bias", "q08-survival"):
            if name == "q02-bias":
                grading.end = grading.sandbox.end = time.monotonic() + 1
            for cell in (cells[key] for key in (f"{name}-answer", name) if key in cells):
                marks[name] = grading.take(cell)
    assert [marks[name].score for name in ("q01-partial-sum", "q02-bias", "q08-survival")] == [7, 0, 0]
    assert marks["q08-survival"].message.startswith("not run: ")


class Here:
    """In the sandbox's place, in this process: calls are recorded, or answered from a friend's record."""

    alive, spent, copies, taken = True, 0.0, False, {}

    def __init__(self, *_):
        self.names, self.turn = {"__name__": "__main__"}, {}

    def run(self, code, seconds):
        exec(code, self.names)

    def get(self, key, seconds):
        from wire import Name

        if callable(self.names[key]):
            return Name(key)
        return self.taken[key] if self.copies else self.taken.setdefault(key, self.names[key])

    def call(self, key, args, kwargs, seconds):
        from wire import Name

        if not self.copies:
            there = [self.names[value.name] if isinstance(value, Name) else value for value in args]
            self.taken.setdefault(key, []).append(value := self.names[key](*there, **kwargs))
            return value
        self.turn[key] = self.turn.get(key, -1) + 1
        return self.taken[key][self.turn[key]]

    def seconds_used(self):
        return 0.0

    def close(self):
        pass


@pytest.fixture
def scores(course, solved, kit, monkeypatch):
    """scores(name, student): of the solutions, in this process, in every automatic question."""
    import build
    import grade
    from sandbox import Limits
    from submission import Submission

    monkeypatch.setattr(grade, "Sandbox", Here)

    def run(name, student):
        source = solved(name)
        answers = {kit.kind(c)["grade_id"]: c.source for c in source.cells if "grade_id" in kit.kind(c)}
        with grade.Grading(Submission(answers), "none", Limits(), partial=False) as grading:
            marks = [mark for c in build.personal(source, kit.term, student).cells if (mark := grading.take(c))]
        automatic = {kit.kind(c)["grade_id"] for c in source.cells if kit.kind(c)["grade"] and c.cell_type == "code"}
        return {mark.grade_id: mark.score / mark.points for mark in marks if mark.grade_id in automatic}

    return run


@pytest.mark.parametrize("name", ["contractions", "estimators", "training"])
def test_a_friends_numbers_earn_nothing(scores, name):
    """Whatever a friend's functions returned, in the order of the tests, fails in every automatic question."""
    Here.copies, Here.taken = False, {}
    assert set(scores(name, "ada").values()) == {1.0}
    Here.copies = True
    assert {grade_id: score for grade_id, score in scores(name, "bob").items() if score} == {}


@pytest.mark.parametrize("name", ["contractions", "estimators", "training"])
def test_the_solutions_are_right_for_every_students_numbers(scores, name):
    Here.copies = False
    for i in range(20):
        Here.taken = {}
        assert set(scores(name, f"student{i}").values()) == {1.0}, i


def test_a_page_for_marking_shows_question_rubric_answer_numbers_and_outputs(course, pack, solved, tmp_path, kit):
    from find import HandIn
    from run import Course
    from sandbox import find_wall

    notebook = solved()
    cells = kit.by_id(notebook)
    cells["q03-signs"].source = "Positive <script>alert(1)</script>"
    cells["coverage"].outputs = [
        nbformat.v4.new_output("stream", text="r = 0.8: 700 hold <b>"),
        nbformat.v4.new_output("display_data", data={"image/png": "iVBORw0KGgo=", "text/html": "<script>2</script>"}),
        nbformat.v4.new_output("display_data", data={"image/png": '"><script>3</script>'}),
    ]
    path = kit.submit(tmp_path, "ada", "estimators", notebook)
    page = tmp_path / "page.html"
    Course(pack, "estimators", find_wall()).verdict(HandIn("ada", "ada", path), page)
    text = page.read_text()
    assert "J=-0.8" in text and "Rubric" in text and "Positive &lt;script" in text and "<script" not in text
    r = random.Random(f"estimators {kit.term} ada").randrange(711, 881, 2) / 1000
    assert f"r = {r}, angle" in text and "700 hold &lt;b&gt;" in text and "data:image/png;base64,iVBORw0KGgo=" in text


def test_a_rubric_page_has_the_question_of_every_written_answer(pack, kit):
    for name in ("contractions", "estimators", "training"):
        text = (pack / "rubrics" / f"{name}.md").read_text()
        for part in text.split("\n## ")[1:]:
            number = int(part[1:3])
            assert f"**Question {number}** (" in part, part[:60]


def test_students_can_check_at_home_what_they_hand_in(course, solved, tmp_path, kit):
    course.main(["handout", "--term", kit.term, "--out", str(tmp_path)])
    folder = tmp_path / kit.term / "handout"
    handout = json.loads((folder / "estimators.ipynb").read_text())

    def check(notebook):
        (folder / "mine.ipynb").write_text(notebook if isinstance(notebook, str) else json.dumps(notebook))
        words = [sys.executable, "-I", "check.py", "mine.ipynb"]
        return subprocess.run(words, cwd=folder, capture_output=True, text=True)

    assert "put your user name" in check(handout).stdout
    right = solved()
    kit.by_id(right)["variant"].source = 'term = "test"\nstudent = "ada"'
    done = check(right)
    assert done.returncode == 0 and "All visible tests pass" in done.stdout and "'ada'" in done.stdout
    kit.by_id(right)["q08-survival-answer"].source = kit.errors("estimators")["q08-survival"][0]
    kit.by_id(right)["q10-proof"].source = "YOUR ANSWER HERE"
    done = check(right)
    assert (
        done.returncode == 1 and "q08-survival: P(N >= 0) = 1" in done.stdout and "q10-proof: no answer" in done.stdout
    )
    assert "cannot be read" in check("{").stdout


def test_numbers_that_are_typed_in_count_for_the_student_whose_they_are(graded, solved, kit):
    for student, others in (("ada", ()), ("j\u00fcrgen\N{GRINNING FACE}", ("bob",))):
        r = random.Random(f"estimators {kit.term} {student}").randrange(711, 881, 2) / 1000
        notebook = solved()
        kit.by_id(notebook)["q04-my-bias-answer"].source = f"my_bias = {3 * (-r - r**2 / 2 - math.log(1 - r))}"
        for who in (student, *others):
            score = graded(notebook, student=who, only=("q04-my-bias",))["q04-my-bias"].score
            assert score == (5.0 if who == student else 0.0)
