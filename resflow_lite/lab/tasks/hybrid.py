"""Hybrid models: one network for p(x) and p(y | x), from settings to a ledger entry."""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from tqdm.auto import tqdm

from ...errors import ResflowError
from ...layers.lipschitz import update_norms_
from ...layers.residual import ResidualBlock
from ...models.dequantize import uniform_dequantize
from ...models.hybrid import HybridFlow, hybrid_flow, hybrid_kinds
from ...models.systems import with_budget
from ...numerics.tensor_float import tensor_float
from ..checkpoints import copy_parameters_, save_flow, write_whole
from ..claims import claim
from ..data.images import Images, load_images
from ..data.sources import IMAGE_SETS
from ..interruption import sole_writer
from ..ledger import save_entry, training_facts
from ..machine import World, connect
from ..runs import LAST, RECORD
from ..training import CLIP
from .hybrid_scores import score_hybrid, summary
from .profiles import PROFILES
from .task import TaskSettings

__all__ = ["HybridExperiment", "hybrid_weights", "run_hybrid"]

SHAPES = {"digits": (1, 8, 8)}
SHAPES |= {name: IMAGE_SETS[name].shape for name in ("mnist", "fashion_mnist", "cifar10", "svhn")}
"""The sets with labels, of ten classes each."""
N_CLASSES = 10
START = 500
"""Images whose statistics the model starts from."""

WARM_UP, COOL_DOWN = 0.1, 0.3
"""Fractions of the steps in which the learning rate rises from 0, and falls to 0."""

SMOKE = dict(steps=10, batch_size=32, lr=4e-3, ema=0.9, blocks=(1, 1), parameters=12_000, head_width=16)
LAPTOP = dict(steps=1000, batch_size=32, lr=1e-2, ema=0.99, blocks=(1, 4, 4), parameters=80_000, head_width=64)
# the rate: of 4e-3 and 1e-2 the better one for residual and for coupling blocks, one seed each
DIGITS = LAPTOP | dict(steps=300, batch_size=64, blocks=(2, 4))
# blocks, rate, batch and EMA as those of the paper's densities, 256 channels in each head; its steps we do not know
PAPER = dict(steps=200_000, batch_size=64, lr=1e-3, ema=0.999, blocks=(16, 16, 16), head_width=256)
PAPER_PARAMETERS = {1: 15_900_000, 3: 22_500_000}
"""By channels of the image: about what residual blocks of width 512 have."""


def hybrid_weights(dataset: str) -> dict[str, float]:
    """The paper's three lambdas, by name: a classifier alone, one label worth one dimension, the joint likelihood."""
    return {"0": 0.0, "1/D": 1 / math.prod(SHAPES[dataset]), "1": 1.0}


@dataclass(frozen=True)
class HybridExperiment(TaskSettings):
    """What to train, on what, for how long. A value of None takes the profile's.

    dataset: one that has labels: digits, mnist, fashion_mnist, cifar10 or svhn.  kind: of the blocks (rf.hybrid_kinds).
    weight: lambda in lambda log p(x) + log p(y | x); None: 1/D, such as 1/64 = 0.015625 for digits.
    profile: "smoke" (seconds), "laptop" (a minute on digits), "paper" (a GPU).  seed: of weights, batches and noise.
    lr: of Adam, the largest of its schedule.  ema: decay of the averaged weights, which are reported.
    blocks: per scale.  parameters: of the whole model; the width follows.  head_width: channels of a head.

    Raises SettingsError for a wrong value, with its name.
    """

    dataset: str = "digits"
    kind: str = "residual"
    weight: float | None = None
    profile: str = "laptop"
    seed: int = 0
    steps: int | None = None
    batch_size: int | None = None
    lr: float | None = None
    ema: float | None = None
    blocks: tuple[int, ...] | None = None
    parameters: int | None = None
    head_width: int | None = None

    def __post_init__(self) -> None:
        self._expect("dataset", isinstance(self.dataset, str) and self.dataset in SHAPES, f"one of {', '.join(SHAPES)}")
        self._expect("kind", self.kind in hybrid_kinds, f"one of {', '.join(hybrid_kinds)}")
        self._expect("profile", self.profile in PROFILES, f"one of {', '.join(PROFILES)}")
        self._expect("profile", (self.dataset, self.profile) != ("digits", "paper"), "'smoke' or 'laptop' for digits")
        self._fill(_profile(self.dataset, self.profile) | dict(weight=hybrid_weights(self.dataset)["1/D"]))
        if isinstance(self.blocks, list):
            object.__setattr__(self, "blocks", tuple(self.blocks))
        self._expect_whole(1, "steps", "batch_size", "parameters", "head_width")
        self._expect_whole(0, "seed")
        below = math.nextafter(0, -1)
        self._expect_number("weight", below, math.inf, "a number, 0 or more, such as 0, 1/D or 1")
        self._expect_number("lr", 0, 1, "a number between 0 and 1, such as 1e-3")
        self._expect_number("ema", below, 1, "a number from 0 to below 1")
        good = isinstance(self.blocks, tuple) and len(self.blocks) > 0
        good = good and all(isinstance(n, int) and n >= 1 for n in self.blocks)
        self._expect("blocks", good, "blocks per scale, such as [4, 4]")

    def build(self, shape: tuple[int, int, int]) -> HybridFlow:
        """The model with its initial parameters, which depend on the seed alone."""

        def of_width(width: int) -> HybridFlow:
            return hybrid_flow(shape, N_CLASSES, self.blocks, width, self.kind, self.head_width)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            flow = with_budget(of_width, self.parameters)
        for block in flow.modules():
            if isinstance(block, ResidualBlock) and self.profile != "paper":
                block.memory = "store"  # faster, and these models are small
        return flow


def _profile(dataset: str, profile: str) -> dict[str, Any]:
    if profile == "paper":
        return PAPER | dict(parameters=PAPER_PARAMETERS[SHAPES[dataset][0]])
    return SMOKE if profile == "smoke" else DIGITS if dataset == "digits" else LAPTOP


def run_hybrid(experiment: HybridExperiment, run_dir: Path | str) -> dict[str, Any]:
    """Train a hybrid model, score it on all test images, and return its ledger entry.

    run_dir then holds experiment.json, training.jsonl, model.safetensors and, written last, ledger.json. A run that is
    finished there is returned as it is; one that was interrupted begins again. Reported are the averaged weights of the
    last step, scaled, if need be, until every residual block is proven invertible.

    Raises SettingsError where run_dir holds a run of other settings or another process trains there, ResflowError where
    the loss becomes infinite.
    """
    directory, world = Path(run_dir), connect()
    directory.mkdir(parents=True, exist_ok=True)
    with sole_writer(directory), tensor_float(False):
        entry = claim(directory, experiment)
        if entry is None:
            started, cpu = time.perf_counter(), time.process_time()
            flow = _train(experiment, directory, world)
            seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
            save_flow(directory / LAST, flow, experiment, step=experiment.steps, hardware=world.describe())
            entry = _entry(experiment, flow.eval(), directory, world) | dict(wall_seconds=seconds, cpu_seconds=cpu)
            entry["device_hours"] = seconds / 3600
            save_entry(entry, directory)
    return entry


def _train(experiment: HybridExperiment, directory: Path, world: World) -> HybridFlow:
    """Adam on minus the objective, over 1 + weight * D, the number of its terms, one for each pixel that counts and one
    for the label: gradients then have one size for all weights."""
    train, generator = load_images(experiment.dataset, "train"), torch.Generator().manual_seed(experiment.seed)
    flow = experiment.build(SHAPES[experiment.dataset]).to(world.device)
    spread = torch.linspace(0, len(train.images) - 1, min(START, len(train.images))).long()
    flow.initialize_(_batch(train, spread, generator).to(world.device))
    parameters = list(flow.parameters())
    averaged = [p.detach().clone() for p in parameters]
    optimizer = torch.optim.Adam(parameters, experiment.lr, betas=(0.9, 0.99))
    n_terms, lines, every = 1 + experiment.weight * math.prod(flow.event_shape), [], max(1, experiment.steps // 20)
    for step in tqdm(range(1, experiment.steps + 1), unit="step", leave=False, disable=None):
        rise, fall = step / experiment.steps, (experiment.steps + 1 - step) / experiment.steps
        optimizer.param_groups[0]["lr"] = experiment.lr * min(1.0, rise / WARM_UP, fall / COOL_DOWN)
        chosen = torch.randint(len(train.images), (experiment.batch_size,), generator=generator)
        x, labels = _batch(train, chosen, generator).to(world.device), train.labels[chosen].to(world.device)
        loss = -flow.objective(x, labels, experiment.weight, generator).mean() / n_terms
        optimizer.zero_grad()
        loss.backward()
        norm = clip_grad_norm_(parameters, CLIP)
        if not torch.isfinite(loss + norm):
            raise ResflowError(
                f"loss {float(loss.detach())}, gradient {float(norm)} at step {step}: lower lr ({experiment.lr})"
            )
        optimizer.step()
        update_norms_(flow)
        with torch.no_grad():
            torch._foreach_lerp_(averaged, parameters, 1 - min(experiment.ema, step / (step + 9)))
        if step % every == 0:
            lines.append(json.dumps(dict(step=step, loss=float(loss.detach()))) + "\n")
            write_whole(directory / RECORD, "".join(lines).encode())
    copy_parameters_(flow, averaged)
    update_norms_(flow, tol=1e-5)
    flow.enforce_()
    flow.measure_contraction_(x)
    return flow


def _batch(data: Images, chosen: Tensor, generator: torch.Generator) -> Tensor:
    return uniform_dequantize(data.images[chosen], data.n_levels, generator)


def _entry(experiment: HybridExperiment, flow: HybridFlow, directory: Path, world: World) -> dict[str, Any]:
    """The ledger entry without the times."""
    test = load_images(experiment.dataset, "test")
    found = score_hybrid(flow, test, with_density=experiment.weight > 0)
    blocks = [block for block in flow.modules() if isinstance(block, ResidualBlock)]
    x = _batch(test, torch.arange(64), torch.Generator().manual_seed(1)).to(world.device)
    with torch.no_grad():
        error = float((flow.decode(flow.bijection.transform(x)) - x).abs().max())
    entry = training_facts(experiment, directory / LAST, world.describe()) | dict(
        task="hybrid",
        data_sha256=test.sha256(),
        split="test",
        preprocessing="uniform dequantisation",
        n_test=len(test.images),
        parameters=sum(p.numel() for p in flow.parameters()),
        selection_rule="last step, averaged weights",
        estimator=dict(training="exact", evaluation="exact", passes=1),
        ema=experiment.ema,
        lipschitz_bound=flow.certify().worst[1] if blocks else None,
        reconstruction_error=error,
        **summary(found, test.labels),
    )
    if blocks:
        entry["estimator"] |= dict(training=repr(blocks[0].train_estimator), evaluation=repr(blocks[0].eval_estimator))
    return entry
