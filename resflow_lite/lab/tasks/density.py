"""One experiment, validated: papermill parameters, the command line and Python all become an `Experiment`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ...estimators.logdet import Estimator, PowerSeries
from ...estimators.series import Geometric, Matched, Poisson, Roulette, Truncated
from ...layers.activations import ACTIVATIONS, Activation
from ...layers.gradient import MEMORY
from ...models.branches import NORMS
from ...models.flow import Flow
from ...models.image import ImageModel, image_flow
from ...models.systems import image_system, systems
from ..data.images import Images, expected_images, known_images
from ..home import home
from .profiles import BUDGET, PROFILES, base_model, profile_values
from .task import TaskSettings

__all__ = ["Experiment", "ESTIMATORS", "PRECISIONS", "home"]

ESTIMATORS: dict[str, Estimator] = {
    "roulette": PowerSeries(Roulette(Geometric(0.5), n_exact=2)),
    "roulette_poisson": PowerSeries(Roulette(Poisson(2.0), n_exact=2), probe="gaussian"),
    "truncated": PowerSeries(Truncated(5)),
    "matched": PowerSeries(Roulette(Matched(), n_exact=2)),
    "control_variate": PowerSeries(Roulette(Geometric(0.5), n_exact=2), control_variate=True),
}

PRECISIONS = ("fp32", "tf32", "bf16")

OF_THE_MODEL = ("width", "n_dense", "dense_width", "train_estimator", "activation", "norms", "memory")
"""Settings that a system brings along."""


@dataclass(frozen=True)
class Experiment(TaskSettings):
    """What to train, on what, for how long. A value of None takes the profile's (profiles.py).

    dataset: a name that load_images knows, or a function like the one that it takes.
    profile: "smoke" (seconds), "laptop" (minutes on two cores), "paper".
    seed: of the weights, the batches and all noise.  steps: of the optimiser.
    batch_size: images per step, over all processes; each process takes its share in `accumulation` passes.
    lr: of Adam, after `warm_up` steps of linear rise; it falls to 0 over the last `cool_down` fraction of the steps.
    ema: decay of the averaged weights that are evaluated.  flip: random horizontal flips.
    blocks, width, n_dense, dense_width, activation, norms: of the model (ImageModel).  train_estimator: a name in
    ESTIMATORS or an estimator object.  memory: of the blocks (layers/gradient.py); "store" is fastest, "recompute"
    smallest.  system: a name in rf.systems in place of that model, with about so many parameters; of the model's
    settings it takes `blocks` alone.
    precision: "fp32", "tf32" or "bf16" (precision.py).
    validation: training images that are held out to choose the reported weights; 0: the last step's are reported.
    evaluations: passes over the test images, each with fresh dequantisation noise and estimator draws.

    Raises SettingsError for a wrong value, with its name.
    """

    dataset: str | Callable[[str], Images] = "digits"
    profile: str = "laptop"
    seed: int = 0
    steps: int | None = None
    batch_size: int | None = None
    accumulation: int | None = None
    lr: float | None = None
    warm_up: int | None = None
    cool_down: float | None = None
    ema: float | None = None
    flip: bool | None = None
    blocks: tuple[int, ...] | None = None
    width: int | None = None
    n_dense: int | None = None
    dense_width: int | None = None
    train_estimator: str | Estimator | None = None
    activation: str | type[Activation] | None = None
    norms: str | None = None
    memory: str | None = None
    system: str | None = None
    parameters: int | None = None
    precision: str = "fp32"
    validation: int | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        self._expect("dataset", known_images(self.dataset), expected_images)
        self._expect("profile", self.profile in PROFILES, f"one of {', '.join(PROFILES)}")
        self._fill(self._open_values())
        if isinstance(self.blocks, list):
            object.__setattr__(self, "blocks", tuple(self.blocks))
        self._check()

    def _open_values(self) -> dict[str, Any]:
        """The profile's values; those of the model only where no system brings its own."""
        values = profile_values(self.dataset, self.profile)
        if self.system is None:
            self._expect("parameters", self.parameters is None, "None without a system: width makes the model larger")
            return values
        self._expect("system", self.system in systems, f"one of {', '.join(systems)}")
        for name in OF_THE_MODEL:
            self._expect(name, getattr(self, name) is None, f"None, because system = {self.system!r} has its own")
        return {n: v for n, v in values.items() if n not in OF_THE_MODEL} | dict(parameters=BUDGET[self.profile])

    def _check(self) -> None:
        self._expect_whole(1, "steps", "batch_size", "accumulation", "evaluations")
        self._expect_whole(0, "seed", "warm_up", "validation")
        if self.system is None:
            self._check_model()
        else:
            self._expect_whole(1, "parameters")
        self._expect_number("lr", 0, 1, "a number between 0 and 1, such as 1e-3")
        self._expect("ema", _number(self.ema) and 0 <= self.ema < 1, "a number from 0 to below 1")
        self._expect("cool_down", _number(self.cool_down) and 0 <= self.cool_down <= 1, "a fraction from 0 to 1")
        self._expect("flip", isinstance(self.flip, bool), "True or False")
        blocks = self.blocks
        good = isinstance(blocks, tuple) and len(blocks) > 0 and all(type(b) is int and b >= 1 for b in blocks)
        self._expect("blocks", good, "residual blocks per scale, such as [4, 4]")
        self._expect("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        parts = self.batch_size % self.accumulation
        self._expect("accumulation", not parts, f"a divisor of batch_size = {self.batch_size}")

    def _check_model(self) -> None:
        self._expect_whole(1, "width", "dense_width")
        self._expect_whole(0, "n_dense")
        own = isinstance(self.activation, type) and issubclass(self.activation, Activation)
        known = own or self.activation in ACTIVATIONS
        self._expect("activation", known, f"one of {', '.join(ACTIVATIONS)}, or an Activation class")
        self._expect("norms", self.norms in NORMS, f"one of {', '.join(NORMS)}")
        self._expect("memory", self.memory in MEMORY, f"one of {', '.join(MEMORY)}")
        known = isinstance(self.train_estimator, str) and self.train_estimator in ESTIMATORS
        own = all(callable(getattr(self.train_estimator, verb, None)) for verb in ("draw", "estimate"))
        self._expect("train_estimator", known or own, f"one of {', '.join(ESTIMATORS)}, or an estimator object")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; an estimator object appears as its repr, a data set of one's own as its name."""
        return {
            k: v if v is None or isinstance(v, str | int | float | tuple) else repr(v)
            for k, v in super().as_dict().items()
        }

    def model(self, shape: tuple[int, int, int]) -> ImageModel:
        """The image model of this experiment for images (C, H, W)."""
        estimator = ESTIMATORS[self.train_estimator] if isinstance(self.train_estimator, str) else self.train_estimator
        chosen = dict(blocks=self.blocks, width=self.width, n_dense=self.n_dense, dense_width=self.dense_width)
        chosen |= dict(activation=self.activation, norms=self.norms, memory=self.memory)
        return replace(base_model(self.dataset), shape=shape, train_estimator=estimator, **chosen)

    def build(self, shape: tuple[int, int, int]) -> Flow:
        """The flow with its initial parameters, which depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            if self.system is not None:
                return image_system(self.system, shape, self.parameters, self.blocks, base_model(self.dataset).alpha)
            return image_flow(self.model(shape))


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
