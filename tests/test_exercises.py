"""Every exercise: the notebook's stub is refused, its printed solution accepted, the typical wrong answers refused."""

import math
import re
from pathlib import Path

import nbformat
import pytest
import torch

from resflow_lite import exercises

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
CALL = re.compile(r"exercises\.(check_\w+)\((\w+)\)")
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)


def cells(kind):
    return [
        cell.source for path in NOTEBOOKS for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind
    ]


STUBS = {match[1]: (match[2], source) for source in cells("code") for match in CALL.finditer(source)}
SOLUTIONS = [code for source in cells("markdown") for code in SOLUTION.findall(source)]


def function(name, code):
    names = dict(torch=torch, math=math)
    exec(CALL.sub("", code).replace("exercises.", ""), names)
    return names[name]


def solution(check):
    name = STUBS[check][0]
    (code,) = [code for code in SOLUTIONS if re.search(rf"def {name}\(", code)]
    return function(name, code)


def verdict(check, answer, capsys):
    assert getattr(exercises, check)(answer) is None
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    return told


def test_every_check_belongs_to_an_exercise():
    assert set(STUBS) == set(exercises.__all__)
    assert len(SOLUTIONS) == len(STUBS)


@pytest.mark.parametrize("check", exercises.__all__)
def test_the_stub_is_refused(check, capsys):
    assert re.match(r"not yet: \w+ returned None", verdict(check, function(*STUBS[check]), capsys))


@pytest.mark.parametrize("check", exercises.__all__)
def test_the_solution_is_accepted(check, capsys):
    assert verdict(check, solution(check), capsys).startswith("correct: ")


def wrong_logit_sign(t, alpha):
    return -solution("check_inverse_logit")(t, alpha)


def logit_without_scale(t, alpha):
    return (t.sigmoid().log() + (-t).sigmoid().log()).flatten(1).sum(1)


def logit_not_summed(t, alpha):
    return t.sigmoid().log() + (-t).sigmoid().log()


def logit_summed_over_all(t, alpha):
    return logit_not_summed(t, alpha).sum()


def passes_as_images(bits):
    return bits.std() / bits.numel() ** 0.5, bits.var(0).mean().sqrt() / bits.numel() ** 0.5


def noise_of_one_pass(bits):
    return bits.mean(0).std() / bits.shape[1] ** 0.5, bits.var(0).mean().sqrt()


def error_not_divided(bits):
    return bits.mean(0).std(), bits.var(0).mean().sqrt() / bits.numel() ** 0.5


def mean_of_logarithms(log_probs, n_dims, n_levels):
    return (n_dims * math.log(n_levels) - log_probs.mean(0)) / (n_dims * math.log(2))


def logarithm_of_sum(log_probs, n_dims, n_levels):
    return (n_dims * math.log(n_levels) - log_probs.logsumexp(0)) / (n_dims * math.log(2))


def overflowing(log_probs, n_dims, n_levels):
    return (n_dims * math.log(n_levels) - log_probs.exp().mean(0).log()) / (n_dims * math.log(2))


def natural_units(log_probs, n_dims, n_levels):
    return (n_dims * math.log(n_levels) - log_probs.logsumexp(0) + math.log(len(log_probs))) / n_dims


WRONG = [
    ("check_inverse_logit", wrong_logit_sign, "sign"),
    ("check_inverse_logit", logit_without_scale, "1 / (1 - 2 alpha)"),
    ("check_inverse_logit", logit_not_summed, "shape (2,)"),
    ("check_inverse_logit", logit_summed_over_all, "shape (2,)"),
    ("check_error_bars", passes_as_images, "are not 1200 images"),
    ("check_error_bars", noise_of_one_pass, "the mean is over all passes"),
    ("check_error_bars", error_not_divided, "was expected"),
    ("check_tighter_bound", mean_of_logarithms, "the bound we have"),
    ("check_tighter_bound", logarithm_of_sum, "a mean divides by K"),
    ("check_tighter_bound", overflowing, "torch.logsumexp"),
    ("check_tighter_bound", natural_units, "expected"),
]


@pytest.mark.parametrize(("check", "answer", "told"), WRONG, ids=[answer.__name__ for _, answer, _ in WRONG])
def test_a_typical_wrong_answer_is_refused_with_its_reason(check, answer, told, capsys):
    sentence = verdict(check, answer, capsys)
    assert sentence.startswith("not yet: ") and told in sentence


@pytest.mark.parametrize("check", exercises.__all__)
@pytest.mark.parametrize("returned", ["text", 3.0, [1.0], torch.zeros(3, 3)])
def test_an_answer_of_the_wrong_type_is_a_verdict_not_an_error(check, returned, capsys):
    assert verdict(check, lambda *_: returned, capsys).startswith("not yet: ")


@pytest.mark.parametrize("check", exercises.__all__)
def test_an_error_in_the_answer_is_told(check, capsys):
    def answer(*_):
        raise IndexError("too far")

    assert verdict(check, answer, capsys) == "not yet: answer raised IndexError: too far\n"
