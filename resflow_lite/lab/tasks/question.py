"""What is asked of a score, checked before anything is scored."""

from dataclasses import dataclass
from typing import Any

from ...expect import SEED, integer, offering
from ..machine import World

PASSES = 10_000


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
        (integer(1, PASSES) | None)("passes", self.passes)
        (integer(2, 2**63 - 1) | None)("n_images", self.n)
        SEED("seed", self.seed)
        (offering("an object such as rf.Krylov(20)", "estimate") | None)("estimator", self.estimator)
