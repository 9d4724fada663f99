"""The concept test: ten questions that open and close the book, with its misconceptions as wrong answers.

`concept_test("opening")` asks and keeps the choices, without a word on which is right. `concept_test("closing")` asks
again, and then says of each question what is right, why, where it is taught, and how the choice has changed.
"""

from html import escape
from typing import NamedTuple

import ipywidgets as widgets
from IPython.display import display

from ..expect import one_of
from .predictions import WIDE, WithText, keep, kept


class Question(NamedTuple):
    """asked: a sentence.  options: four.  right: which of them, from 0.  why: a sentence.  chapter: that teaches it."""

    asked: str
    options: tuple[str, str, str, str]
    right: int
    why: str
    chapter: int


QUESTIONS = (
    Question(
        "A flow z = f(x) is trained to maximise the mean of log N(f(x)), without a log-determinant. What happens?",
        (
            "The points z become standard normal.",
            "All points z move to one point.",
            "The model is right, and its log-likelihood is off by a constant.",
            "Nothing: there is no gradient.",
        ),
        1,
        "log N is largest at 0, and nothing charges for shrinking; the log-determinant does.",
        1,
    ),
    Question(
        "For x + g(x) to be invertible, Lip(g) < 1 is ...",
        ("necessary and sufficient.", "necessary, not sufficient.", "sufficient, not necessary.", "neither."),
        2,
        "x + 3 x = 4 x is invertible, though Lip(g) = 3. Below 1 every g gives an inverse.",
        2,
    ),
    Question(
        "A solver returns x with the residual |y - g(x) - x| = 0. What do you know?",
        (
            "x is the point that was encoded.",
            "x is a point that f sends to y; it is the encoded one if Lip(g) < 1 is proven.",
            "The error of x is at most one unit in the last digit.",
            "f is invertible.",
        ),
        1,
        "Without a contraction several x can share one y, and each of them has the residual 0.",
        2,
    ),
    Question(
        "Power iteration says that a layer has the spectral norm 0.97. What is proven?",
        (
            "The norm is at most 0.97.",
            "The norm is 0.97 up to a small error of either sign.",
            "The norm is below 1.",
            "The norm is at least 0.97.",
        ),
        3,
        "|W v| / |v| for one v can only be too low. Bounds from above take other means.",
        2,
    ),
    Question(
        "Training uses the first 5 terms of the series. Compared with exact log-determinants ...",
        (
            "the report is off by a constant, and the model is the same.",
            "the error depends on the eigenvalues, and training moves them to where it pays.",
            "the error is noise, and averages out over the batches.",
            "the report is wrong and the gradient is right.",
        ),
        1,
        "The bias has a slope, so it is part of the objective, and gradient ascent climbs it.",
        3,
    ),
    Question(
        "A mean over 1,000 draws of an unbiased estimator has a small standard error. Then the mean is ...",
        (
            "within a few standard errors of the truth.",
            "exact, because the estimator is unbiased.",
            "perhaps far off: rare, huge draws may not have been seen.",
            "biased, because a random number of terms was computed.",
        ),
        2,
        "With infinite variance the measured error bar says nothing. Unbiased speaks of the expectation only.",
        4,
    ),
    Question(
        "A block forgets its intermediate results and computes them again in the backward pass. Its gradient is ...",
        (
            "an approximation, the price of less memory.",
            "noisier, but right on average.",
            "right only if the learning rate is small.",
            "the same to rounding, for the same random numbers.",
        ),
        3,
        "The same operations run in another order. Nothing is estimated that was known before.",
        5,
    ),
    Question(
        "The Neumann gradient differentiates ⟨u, Jv⟩. You log that number as the log-determinant. It is ...",
        (
            "right, since its gradient is right.",
            "off by a constant.",
            "another function: it estimates tr(J (I + J)^-1).",
            "right on average, and noisy.",
        ),
        2,
        "Its gradient, with u held constant, is the one we want; its value is not.",
        5,
    ),
    Question(
        "Why are residual flows trained with LipSwish and not with ReLU?",
        (
            "ReLU stretches distances.",
            "The gradient of the log-determinant needs the second derivative, and ReLU's is 0.",
            "Any smooth activation would do as well.",
            "A network with ReLU is not invertible.",
        ),
        1,
        "Smooth is not enough either: the curvature must be there where the slope is near 1.",
        6,
    ),
    Question(
        "Two models of images report 3.3 and 3.2 bits per dimension. The second is better if ...",
        (
            "3.2 < 3.3: bits per dimension are an absolute scale.",
            "both are negative log-likelihoods of densities.",
            "data and preprocessing agree, and 0.1 exceeds error bars and bias.",
            "its samples look better.",
        ),
        2,
        "The number depends on units and on dequantisation, and an estimate of it has noise and perhaps bias.",
        8,
    ),
)


def concept_test(when: str) -> None:
    """Shows the ten questions. when: "opening", which keeps the choices, or "closing", which judges them, too."""
    when = one_of(("opening", "closing"))("when", when)
    choices = [_choice(question, chosen) for question, chosen in zip(QUESTIONS, _chosen(when))]
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
    return kept(f"concepts, {when}") or [None] * len(QUESTIONS)


def _choice(question: Question, chosen: int | None) -> widgets.RadioButtons:
    return widgets.RadioButtons(options=question.options, index=chosen, layout=WIDE)


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
