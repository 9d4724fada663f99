"""Marks that people give: merged by student and question, read as spreadsheets save them, and never lost."""

import pytest

ANSWER = "Because $r < 1$;\nso \u201cit\u201d converges, doesn\u2019t it?"
STUDENTS = ("ada", "0042", "j\u00fcrgen")
FIRST = "student,grade_id,points,score,comment,answer,page"


@pytest.fixture
def marks(course):
    from marks import Mark

    def make(answer=ANSWER):
        return {s: [Mark("q01", 7, 7.0), Mark("q03", 8, None, answer), Mark("q10", 8, None, answer)] for s in STUDENTS}

    return make


@pytest.fixture
def merge(course, tmp_path):
    from by_hand import with_hand_marks

    path = tmp_path / "by_hand.csv"

    def run(given, everybody=STUDENTS):
        graded = with_hand_marks(given, path, set(everybody))
        return {(s, m.grade_id): m.score for s, marks in graded.items() for m in marks}

    run.path = path
    return run


def filled(path, kit):
    """The file's rows with a score and a comment for each."""
    rows = kit.table(path)
    for i, row in enumerate(rows):
        row |= {"score": str(i + 0.5), "comment": "=gut, \u20ac 5; h\u00f6her"}
    return rows


def line(cells, separator):
    quoted = [f'"{cell}"' if set(cell) & set(f'{separator}"\n') else cell for cell in cells]
    return separator.join(quoted)


def saved(rows, separator, end, comma=None):
    """As a spreadsheet of this kind writes it."""
    lines = [line(list(rows[0]), separator)]
    for row in rows:
        cells = {key: value.replace(".", comma) if comma and key == "score" else value for key, value in row.items()}
        cells["student"] = cells["student"].lstrip("0")  # all of them take numbers for numbers
        lines.append(line(list(cells.values()), separator))
    return end.join(lines) + end


@pytest.mark.parametrize(
    "separator, end, comma, code",
    [
        (",", "\r\n", None, "utf-8-sig"),  # Excel, "CSV UTF-8", English
        (";", "\r\n", ",", "cp1252"),  # Excel, "CSV", German
        ("\t", "\r\n", ",", "utf-16"),  # Excel, "Unicode text"
        (",", "\n", None, "utf-8"),  # LibreOffice, Numbers
        (";", "\r\n", ",", "utf-8-sig"),  # Excel, "CSV UTF-8", German
    ],
)
def test_scores_survive_the_way_in_which_a_spreadsheet_saves(marks, merge, kit, separator, end, comma, code):
    merge(marks())
    rows = filled(merge.path, kit)
    merge.path.write_bytes(saved(rows, separator, end, comma).encode(code))
    got = merge(marks())
    assert [got[row["student"], row["grade_id"]] for row in rows] == [i + 0.5 for i in range(6)]
    again = kit.table(merge.path)
    assert [row["comment"].removeprefix("'") for row in again] == [rows[0]["comment"]] * 6
    assert [row["student"] for row in again] == [row["student"] for row in rows]
    once_more = merge(marks())
    assert once_more == got and kit.table(merge.path) == again


def test_a_file_that_changes_leaves_a_backup_and_one_that_does_not_leaves_none(marks, merge, kit):
    merge(marks())
    by_person = saved(filled(merge.path, kit), ";", "\r\n", ",").encode("cp1252")
    merge.path.write_bytes(by_person)
    merge(marks())
    merge(marks())
    (backup,) = (merge.path.parent / "by_hand-backups").iterdir()
    assert backup.read_bytes() == by_person


@pytest.mark.parametrize(
    "bad, says",
    [
        ("ada,q03,8,six,,,", "line 2: ada, q03: the score 'six' is not a number"),
        ("ada,q03,8,06. Mai,,,", "'06. Mai' is not a number"),
        ("ada,q03,8,9,,,", "line 2: ada, q03: the score 9 is not between 0 and 8"),
        ("ada,q03,8,-1,,,", "not between 0 and 8"),
        ("ada,q3,8,5,,,", "line 2: ada, q3: no question is called so"),
        ("ada,q03,8,nan,,,", "'nan' is not a number"),
        ("j?rgen,q03,8,5,,,", "line 2: j?rgen, q03: nobody has this name"),
        ("ada,q03,8,5,,,\nada,q03,8,6,,,", "line 3: ada, q03: stands there twice"),
        ("ada,q03,8,6,5,good,,,", "line 2: more cells than columns"),
    ],
)
def test_a_line_that_cannot_be_read_is_named_and_nothing_is_changed(marks, merge, bad, says):
    from tables import Refused

    merge.path.write_text(f"{FIRST}\n{bad}\n")
    before = merge.path.read_bytes()
    with pytest.raises(Refused) as error:
        merge(marks())
    assert says in str(error.value) and merge.path.read_bytes() == before


def test_an_unknown_encoding_and_a_missing_column_are_refused(marks, merge):
    from tables import Refused

    for content, says in ((b"student\x81\xff", "CSV UTF-8"), (b"student,score\nada,5\n", "lacks the columns grade_id")):
        merge.path.write_bytes(content)
        with pytest.raises(Refused, match=says):
            merge(marks())
        assert merge.path.read_bytes() == content


def test_a_score_for_an_earlier_answer_goes_into_the_comment_and_counts_no_more(marks, merge, kit):
    merge(marks())
    merge.path.write_text(saved(filled(merge.path, kit), ",", "\n"))
    got = merge(marks("another answer"))
    assert got["ada", "q03"] is None
    assert "0.5 for an earlier answer" in kit.table(merge.path)[0]["comment"]
    assert merge(marks("another  answer\n")) == got  # blanks and line ends are no other answer


def test_rows_of_students_who_are_not_in_this_run_stay(marks, merge, kit):
    merge(marks())
    merge.path.write_text(saved(filled(merge.path, kit), ",", "\n"))
    only = {"ada": marks()["ada"]}
    merge(only)
    assert {row["student"] for row in kit.table(merge.path)} == set(STUDENTS)
    assert merge(marks())["j\u00fcrgen", "q10"] == 5.5


def test_an_answer_longer_than_a_cell_may_be_ends_nothing(marks, merge, kit):
    long = marks("x" * 300_000)
    merge(long)
    merge.path.write_text(saved(filled(merge.path, kit), ",", "\n"))
    assert merge(long)["ada", "q03"] == 0.5


def test_files_of_the_version_that_kept_whole_answers_are_understood(marks, merge):
    merge.path.write_text(f'student,grade_id,points,score,comment,answer\nada,q03,8,6,fine,"{ANSWER}"\n', "utf-8")
    assert merge(marks())["ada", "q03"] == 6.0
