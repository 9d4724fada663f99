"""The reader's guesses are kept, stand beside the answers, and need no kernel to be read."""

import json
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest

from resflow_lite.book import answer, concept_test, concepts, predict, predictions
from resflow_lite.errors import SettingsError

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
CALL = re.compile(r"^ *(predict|answer)\(\s*\"([^\"]+)\"", re.MULTILINE)


@pytest.fixture(autouse=True)
def reader(tmp_path, monkeypatch):
    """A reader's own folder; the file of guesses."""
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))
    return tmp_path / "runs" / "reader.json"


@pytest.fixture
def shown(monkeypatch):
    """What was displayed, in order."""
    displayed = []
    for module in (predictions, concepts):
        monkeypatch.setattr(module, "display", displayed.append)
    return displayed


def test_a_guess_stands_beside_the_answer(shown, reader):
    predict("peaks")
    shown[0].children[0].value = "at 0"
    answer("peaks", "where the map is flat")
    assert shown[1].data == "> Your guess: at 0. **What came out:** where the map is flat"
    assert json.loads(reader.read_text()) == {"peaks": ["at 0"]}


def test_every_part_has_a_field_and_keeps_its_guess(shown):
    predict("friend", "where", "whose")
    first, second = shown[0].children
    second.value = "ours"
    answer("friend", "at one point", "the friend's")
    above, below = shown[1].data.split("\n>\n")
    assert above == "> **(a)** **What came out:** at one point"
    assert below == "> **(b)** Your guess: ours. **What came out:** the friend's"


def test_a_guess_of_an_earlier_visit_is_in_the_field_again(shown):
    predict("peaks")
    shown[0].children[0].value = "at 0"
    predict("peaks")
    assert shown[1].children[0].value == "at 0"


def test_an_answer_without_a_guess_writes_nothing(shown, reader):
    answer("peaks", "where the map is flat")
    assert shown[0].data == "> **What came out:** where the map is flat" and not reader.exists()


def test_without_a_kernel_fields_and_questions_are_text(shown):
    predict("friend", "where", "whose")
    concept_test("opening")
    concept_test("closing")
    fields, opening, closing = (display._repr_mimebundle_()["text/markdown"] for display in shown)
    assert "(a) where: ____" in fields
    for question in concepts.QUESTIONS:
        assert all(text in opening for text in (question.asked, *question.options))
        assert question.why not in opening and question.why in closing


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"peaks": [1]}', '{"peaks": "at 0"}', '{"peaks": [], "peaks": []}', "[" * 10**5]
)
def test_a_record_that_is_no_record_is_refused_by_name(shown, reader, text):
    reader.parent.mkdir()
    reader.write_text(text)
    with pytest.raises(SettingsError, match="reader.json is no record"):
        predict("peaks")


def test_answers_to_questions_that_are_not_there_any_more_are_none(shown, reader):
    reader.parent.mkdir()
    reader.write_text('{"concepts, opening": [99, -1, 2]}')
    assert concepts._chosen("opening") == [None, None, 2] + [None] * (len(concepts.QUESTIONS) - 3)


def choose(display, indices):
    """Chooses these options and presses the button; the sentence that appears."""
    *rows, button, result = display.children
    for radio, index in zip(rows[1::2], indices):
        radio.index = index
    button.click()
    return result.value


def test_the_concept_test_judges_at_the_end_and_remembers_the_opening(shown):
    right = [question.right for question in concepts.QUESTIONS]
    wrong = [(index + 1) % 4 for index in right]
    concept_test("opening")
    assert "10 of 10 answers kept" in choose(shown[0], wrong)
    concept_test("closing")
    told = choose(shown[1], [*wrong[:3], *right[3:]])
    assert "7 of 10 are right (at the opening: 0)" in told
    assert told.count("No: ") == 3 and told.count("Right.") == 7


def test_the_concept_test_opens_or_closes():
    with pytest.raises(SettingsError, match="middle"):
        concept_test("middle")


def test_the_ten_questions_have_four_options_each_and_no_place_that_is_always_right():
    assert len(concepts.QUESTIONS) == 10
    assert all(len(set(question.options)) == 4 for question in concepts.QUESTIONS)
    assert max(Counter(question.right for question in concepts.QUESTIONS).values()) <= 4


def test_the_book_opens_and_closes_with_the_ten_questions():
    for name, when in (("00_start_here", "opening"), ("10_outlook", "closing")):
        cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4).cells
        assert sum(cell.source == f'concept_test("{when}")' for cell in cells) == 1


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_prediction_of_a_page_is_answered_on_it(path):
    code = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    found = CALL.findall(code)
    asked = [name for kind, name in found if kind == "predict"]
    answered = [name for kind, name in found if kind == "answer"]
    assert sorted(asked) == sorted(answered) and len(set(asked)) == len(asked)
