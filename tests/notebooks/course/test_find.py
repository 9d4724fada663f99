"""The right file of the right student."""

import os
import unicodedata

import pytest

IDS = ["q01-partial-sum", "q08-survival"]
OURS = b'{"grade_id": "q01-partial-sum"}'


@pytest.fixture
def found(course, tmp_path):
    from find import find_hand_ins
    from tables import Student

    def look(*roster):
        people = [Student(**dict(zip(("student", "name", "moodle", "canvas"), words))) for words in roster]
        return {h.student: h for h in find_hand_ins(tmp_path, "estimators", IDS, people)}

    return look


def put(folder, name, content=OURS, time=None):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if time:
        os.utime(path, (time, time))
    return path


def test_of_two_notebooks_the_newest_counts_and_the_other_is_named(found, tmp_path):
    put(tmp_path, "ada/estimators.ipynb", time=1e9)
    newest = put(tmp_path, "ada/sub/estimators (2).ipynb", time=2e9)
    (hand_in,) = found().values()
    assert hand_in.file == newest and hand_in.time == 2e9
    assert "the newest, sub/estimators (2).ipynb" in hand_in.notes[0] and "not estimators.ipynb" in hand_in.notes[0]


def test_checkpoints_mac_files_dot_files_links_and_other_assignments_do_not_count(found, tmp_path):
    right = put(tmp_path, "ada/my homework.ipynb", time=1e9)
    put(tmp_path, "ada/.ipynb_checkpoints/estimators-checkpoint.ipynb")
    put(tmp_path, "ada/__MACOSX/._estimators.ipynb")
    put(tmp_path, "ada/.estimators.ipynb")
    put(tmp_path, "ada/training.ipynb", b'{"grade_id": "q01-neumann-vector"}')
    (tmp_path / "ada" / "estimators.ipynb").symlink_to(put(tmp_path, "bob/estimators.ipynb"))
    put(tmp_path, "__MACOSX/x/estimators.ipynb")
    (tmp_path / "link").symlink_to(tmp_path / "bob")
    assert found()["ada"].file == right and set(found()) == {"ada", "bob"}


def test_nothing_to_grade_says_what_is_there(found, tmp_path):
    put(tmp_path, "ada/training.ipynb", b"{}")
    put(tmp_path, "bob/answers.pdf", b"%PDF")
    assert found()["ada"].file is None and "notebooks: training.ipynb" in found()["ada"].problem
    assert "notebooks: none" in found()["bob"].problem


def test_names_are_matched_however_they_are_typed(found, tmp_path):
    for name in (unicodedata.normalize("NFD", "J\u00fcrgen"), "ADA", "0042"):
        put(tmp_path, f"{name}/estimators.ipynb")
    hand_ins = found(("j\u00fcrgen",), ("ada",), ("0042",))
    assert set(hand_ins) == {"j\u00fcrgen", "ada", "0042"} and not any(h.notes for h in hand_ins.values())


def test_moodle_and_canvas_names_lead_to_the_roster_and_cannot_be_spoofed(found, tmp_path):
    put(tmp_path, "Ada Lovelace_4711_assignsubmission_file_/estimators.ipynb")
    put(tmp_path, "x_4711_assignsubmission_file__4712_assignsubmission_file_/estimators.ipynb")
    put(tmp_path, "hoppergrace_LATE_99_1234_estimators.ipynb")
    hand_ins = found(("ada", "Ada", "4711"), ("mallory", "x", "4712"), ("grace", "Grace", "", "99"))
    assert {s: h.place[:5] for s, h in hand_ins.items()} == {"ada": "Ada L", "mallory": "x_471", "grace": "hoppe"}
    assert hand_ins["grace"].file.name.startswith("hoppergrace")


def test_two_folders_of_one_student_and_strangers_are_reported(found, tmp_path):
    put(tmp_path, "ada/estimators.ipynb", time=1e9)
    put(tmp_path, "A L_4711_assignsubmission_file/estimators.ipynb", time=2e9)
    put(tmp_path, "stranger/estimators.ipynb")
    hand_ins = found(("ada", "Ada", "4711"))
    assert hand_ins["ada"].time == 2e9 and "'ada' does not" in hand_ins["ada"].notes[-1]
    assert hand_ins["stranger"].notes == ("not in the roster",)


def test_the_time_of_a_hand_in_is_nbgraders_where_it_wrote_one(found, tmp_path):
    put(tmp_path, "ada/estimators/estimators.ipynb")
    put(tmp_path, "ada/estimators/timestamp.txt", b"2027-03-01 22:59:00.000000 UTC")
    assert found()["ada"].time == 1803941940.0


def test_late_days_are_begun_days(course):
    from export import late_days

    due = 1e9
    assert [late_days(due + s, due) for s in (-5, 0, 1, 86400, 86401)] == [0, 0, 1, 1, 2]
    assert late_days(2e9, None) == 0


def test_a_roster_with_a_student_or_a_number_twice_is_refused(course, tmp_path):
    from tables import Refused, read_roster

    path = tmp_path / "roster.csv"
    for rows, says in (
        ("student\nada\nADA\n", "line 3"),
        ("name\nada\n", "needs a column"),
        ("student,moodle\na,1\nb,1\n", "moodle numbers .'1'. belong to two"),
    ):
        path.write_text(rows)
        with pytest.raises(Refused, match=says):
            read_roster(path)
