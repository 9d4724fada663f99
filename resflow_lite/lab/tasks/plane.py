"""Six systems on densities of the plane in one protocol: equal parameters and equal training time."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...estimators.logdet import Estimator, Exact
from ...estimators.noise import Noise, rows
from ...expect import Check, instance, integer, one_of
from ...incoming import batch
from ...layers.residual import residual_blocks
from ...models.densities import toy_data, toy_names
from ...models.flow import Flow
from ...models.systems import systems, toy_system
from ..names import PROFILES
from ..scoring import described, error_bars, estimating_with, largest_share
from .question import PASSES, Question
from .task import BLOCKS, PARAMETERS, Task, Training, option
from .words import TRAINS, named

STEPS = {"realnvp": 1400, "glow": 1100, "ffjord": 110, "flow++": 750, "iresnet": 410, "resflow": 410}
"""Steps of the laptop profile: what each system takes in 15 CPU seconds on one thread (measured on whole runs)."""

RATES = dict.fromkeys(STEPS, 5e-3) | {"glow": 1e-2, "flow++": 1e-2, "iresnet": 16e-2, "resflow": 8e-2}
"""Largest learning rates of the laptop profile. A residual branch divides its weights by their norms, so that a step
turns them more than it moves them: on the checkerboard (seed 7, 400 steps) the Residual Flow reached -4.49, -4.21,
-4.12, -3.93, -3.81 and -3.85 nats at 0.005, 0.01, 0.02, 0.04, 0.08 and 0.16, Real NVP (1,300 steps) -3.85, -3.78,
-3.87 and -3.84 at 0.002, 0.005, 0.01 and 0.02, Flow++ (700) -3.78 and -3.68, FFJORD (130) -3.99 and (100) -3.99 at
0.005 and 0.01, Glow (1,100) -3.93, -3.81, -3.76 and -3.78 at 0.002, 0.005, 0.01 and 0.02, i-ResNet (410) -4.08, -4.07,
-3.87 and -3.90 at 0.04, 0.08, 0.16 and 0.32."""

SMOKE = dict(steps=10, batch_size=64, parameters=2_000, n_blocks=2, points=400, passes=2, lr=5e-3)
LAPTOP = dict(batch_size=256, parameters=20_000, n_blocks=8, points=10_000, passes=2)
# depth, batch, rate and steps of the paper's toy models; its blocks have four hidden layers, ours two
PAPER = dict(batch_size=500, parameters=1_700_000, n_blocks=100, points=10_000, passes=2, lr=1e-3, steps=50_000)

WARM_UP = 0.05
"""Fraction of the steps in which the learning rate rises from 0."""
TEST_SEED = 1_000_003
"""Of the points that all systems and seeds are evaluated at."""
VALIDATION_SEED, VALIDATION_POINTS = 2_000_003, 1000
"""Of the points by which a learning rate is chosen."""
POINTS = 10**8
"""At most."""


def _is_density(found: Any) -> bool:
    return isinstance(found, str) and found in toy_names or callable(found) and not isinstance(found, type)


DENSITY = Check(f"one of {', '.join(toy_names)}, or a sampler (n, generator)", _is_density, names=toy_names)


@dataclass(frozen=True)
class ToyExperiment(Training):
    """Which system to train on which density of the plane. A value of None takes the profile's.

    dataset may be a sampler (n, generator) -> (n, 2). Raises SettingsError for a wrong value, with its name.
    """

    dataset: str | Callable = option("checkerboard", f"one of {', '.join(toy_names)}", DENSITY)
    system: str = option("resflow", f"one of {', '.join(systems)}", one_of(systems))
    profile: str = option(
        "laptop", "smoke (seconds), laptop (equal CPU time for all systems) or paper (equal steps)", one_of(PROFILES)
    )
    parameters: int | None = option(None, "of the model, about so many", integer(1, PARAMETERS))
    n_blocks: int | None = option(None, "of the model", integer(1, BLOCKS))
    train_estimator: str | Estimator | None = option(None, "of blocks' log-determinants; None: the system's", TRAINS)
    points: int | None = option(None, "fresh ones to evaluate at", integer(2, POINTS))
    passes: int | None = option(None, "over these points with the blocks' evaluation estimator", integer(2, PASSES))

    def __post_init__(self, filled: dict[str, Any] | None) -> None:
        self._refuse_carried(filled)
        self._check_each()
        if self.train_estimator is not None:
            residual = ("resflow", "iresnet")
            self._expect("train_estimator", self.system in residual, f"None, or system one of {', '.join(residual)}")
        own = dict(steps=STEPS[self.system], lr=RATES[self.system])
        usual = dict(smoke=SMOKE, laptop=LAPTOP | own, paper=PAPER)[self.profile]
        self._fill(usual)
        self._fill(dict(accumulation=1, warm_up=round(WARM_UP * self.steps), cool_down=0.5, ema=0.0))
        self._check_training()
        if any(getattr(self, name) != usual[name] for name in ("parameters", "n_blocks")):
            self._expect_buildable((2,))

    def _flow(self, shape: tuple[int, ...] | None = None) -> Flow:
        flow = toy_system(self.system, self.parameters, self.n_blocks)
        if self.train_estimator is not None:
            for block in residual_blocks(flow).values():
                block.train_estimator = named(self.train_estimator)
        return flow


@torch.no_grad()
def point_nats(
    flow: Flow, x: Tensor, estimator: Estimator | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """(n,) log p(x) in nats, float64. estimator: of the residual blocks; None: the model's own for evaluation."""
    instance(Flow)("flow", flow)
    batch("x", x, flow.event_shape)
    with estimating_with(flow, estimator):
        return torch.cat([flow.log_prob(part, generator).double() for part in x.split(2000)])


class Plane(Task):
    """Nats of fresh points. On the CPU, whose seconds are the protocol's budget.

    nats: mean log p of fresh points, the same for every system and seed, by exact log-determinants; its standard error
    is over the points.  estimated_nats: by the residual blocks' own roulette; estimator_error: what its draws add.
    objective: what the training estimator reports at the same points; the exact value where there is none.
    """

    name, settings, unit, words, scores, device = "toy", ToyExperiment, "loss", "nats", ("nats",), "cpu"
    shape = (2,)

    def _points(self, n: int, noise: torch.Generator) -> Tensor:
        return toy_data(self.experiment.dataset, n, noise)

    def start(self, noise: Noise) -> Tensor:
        return self._points(self.experiment.batch_size, noise)

    def batch(self, step: int, noise: Noise) -> Tensor:
        return rows(self._points(self.experiment.batch_size, noise), noise)

    def loss(self, flow: Flow, batch: Tensor, draws: Noise) -> Tensor:
        return -flow.log_prob(batch, draws).mean()

    def validate(self, flow: Flow) -> float:
        """Minus the mean nats of points of their own, exact."""
        x = self._points(VALIDATION_POINTS, torch.Generator().manual_seed(VALIDATION_SEED))
        return -float(point_nats(flow, x, Exact()).mean())

    def events(self, question: Question) -> Tensor:
        return self._points(self.experiment.points, torch.Generator().manual_seed(TEST_SEED))[:256]

    @torch.no_grad()
    def score(self, flow: Flow, question: Question) -> dict[str, Any]:
        noise = torch.Generator().manual_seed(TEST_SEED)
        x = self._points(self.experiment.points, noise)[: question.n]
        nats = point_nats(flow, x, Exact())
        found = dict(
            split="fresh points",
            data_sha256=hashlib.sha256(x.numpy().tobytes()).hexdigest(),
            n_test=len(x),
            passes=1,
            evaluation=described(flow, question.estimator),
            nats=float(nats.mean()),
            standard_error=float(nats.std()) / len(x) ** 0.5,
            estimated_nats=None,
            estimator_error=None,
            objective=float(nats.mean()),
        )
        blocks = list(residual_blocks(flow).values())
        if not blocks:
            return found
        passes = range(question.passes or self.experiment.passes)
        draws = torch.stack([point_nats(flow, x, question.estimator, noise) for _ in passes])
        return found | dict(
            passes=len(draws),
            estimated_nats=float(draws.mean()),
            estimator_error=error_bars(draws)["noise_error"],
            largest_share=largest_share(draws),
            objective=float(point_nats(flow, x, blocks[0].train_estimator, noise).mean()),
        )
