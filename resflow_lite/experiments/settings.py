"""One experiment, validated: papermill parameters, the command line and Python all become an `Experiment`."""

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch

from ..datasets.images import Images, image_names
from ..errors import SettingsError
from ..estimators.logdet import Estimator, PowerSeries
from ..estimators.series import Geometric, Poisson, Roulette, Truncated
from ..home import home
from ..layers.memory import MEMORY
from ..models.flow import Flow
from ..models.image import ImageModel, image_flow
from .profiles import PROFILES, base_model, profile_values

__all__ = ["Experiment", "ESTIMATORS", "PRECISIONS", "home"]

ESTIMATORS: dict[str, Estimator] = {
    "roulette": PowerSeries(Roulette(Geometric(0.5), n_exact=2)),
    "roulette_poisson": PowerSeries(Roulette(Poisson(2.0), n_exact=2), probe="gaussian"),
    "truncated": PowerSeries(Truncated(5)),
}

PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class Experiment:
    """What to train, on what, for how long. A value of None takes the profile's (profiles.py).

    dataset: a name that load_images knows, or a function like the one that it takes.
    profile: "smoke" (seconds), "laptop" (minutes on two cores), "paper".
    seed: of the weights, the batches and all noise.  steps: of the optimiser.
    batch_size: images per step, over all processes; each process takes its share in `accumulation` passes.
    lr: of Adam, after `warm_up` steps of linear rise; it falls to 0 over the last `cool_down` fraction of the steps.
    ema: decay of the averaged weights that are evaluated.  flip: random horizontal flips.
    blocks, width, n_dense, dense_width: of the model (ImageModel).  train_estimator: a name in ESTIMATORS or an
    estimator object.  memory: of the blocks (layers/memory.py); "store" is fastest, "recompute" smallest.
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
    memory: str | None = None
    precision: str = "fp32"
    validation: int | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        known = callable(self.dataset) or self.dataset in image_names
        self._expect("dataset", known, f"one of {', '.join(image_names)}")
        self._expect("profile", self.profile in PROFILES, f"one of {', '.join(PROFILES)}")
        for name, value in profile_values(self.dataset, self.profile).items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if isinstance(self.blocks, list):
            object.__setattr__(self, "blocks", tuple(self.blocks))
        self._check()

    def _check(self) -> None:
        for name in ("steps", "batch_size", "accumulation", "width", "dense_width", "evaluations"):
            self._expect(name, _whole(getattr(self, name), 1), "a whole number, 1 or more")
        for name in ("seed", "warm_up", "n_dense", "validation"):
            self._expect(name, _whole(getattr(self, name), 0), "a whole number, 0 or more")
        self._expect("lr", _number(self.lr) and 0 < self.lr < 1, "a number between 0 and 1, such as 1e-3")
        self._expect("ema", _number(self.ema) and 0 <= self.ema < 1, "a number from 0 to below 1")
        self._expect("cool_down", _number(self.cool_down) and 0 <= self.cool_down <= 1, "a fraction from 0 to 1")
        self._expect("flip", isinstance(self.flip, bool), "True or False")
        blocks = self.blocks
        good = isinstance(blocks, tuple) and len(blocks) > 0 and all(_whole(b, 1) for b in blocks)
        self._expect("blocks", good, "residual blocks per scale, such as [4, 4]")
        self._expect("memory", self.memory in MEMORY, f"one of {', '.join(MEMORY)}")
        self._expect("precision", self.precision in PRECISIONS, f"one of {', '.join(PRECISIONS)}")
        known = isinstance(self.train_estimator, str) and self.train_estimator in ESTIMATORS
        own = all(callable(getattr(self.train_estimator, verb, None)) for verb in ("draw", "estimate"))
        self._expect("train_estimator", known or own, f"one of {', '.join(ESTIMATORS)}, or an estimator object")
        parts = self.batch_size % self.accumulation
        self._expect("accumulation", not parts, f"a divisor of batch_size = {self.batch_size}")

    def _expect(self, name: str, condition: bool, expected: str) -> None:
        if not condition:
            raise SettingsError(f"{name} = {getattr(self, name)!r}: expected {expected}")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> "Experiment":
        """From named values, as papermill or a command line gives them. A number written as text ("1e-3", which YAML
        reads as text) is taken as the number. Raises SettingsError for an unknown name or a wrong value."""
        names = [f.name for f in fields(cls)]
        for name in parameters:
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise SettingsError(f"unknown parameter {name!r}: {hint}Known: {', '.join(names)}")
        numeric = {"lr", "cool_down", "ema"}
        return cls(**{k: _as_number(v) if k in numeric else v for k, v in parameters.items()})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; an estimator object appears as its repr, a data set of one's own as its name."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)} | {"dataset": self.dataset_name}
        return {k: v if isinstance(v, str | int | float | tuple) else repr(v) for k, v in plain.items()}

    @property
    def dataset_name(self) -> str:
        return self.dataset.__name__ if callable(self.dataset) else self.dataset

    def model(self, shape: tuple[int, int, int]) -> ImageModel:
        """The image model of this experiment for images (C, H, W)."""
        estimator = ESTIMATORS[self.train_estimator] if isinstance(self.train_estimator, str) else self.train_estimator
        chosen = dict(blocks=self.blocks, width=self.width, n_dense=self.n_dense, dense_width=self.dense_width)
        return replace(base_model(self.dataset), shape=shape, train_estimator=estimator, memory=self.memory, **chosen)

    def build(self, shape: tuple[int, int, int]) -> Flow:
        """The flow with its initial parameters, which depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return image_flow(self.model(shape))


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _as_number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value
