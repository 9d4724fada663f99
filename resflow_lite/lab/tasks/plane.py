"""Six systems on densities of the plane in one protocol: equal parameters and equal training time."""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ...errors import ResflowError
from ...estimators.logdet import Estimator, Exact
from ...layers.lipschitz import update_norms_
from ...layers.residual import ResidualBlock
from ...models.densities import toy_data, toy_names
from ...models.flow import Flow
from ...models.systems import systems, toy_system
from ..checkpoints import facts_of, save_flow
from ..claims import claim
from ..interruption import sole_writer
from ..ledger import save_entry, training_facts
from ..machine import World
from ..runs import LAST
from ..scoring import error_bars, estimating_with, per_image
from .profiles import PROFILES
from .task import TaskSettings

__all__ = ["ToyExperiment", "run_toy", "train_toy", "load_toy", "point_nats", "STEPS", "RATES"]

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

WARM_UP, COOL_DOWN = 0.05, 0.5
"""Fractions of the steps in which the learning rate rises from 0, and falls to 0."""
CLIP = 1.0
"""Largest norm of a step's gradient."""
TEST_SEED = 1_000_003
"""Of the points that all systems and seeds are evaluated at."""


@dataclass(frozen=True)
class ToyExperiment(TaskSettings):
    """Which system to train on which density of the plane. A value of None takes the profile's.

    dataset: a name in rf.toy_names, or a sampler (n, generator) -> (n, 2).  system: a name in rf.systems.
    profile: "smoke" (seconds), "laptop" (equal CPU time for all systems), "paper" (equal steps; hours).
    seed: of the weights, the batches and the estimators.  lr: of Adam, the largest of the schedule.
    parameters, n_blocks: of the model (rf.toy_system).  points: fresh ones to evaluate at.
    passes: over these points with the evaluation estimator of residual blocks.

    Raises SettingsError for a wrong value, with its name.
    """

    dataset: str | Callable = "checkerboard"
    system: str = "resflow"
    profile: str = "laptop"
    seed: int = 0
    steps: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    parameters: int | None = None
    n_blocks: int | None = None
    points: int | None = None
    passes: int | None = None

    def __post_init__(self) -> None:
        known = callable(self.dataset) or self.dataset in toy_names
        self._expect("dataset", known, f"one of {', '.join(toy_names)}, or a sampler (n, generator)")
        self._expect("system", self.system in systems, f"one of {', '.join(systems)}")
        self._expect("profile", self.profile in PROFILES, f"one of {', '.join(PROFILES)}")
        own = dict(steps=STEPS[self.system], lr=RATES[self.system])
        self._fill(dict(smoke=SMOKE, laptop=LAPTOP | own, paper=PAPER)[self.profile])
        self._expect_whole(1, "steps", "batch_size", "parameters", "n_blocks")
        self._expect_whole(2, "points", "passes")
        self._expect_whole(0, "seed")
        self._expect_number("lr", 0, 1, "a number between 0 and 1, such as 1e-3")

    def build(self) -> Flow:
        """The flow with its initial parameters, which depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return toy_system(self.system, self.parameters, self.n_blocks)


def train_toy(experiment: ToyExperiment, flow: Flow | None = None) -> tuple[Flow, list[tuple[float, float]]]:
    """Maximum likelihood on fresh points: the flow, and after each step the CPU seconds so far and the loss in nats.

    The loss is what the flow's own training estimator reports. flow: another one in place of the experiment's.
    Raises ResflowError where the loss is not finite.
    """
    generator = torch.Generator().manual_seed(experiment.seed)
    flow, history = (flow or experiment.build()).train(), []
    optimizer = torch.optim.Adam(flow.parameters(), experiment.lr, betas=(0.9, 0.99))
    started = time.process_time()
    flow.initialize_(toy_data(experiment.dataset, experiment.batch_size, generator))
    for step in range(1, experiment.steps + 1):
        rise, fall = step / experiment.steps, (experiment.steps + 1 - step) / experiment.steps
        optimizer.param_groups[0]["lr"] = experiment.lr * min(1.0, rise / WARM_UP, fall / COOL_DOWN)
        loss = -flow.log_prob(toy_data(experiment.dataset, experiment.batch_size, generator), generator).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = clip_grad_norm_(flow.parameters(), CLIP)
        if not math.isfinite(loss.item() + norm.item()):
            raise ResflowError(f"loss {loss.item()}, or its gradient, at step {step}: lower lr ({experiment.lr})")
        optimizer.step()
        update_norms_(flow)
        history.append((time.process_time() - started, loss.item()))
    flow.enforce_()
    return flow.eval(), history


@torch.no_grad()
def point_nats(
    flow: Flow, x: Tensor, estimator: Estimator | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """(n,) log p(x) in nats, float64. estimator: of the residual blocks; None: the model's own for evaluation."""
    with estimating_with(flow, estimator):
        return torch.cat([flow.log_prob(part, generator).double() for part in x.split(2000)])


def run_toy(experiment: ToyExperiment, run_dir: Path | str) -> dict[str, Any]:
    """Train, evaluate, and write run_dir/model.safetensors and ledger.json; the entry. A finished run returns its own.

    nats: mean log p of fresh points, the same for every system and seed, by exact log-determinants; its standard error
    is over the points.  estimated_nats: by the residual blocks' own roulette; estimator_error: what its draws add.
    objective: what the training estimator reports at the same points; the exact value where there is none.
    Raises SettingsError where run_dir holds a run of other settings.
    """
    directory = Path(run_dir)
    directory.mkdir(parents=True, exist_ok=True)
    with sole_writer(directory):
        entry = claim(directory, experiment)
        if entry is None:
            started = time.perf_counter()
            flow, history = train_toy(experiment)
            seconds = dict(cpu_seconds=history[-1][0], wall_seconds=time.perf_counter() - started)
            save_flow(directory / LAST, flow, experiment)
            entry = training_facts(experiment, directory / LAST, World(0, 1, torch.device("cpu")).describe())
            entry |= seconds | _scores(experiment, flow)
            entry["device_hours"] = entry["wall_seconds"] / 3600
            save_entry(entry, directory)
    return entry


def load_toy(path: Path | str) -> tuple[Flow, ToyExperiment]:
    """A flow that run_toy wrote, in evaluation mode, and its settings. Raises DataError for what is no such file."""
    experiment = ToyExperiment.from_parameters(facts_of(Path(path))["experiment"])
    flow = experiment.build()
    flow.load_state_dict(load_file(path))
    return flow.float().eval(), experiment


@torch.no_grad()
def _scores(experiment: ToyExperiment, flow: Flow) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(TEST_SEED)
    x = toy_data(experiment.dataset, experiment.points, generator)
    nats = point_nats(flow, x, Exact())
    scores = dict(
        task="toy",
        split="fresh points",
        selection_rule="last step",
        data_sha256=hashlib.sha256(x.numpy().tobytes()).hexdigest(),
        n_test=len(x),
        parameters=sum(p.numel() for p in flow.parameters()),
        estimator=dict(training="exact", evaluation="exact"),
        nats=float(nats.mean()),
        standard_error=float(nats.std()) / len(x) ** 0.5,
        estimated_nats=None,
        estimator_error=None,
        objective=float(nats.mean()),
        lipschitz_bound=None,
        reconstruction_error=float((flow.decode(flow.bijection.transform(x[:256])) - x[:256]).abs().max()),
    )
    block = next((m for m in flow.modules() if isinstance(m, ResidualBlock)), None)
    if block is None:
        return scores
    passes = torch.stack([point_nats(flow, x, None, generator) for _ in range(experiment.passes)])
    used = dict(training=repr(block.train_estimator), evaluation=repr(per_image(block.eval_estimator)))
    return scores | dict(
        estimator=used | dict(passes=experiment.passes),
        estimated_nats=float(passes.mean()),
        estimator_error=error_bars(passes).noise,
        objective=float(point_nats(flow, x, block.train_estimator, generator).mean()),
        lipschitz_bound=flow.certify().worst[1],
    )
