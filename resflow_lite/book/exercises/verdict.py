"""What every check of an exercise is made of: try the reader's function, print one sentence, return nothing."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from torch import Tensor

__all__ = ["exercise", "expect", "shaped", "close"]


class _NotYet(Exception):
    """What is wrong with an answer, as a sentence for the reader."""


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise _NotYet(otherwise)


def exercise(check: Callable[[Callable], str]) -> Callable[[Callable], None]:
    """A check returns what the reader has shown, or raises _NotYet. So does a stub, and an error becomes a verdict."""

    @wraps(check)
    def verdict(answer: Callable) -> None:
        name = getattr(answer, "__name__", "your answer")

        def tried(*inputs: Any) -> Any:
            result = answer(*inputs)
            expect(result is not None, f"{name} returned None; replace the line with the dots")
            return result

        try:
            print(f"correct: {check(tried)}")
        except _NotYet as problem:
            print(f"not yet: {problem}")
        except Exception as error:
            print(f"not yet: {name} raised {type(error).__name__}: {error}")

    return verdict


def shaped(answer: Any, shape: tuple[int, ...], what: str, hint: str = "") -> Tensor:
    """The answer as a tensor of this shape.  what: it was to be, as in "one number per image"."""
    try:
        answer = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError):
        raise _NotYet(f"expected a tensor, got a {type(answer).__name__}") from None
    expect(answer.shape == shape, f"expected {what}, shape {shape}, not {tuple(answer.shape)}{hint}")
    return answer


def close(a: Any, b: Any) -> bool:
    """Equal up to rounding, to 5 digits; False where the shapes differ."""
    a, b = (torch.as_tensor(t, dtype=torch.float64) for t in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-9)
