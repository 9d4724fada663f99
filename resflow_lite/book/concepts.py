"""The concept test: ten questions that open and close the book, with its misconceptions as wrong answers.

`concept_test("opening")` asks and keeps the choices, without a word on which is right. `concept_test("closing")` asks
again, and then says of each question what is right, why, where it is taught, and how the choice has changed.
"""

from html import escape
from pathlib import Path
from typing import NamedTuple

import ipywidgets as widgets
from IPython.display import display

from ..expect import one_of
from ..lab.values import read_yaml
from .predictions import WIDE, WithText, keep, kept


class Question(NamedTuple):
    """asked: a sentence.  options: four.  right: which of them, from 0.  why: a sentence.  chapter: that teaches it."""

    asked: str
    options: list[str]
    right: int
    why: str
    chapter: int


QUESTIONS = tuple(Question(**told) for told in read_yaml(Path(__file__).with_suffix(".yaml")))


def concept_test(when: str) -> None:
    """Shows the ten questions. when: "opening", which keeps the choices, or "closing", which judges them, too."""
    when = one_of(("opening", "closing"))("when", when)
    pairs = zip(QUESTIONS, _chosen(when))
    choices = [widgets.RadioButtons(options=question.options, index=i, layout=WIDE) for question, i in pairs]
    result = widgets.HTML()
    button = widgets.Button(description="keep my answers" if when == "opening" else "judge my answers")
    asked = [widgets.HTML(f"<b>{i}.</b> {escape(question.asked)}") for i, question in enumerate(QUESTIONS, 1)]
    rows = [row for pair in zip(asked, choices) for row in pair]

    def done(_: widgets.Button) -> None:
        keep(f"concepts, {when}", [choice.index for choice in choices])
        result.value = _judged() if when == "closing" else _counted(choices)

    button.on_click(done)
    display(WithText([*rows, button, result], _text(with_answers=when == "closing")))


def _chosen(when: str) -> list[int | None]:
    written = iter(kept(f"concepts, {when}"))
    found = [next(written, None) for _ in QUESTIONS]
    return [i if i in range(len(q.options)) else None for i, q in zip(found, QUESTIONS)]


def _counted(choices: list[widgets.RadioButtons]) -> str:
    answered = sum(choice.index is not None for choice in choices)
    return f"{answered} of {len(QUESTIONS)} answers kept. Chapter 10 asks again, and says what is right."


def _judged() -> str:
    before, after = _chosen("opening"), _chosen("closing")
    score = [sum(c == q.right for c, q in zip(chosen, QUESTIONS)) for chosen in (before, after)]
    first = f" (at the opening: {score[0]})" if any(c is not None for c in before) else ""
    lines = [f"<b>{score[1]} of {len(QUESTIONS)} are right{first}.</b>"]
    for i, question in enumerate(QUESTIONS):
        told = "Right." if after[i] == question.right else f"No: {question.options[question.right]}"
        lines.append(f"<b>{i + 1}.</b> {escape(told)} {escape(question.why)} (Chapter {question.chapter}.)")
    return "<br>".join(lines)


def _text(*, with_answers: bool) -> str:
    lines = []
    for i, question in enumerate(QUESTIONS, 1):
        options = [f"   - ({letter}) {option}" for letter, option in zip("abcd", question.options)]
        lines += [f"{i}. {question.asked}", *options]
    if with_answers:
        told = [f"{i}: ({'abcd'[q.right]}) {q.why} Chapter {q.chapter}." for i, q in enumerate(QUESTIONS, 1)]
        lines += ["", f"<details><summary>Answers</summary>\n\n{'  '.join(told)}\n\n</details>"]
    return "\n".join(lines)
