"""What every check of an exercise is made of: try the reader's function, print one sentence, return nothing."""

import math
from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor


class _NotYet(Exception):
    """What is wrong with an answer, as a sentence for the reader."""


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise _NotYet(otherwise)


def exercise(check: Callable[[Callable], str]) -> Callable[[Callable], None]:
    """A check returns what the reader has shown, or raises _NotYet. So does a stub, and an error becomes a verdict.

    The reader's function gets copies of tensors: it may work in place.
    """

    @wraps(check)
    def verdict(answer: Callable) -> None:
        name = getattr(answer, "__name__", "your answer")

        def tried(*inputs: Any) -> Any:
            try:
                result = answer(*map(_copied, inputs))
            except _NotYet:  # of a function that the check has handed out
                raise
            except Exception as error:
                raise _NotYet(f"{name} raised {type(error).__name__}: {error}") from error
            expect(result is not None, f"{name} returned None; replace the line with the dots")
            return result

        try:
            print(f"correct: {check(tried)}")
        except _NotYet as problem:
            print(f"not yet: {problem}")
        except Exception as error:
            print(f"not yet: what {name} returned does not fit here ({type(error).__name__}: {error})")

    return verdict


def _copied(given: Any) -> Any:
    if isinstance(given, list):
        return [_copied(each) for each in given]
    return given.detach().clone().requires_grad_(given.requires_grad) if isinstance(given, Tensor) else given


def shaped(answer: Any, shape: tuple[int, ...], what: str, hint: str = "") -> Tensor:
    """The answer as a tensor of this shape; axes of length 1 too many, as in (B, 1) for (B,), are taken away.

    what: it was to be, as in "one number per image".
    """
    try:
        answer = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        raise _NotYet(f"expected {what}, a tensor, got a {type(answer).__name__}{hint}") from None
    if [n for n in answer.shape if n != 1] == [n for n in shape if n != 1]:
        answer = answer.reshape(shape)
    expect(answer.shape == shape, f"expected {what}, shape {shape}, not {tuple(answer.shape)}{hint}")
    return answer


def number(answer: Any, what: str = "one number") -> float:
    """The answer as a float: of a Python number, of numpy's, or of a tensor with one entry."""
    return float(shaped(answer, (), what).detach())


def numbers(answer: Any, *names: str) -> list[float]:
    """As many floats as there are names: of a tuple, a list, an array or a tensor."""
    told = f"return {len(names)} numbers: {', '.join(names)}"
    try:
        answer = list(answer)
    except TypeError:
        raise _NotYet(told) from None
    expect(len(answer) == len(names), told)
    return [number(value, name) for value, name in zip(answer, names)]


def whole(answer: Any, what: str) -> int:
    """The answer as an int, whatever type it has: 5, numpy's 5, a tensor's 5 and 5.0 are the same number of terms."""
    found = number(answer, f"a whole number of {what}")
    expect(math.isfinite(found), f"expected a whole number of {what}, not {found}")
    expect(found == int(found), f"a number of {what} is an integer, a whole number, not {found:.2f}")
    return int(found)


def close(a: Any, b: Any) -> bool:
    """Equal up to rounding, to 5 digits; False where the shapes differ."""
    a, b = (torch.as_tensor(t, dtype=torch.float64) for t in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-9)
