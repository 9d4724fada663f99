"""A class as it comes: honest hand-ins in odd shapes, broken files and attacks, graded in one run. Each honest student
gets the right mark, each other one a row."""

import copy
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
import unicodedata

import pytest

RIGHT, FAILED = 70.0, 0.0
ASTRAL, DECOMPOSED = "ada\N{GRINNING FACE}", unicodedata.normalize("NFD", "jürgen")
ROSTER = {"moodle-right": "4711", "moodle-spoofer": "4799", "upper": "", DECOMPOSED: "", "absent": "4800"}
ODD_CELL = {"cell_type": "code", "source": "1 + 1", "outputs": [], "execution_count": None}

# Code before the right answer to question 8 (6 points); what it does must not reach anything.
FATAL = {
    "endless-loop": "while True:\n    pass",
    "exits": "import os\nos._exit(0)",
    "lone-surrogate": "raise ValueError(chr(0xD800))",
    "too-much-memory": "x = [bytearray(2**20) for _ in range(3200)]",
    "drips-blanks": """
import os, time
while True:
    for fd in range(3, 20):
        try:
            os.write(fd, b" ")
        except OSError:
            pass
    time.sleep(0.005)
""",
    "no-utf-8-and-nul": "raise ValueError('\\0\\x1b[31m\\ud800')",
    "recursion": "def f():\n    return f()\nf()",
}
HARMLESS = {  # the attack fails quietly, and the answer after it is right
    "signals-the-grader": """
import fcntl, os, signal
for target in (os.getppid(), -os.getpgrp(), 1):
    try:
        r, w = os.pipe()
        fcntl.fcntl(r, 10, signal.SIGKILL)
        fcntl.fcntl(r, fcntl.F_SETOWN, target)
        fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
        os.write(w, b"x")
    except OSError:
        pass
""",
    "renices": """
import os
for act in (lambda: os.setpriority(os.PRIO_PROCESS, os.getppid(), 19), lambda: os.sched_setaffinity(os.getppid(), {0}),
            lambda: os.setpriority(os.PRIO_USER, os.getuid(), 19)):
    try:
        act()
    except OSError:
        pass
""",
    "chmods-a-neighbour": """
import os
for place in (NEIGHBOUR, PACK):
    try:
        os.chmod(place, 0)
    except OSError:
        pass
""",
    "leaves-things-behind": """
import ctypes, os
libc = ctypes.CDLL(None)
libc.shmget(ctypes.c_int(0x5EED), ctypes.c_size_t(2**26), 0o1666)
for act in (os.fork, lambda: os.execv("/bin/true", ["true"]), lambda: os.memfd_create("x"), os.setsid):
    try:
        act()
    except OSError:
        pass
for i in range(3):
    try:
        open(f"/tmp/{i}", "wb").write(bytes(2**20))
    except OSError:
        pass
""",
}


def answer_of(notebook, grade_id):
    (cell,) = (
        c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == f"{grade_id}-answer"
    )
    return cell


def before(notebook, code, grade_id="q08-survival"):
    """The right notebook with code before one answer."""
    notebook = copy.deepcopy(notebook)
    cell = answer_of(notebook, grade_id)
    cell["source"] = f"{code}\n{cell['source']}"
    return notebook


def replaced(notebook, code, grade_id):
    notebook = copy.deepcopy(notebook)
    answer_of(notebook, grade_id)["source"] = code
    return notebook


def own_number(notebook, term, student):
    """The right notebook with the number of question 4 typed in, for this student's r."""
    name = unicodedata.normalize("NFC", student).casefold()
    r = random.Random(f"estimators {term} {name}").randrange(711, 881, 2) / 1000
    number = 3 * (-r - r**2 / 2 - math.log(1 - r))
    notebook = replaced(notebook, f"my_bias = {number}", "q04-my-bias")
    notebook["cells"][1]["source"] = f"term = {term!r}\nstudent = {student!r}"
    return notebook


class Class:
    """Hand-ins below `folder`, and what each must get."""

    def __init__(self, folder, pack, kit, right, blank):
        self.folder, self.pack, self.kit, self.right, self.blank = folder, pack, kit, dict(right), dict(blank)
        self.expected = {}
        self.nice, self.cores = os.getpriority(os.PRIO_PROCESS, 0), os.sched_getaffinity(0)

    def add(self, student, notebook, total, name="estimators", folder=None):
        self.expected[student] = total
        return self.kit.submit(self.folder, folder or student, name, notebook)

    def place(self, student, total):
        """An empty folder, for what is no notebook."""
        self.expected[student] = total
        (self.folder / student).mkdir(parents=True)
        return self.folder / student

    def nastiest(self):
        """What has stopped a whole class, or taken another student's marks."""
        right = self.right
        neighbour = self.add("plain", right, RIGHT)
        places = f"NEIGHBOUR, PACK = {str(neighbour.parent)!r}, {str(self.pack)!r}"
        for name in ("chmods-a-neighbour", "signals-the-grader"):
            self.add(name, before(right, f"{places}\n{HARMLESS[name]}"), RIGHT)
        for name in ("drips-blanks", "lone-surrogate"):
            self.add(name, before(right, FATAL[name]), RIGHT - 6)
        (self.place("folder-as-notebook", FAILED) / "estimators.ipynb").mkdir()
        (self.place("link-to-itself", FAILED) / "estimators.ipynb").symlink_to("estimators.ipynb")
        source = self.pack / "source" / "estimators" / "estimators.ipynb"
        (self.place("link-to-the-pack", FAILED) / "estimators.ipynb").symlink_to(source)
        deep = self.place("nested-folders", FAILED)
        for _ in range(1500):
            os.mkdir(deep / "d") if len(str(deep)) < 4000 else None
            deep = deep / "d" if len(str(deep)) < 4000 else deep
        self.add("nested-json", b'{"cells": ' + b"[" * 100_000, FAILED)
        self.add("cells-are-5", b'{"cells": 5}', FAILED)
        self.add("huge-number", replaced(right, HUGE, "q08-survival"), RIGHT - 6)
        odd = copy.deepcopy(right)
        odd["cells"][2:2] = [ODD_CELL | {"metadata": m} for m in (None, {"nbgrader": ["x"]}, {"nbgrader": None}, 5)] + [
            7
        ]
        self.add("odd-cells", odd, RIGHT)
        checkpoint = self.add("checkpoint", right, RIGHT, name="estimators (1)")
        self.kit.submit(checkpoint.parent, ".ipynb_checkpoints", "estimators-checkpoint", self.blank)
        self.add("moodle-right", right, RIGHT, folder="Ada Lovelace_4711_assignsubmission_file_")
        spoof = "x_4711_assignsubmission_file__4799_assignsubmission_file_"
        self.add("moodle-spoofer", self.blank, FAILED, folder=spoof)

    def all(self):
        self.nastiest()
        right = self.right
        for name in ("endless-loop", "exits", "too-much-memory", "no-utf-8-and-nul", "recursion"):
            self.add(name, before(right, FATAL[name]), RIGHT - 6)
        places = f"NEIGHBOUR, PACK = {str(self.folder / 'plain')!r}, {str(self.pack)!r}"
        for name in ("renices", "leaves-things-behind"):
            self.add(name, before(right, f"{places}\n{HARMLESS[name]}"), RIGHT)
        self.add("blank", self.blank, FAILED)
        self.add("deeper", right, RIGHT, folder="deeper/my homework/final")
        self.add(ASTRAL, own_number(right, self.kit.term, ASTRAL), RIGHT)
        self.add(
            unicodedata.normalize("NFC", DECOMPOSED),
            own_number(right, self.kit.term, DECOMPOSED),
            RIGHT,
            folder=DECOMPOSED,
        )
        self.add("upper", own_number(right, self.kit.term, "UPPER"), RIGHT, folder="UPPER")
        self.add("friends-number", own_number(right, self.kit.term, "plain"), RIGHT - 5)
        self.add("float32", replaced(right, FLOAT32, "q08-survival"), RIGHT - 6)
        self.add("returns-nothing", replaced(right, "def survival(pmf):\n    pmf.sum()", "q08-survival"), RIGHT - 6)
        self.add("wrong-shape", replaced(right, "def survival(pmf):\n    return pmf[:1]", "q08-survival"), RIGHT - 6)
        copied = copy.deepcopy(right)
        copied["cells"] += copy.deepcopy(self.blank["cells"])
        self.add("cells-copied", copied, RIGHT)
        self.add("byte-order-mark", b"\xef\xbb\xbf" + json.dumps(right, indent=1).encode(), RIGHT)
        self.add("windows-lines", json.dumps(right, indent=1).replace("\n", "\r\n").encode(), RIGHT)
        self.add("saves-a-plot", before(right, "plt.plot([1, 2])\nplt.savefig('plot.png')\nprint('x' * 10**6)"), RIGHT)
        old = self.add("two-versions", self.blank, RIGHT)
        os.utime(old, (1e9, 1e9))
        self.kit.submit(old.parent, ".", "estimators-final", right)
        other = self.add("other-assignment-too", right, RIGHT)
        os.utime(other, (1.5e9, 1.5e9))
        self.kit.submit(other.parent, ".", "training", b'{"cells": [], "grade_id": "q01-neumann-vector"}')
        junk = self.add("mac", right, RIGHT)
        self.kit.submit(junk.parent, "__MACOSX", "._estimators", b'\0\5\26\7 "q01-partial-sum"')
        (self.place("dangling-link", FAILED) / "estimators.ipynb").symlink_to("nowhere.ipynb")
        (self.place("link-to-a-neighbour", FAILED) / "estimators.ipynb").symlink_to("../plain/estimators.ipynb")
        self.place("empty-folder", FAILED)
        latin = os.fsencode(self.folder) + b"/caf\xe9"  # names that are no text
        os.makedirs(latin)
        for name in (b"/estimators\xff.ipynb", b"/estimators\xfe.ipynb"):
            with open(latin + name, "wb") as file:
                file.write(json.dumps(right).encode())
        self.expected["caf?"] = RIGHT
        os.mkfifo(self.place("fifo", FAILED) / "estimators.ipynb")
        self.add("empty-file", b"", FAILED)
        self.add("no-cells-of-ours", b'{"cells": [], "metadata": {}}', FAILED)
        stubborn = copy.deepcopy(right)
        for cell in stubborn["cells"]:
            if cell["metadata"].get("nbgrader", {}).get("solution") and cell["cell_type"] == "code":
                cell["source"] = "while True:\n    pass"
        self.add("endless-everywhere", stubborn, FAILED)


HUGE = "class C(complex):\n    real = 10**400\n\ndef survival(pmf):\n    return C(1)"
FLOAT32 = "def survival(pmf):\n    return torch.flip(torch.cumsum(torch.flip(pmf.float(), [0]), 0), [0])"


@pytest.fixture
def school(tmp_path, course, pack, solved, kit):
    """A class without hand-ins yet, and its roster."""
    course.main(["handout", "--term", kit.term, "--out", str(tmp_path)])
    blank = json.loads((tmp_path / kit.term / "handout" / "estimators.ipynb").read_text())
    roster = tmp_path / "roster.csv"
    people = "".join(f"{name},{name},{number}\n" for name, number in ROSTER.items())
    roster.write_text(f"student,name,moodle\n{people}", encoding="utf-8")
    yield Class(tmp_path / "hand-ins", pack, kit, solved(), blank)
    subprocess.run(["rm", "-rf", str(tmp_path / "hand-ins")], check=True)  # Python's own cannot, so deep it is


def grade(school, *more):
    """Grades the class; {student: row} and what the command said."""
    roster, out = school.folder.parent / "roster.csv", school.folder.parent / "grades"
    words = ["grade", "estimators", school.folder, "--pack", school.pack, "--out", out, "--roster", roster]
    done = school.kit.command(*words, "--jobs", 2, "--seconds", 2, *more)
    assert done.returncode == 0, done.stderr
    return {row["student"]: row for row in school.kit.table(out / "grades.csv")}, done.stdout


def holds(school, rows):
    assert {name: float(row["total"]) for name, row in rows.items() if row["total"]} == school.expected
    assert {name for name, row in rows.items() if row["notes"] == "no hand-in"} == set(rows) - set(school.expected)
    assert "absent" in rows
    for student, total in school.expected.items():
        assert (school.folder.parent / "grades" / "feedback" / f"{student}.html").stat().st_size > 100
        assert total or rows[student]["notes"] or student in ("blank", "moodle-spoofer", "endless-everywhere")
    assert os.access(school.folder / "plain", os.R_OK) and os.access(school.pack, os.R_OK)
    assert os.getpriority(os.PRIO_PROCESS, 0) == school.nice and os.sched_getaffinity(0) == school.cores


def test_the_nastiest_hand_ins_stop_nobody_and_take_nothing_from_others(school):
    school.nastiest()
    rows, _ = grade(school)
    holds(school, rows)
    assert "handed in twice" not in rows["moodle-right"]["notes"]
    assert "link" in rows["link-to-itself"]["notes"] and "nested too deeply" in rows["nested-json"]["notes"]


@pytest.mark.slow
def test_a_class_of_forty_is_graded_in_one_run_with_the_right_marks(school):
    school.all()
    assert len(school.expected) >= 40
    start = time.monotonic()
    rows, _ = grade(school)
    record = school.folder.parent / "grades" / "verdicts.jsonl"
    seconds = sum(json.loads(line)["seconds"] for line in record.read_text().splitlines())
    print(f"{len(rows)} students: {time.monotonic() - start:.0f} s, {seconds:.0f} s of computing")
    holds(school, rows)
    assert seconds < 2 * 480  # eight minutes on two cores
    pages = school.folder.parent / "grades" / "feedback"
    assert "float32" in (pages / "float32.html").read_text()
    assert "survival returned nothing" in (pages / "returns-nothing.html").read_text()
    assert "the shape is (1,), it should be (3,)" in (pages / "wrong-shape.html").read_text()
    assert "2 notebooks" in rows["two-versions"]["notes"]


def test_after_a_kill_the_same_command_goes_on_where_it_was(school):
    for i in range(3):
        school.add(f"student{i}", school.right if i else school.blank, RIGHT if i else FAILED)
    roster, out = school.folder.parent / "roster.csv", school.folder.parent / "grades"
    words = ["grade", "estimators", school.folder, "--pack", school.pack, "--out", out, "--roster", roster]
    words = [sys.executable, str(school.kit.assignments / "course"), *map(str, words), "--jobs", "2"]
    first = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    record = out / "verdicts.jsonl"
    while not record.exists() or b"\n" not in record.read_bytes():
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    whole = {json.loads(line)["student"] for line in record.read_text().splitlines()}
    with open(record, "ab") as lines:
        lines.write(b'{"student": "cut in the mid')
    rows, said = grade(school, "--seconds", 20)
    assert {student: float(row["total"]) for student, row in rows.items() if row["total"]} == school.expected
    again = [line.split(":")[0] for line in said.splitlines() if line.startswith("student")]
    assert whole and sorted([*again, *whole]) == sorted(school.expected)
