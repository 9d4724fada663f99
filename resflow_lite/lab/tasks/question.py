"""What is asked of a score, checked before anything is scored."""

from dataclasses import dataclass
from typing import Any

from ...errors import SettingsError
from ..machine import World

__all__ = ["PASSES", "SEED_LIMIT", "Question"]

PASSES, SEED_LIMIT = 10_000, 2**63 - 1


@dataclass(frozen=True)
class Question:
    """What is asked of a score. estimator: of the residual blocks, None: the model's own.  passes: None: the settings'.
    n: only the first so many samples.  seed: of all noise.  world: who computes.  trained: shape
    and levels (None: not known) of what the model was trained on."""

    world: World
    split: str = "test"
    estimator: Any = None
    passes: int | None = None
    n: int | None = None
    seed: int = 1
    trained: tuple[tuple[int, ...], int | None] | None = None

    def __post_init__(self) -> None:
        for name, value, low, high, free in (
            ("passes", self.passes, 1, PASSES, True),
            ("n_images", self.n, 2, SEED_LIMIT, True),
            ("seed", self.seed, 0, SEED_LIMIT, False),
        ):
            if not (free and value is None or type(value) is int and low <= value <= high):
                most = "2^63 - 1" if high == SEED_LIMIT else f"{high:,}"
                raise SettingsError(f"{name} = {value!r}: expected a whole number from {low} to {most}")
        known = not isinstance(self.estimator, type) and callable(getattr(self.estimator, "estimate", None))
        if not (self.estimator is None or known):
            raise SettingsError(f"estimator = {self.estimator!r}: expected an object such as rf.Krylov(20), or None")
