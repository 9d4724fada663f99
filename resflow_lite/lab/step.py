"""A step of the optimiser: what is drawn for it on the processor, and then the step, which reads nothing back.

No shape in the step depends on a random number but through the counts of a stratified draw, which are known before it
begins. So a GPU never waits for the processor, and repeats the step as a CUDA graph (capture.py). Loss and gradient are
looked at where a line of the record is written.
"""

import math
import time
from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch.utils._pytree import tree_leaves

from ..errors import ResflowError
from ..estimators.logdet import PowerSeries
from ..estimators.series import Roulette, Truncated
from ..layers.lipschitz import applied_together, update_norms_
from ..layers.penalty import penalise_orders_
from ..layers.residual import residual_blocks
from ..numerics.kernels import fused
from ..numerics.tensor_float import tensor_float
from .capture import CudaCapture, Graphs
from .checkpoints import TrainingState
from .machine import branches_in
from .tasks.task import Task


class Step:
    """Calling it does one step of the task's training and changes the state.

    tell: is told once, in words, where a GPU cannot hold the step in graphs, or has no Triton.  capture: how graphs are
    made, None: by CudaCapture on a GPU, and no graphs elsewhere.
    """

    def __init__(
        self, task: Task, state: TrainingState, tell: Callable[[str], None] = lambda told: None, capture: Any = None
    ) -> None:
        self.task, self.state = task, state
        self.parameters = list(state.flow.parameters())
        self.blocks = list(residual_blocks(state.flow).values())
        device, each = task.world.device, task.experiment.accumulation
        self.parts = task.world.size * each
        self.mine = range(task.world.rank * each, (task.world.rank + 1) * each)
        self.stratified = any(_stratified(block.train_estimator) for block in self.blocks)
        self.batches: list[Any] = []
        self.loss = torch.zeros((), device=device)
        on_gpu = device.type == "cuda"
        self.sources = [torch.Generator(device) if on_gpu else None for _ in self.mine]
        capture = CudaCapture(self.sources) if on_gpu and capture is None else capture
        self.graphs = None if capture is None else Graphs(capture, tell)
        self.terms: dict[Hashable, list[float]] = {}
        if self.graphs and (why := self._random_shapes()):
            self.graphs.give_up(why)
        if on_gpu and not fused(self.loss):
            tell("runs in plain torch, slower than by kernels of its own: Triton or its C compiler is missing")

    def __call__(self) -> None:
        started = time.process_time()
        try:
            self._step_()
        except RuntimeError:
            look(self.state)  # a number that went astray may be the cause
            raise
        self.state.cpu_seconds += time.process_time() - started

    def _step_(self) -> None:
        state, experiment, key = self.state, self.task.experiment, self._draw_()
        self._run(key, self._gradient_)
        state.draws.terms.extend(self.terms[key])
        self.task.world.sum_(*(p.grad for p in self.parameters if p.grad is not None), self.loss)
        self._run("update", self._update_)
        state.step += 1
        state.since += 1
        with torch.no_grad():  # averaged <- decay averaged + (1 - decay) parameters
            decay = min(experiment.ema, state.step / (state.step + 9))
            torch._foreach_lerp_(state.averaged, self.parameters, 1 - decay)

    def _run(self, key: Hashable, function: Callable[[], None]) -> None:
        function() if self.graphs is None else self.graphs.run(key, function)

    # before the step: numbers of the processor, and copies to the device ---------------------------------------------

    def _draw_(self) -> Hashable:
        """The learning rate, the batch and all that is random about its estimates; returned is what decides shapes."""
        state, experiment, step = self.state, self.task.experiment, self.state.step + 1
        for group in state.optimizer.param_groups:
            group["lr"].fill_(experiment.rate(step) * group["peak"])
        before, batches = state.data.get_state(), []
        for part in self.mine:
            state.data.set_state(before)  # every part draws for the whole batch
            state.data.part, state.data.parts = part, self.parts
            batches.append(self.task.batch(step, state.data))
        if self.graphs is None or not self.batches:
            self.batches = batches
        else:
            for static, new in zip(tree_leaves(self.batches), tree_leaves(batches), strict=True):
                static.copy_(new)
        if self.stratified:
            state.draws.hold_()
        self._seed_()
        self.before, self.key = state.draws.get_state(), self._counts()
        return self.key

    def _seed_(self) -> None:
        """On a GPU one seed for all that a step draws there; each part draws for the whole batch."""
        if any(self.sources):
            seed = int(torch.randint(2**62, (), generator=self.state.draws))
            for source in self.sources:
                source.manual_seed(seed)

    def _counts(self) -> Hashable:
        """The terms of every part with their weights and their numbers of samples, where they are held for a step."""
        draws, rows, found = self.state.draws, self.task.experiment.batch_size // self.parts, []
        if not self.stratified:
            return ()
        for part in self.mine:
            draws.part, draws.parts = part, self.parts
            terms = [block.estimator.terms for block in self.blocks if _stratified(block.estimator)]
            for different in (t for i, t in enumerate(terms) if t not in terms[:i]):
                drawn = different.draw(rows, draws)
                found.append(tuple(pair for pair in zip(drawn, drawn.counts) if pair[1]))
        return tuple(found)

    def _random_shapes(self) -> str | None:
        """Why shapes depend on further random numbers, if they do."""
        for block in self.blocks:
            estimator = block.train_estimator
            terms = getattr(estimator, "terms", None)
            fixed = isinstance(terms, Truncated) or isinstance(terms, Roulette) and terms.draws == "stratified"
            if not (isinstance(estimator, PowerSeries) and fixed):
                return f'the draws of {estimator!r} decide shapes; those of a Roulette with draws="stratified" do not'
        return None

    # the step: nothing in it is read back -----------------------------------------------------------------------------

    def _gradient_(self) -> None:
        """This process's part of a batch's mean loss, and of its gradient."""
        draws = self.state.draws
        told, draws.terms = draws.terms, []
        try:
            self.state.optimizer.zero_grad(set_to_none=False)
            self.loss.zero_()
            for part, batch, source in zip(self.mine, self.batches, self.sources):
                draws.set_state(self.before)
                draws.part, draws.parts, draws.source = part, self.parts, source
                self._backward_(batch)
            self.terms[self.key] = draws.terms
        finally:  # a capture may fail half-way, and the plain step follows
            draws.terms = told

    def _backward_(self, batch: Any) -> None:
        flow, precision = self.state.flow, self.task.experiment.precision
        with branches_in(precision, self.task.world.device), applied_together(flow):
            loss = self.task.loss(flow, batch, self.state.draws) / self.parts
        learned = [p for p in self.parameters if p.requires_grad]
        found = zip(learned, torch.autograd.grad(loss, learned, allow_unused=True))
        reached = [(p, gradient) for p, gradient in found if gradient is not None]
        for parameter, gradient in reached:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)  # in its strides, which Adam takes for granted
        # all at once: backward() adds one by one, hundreds of kernels on a GPU
        torch._foreach_add_([p.grad for p, _ in reached], [gradient for _, gradient in reached])
        self.loss += loss.detach()

    def _update_(self) -> None:
        """Adam with the clipped gradient, then every layer's norm."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.task.experiment.clip)
        if self.task.experiment.norm_penalty:
            penalise_orders_(self.state.flow, self.task.experiment.norm_penalty)
        seen = self.state.seen  # of the last step, or of the first that was not finite
        now = torch.stack([seen[0] + 1, self.loss.to(seen), norm.to(seen)])
        seen[:3] = torch.where(seen[1:3].isfinite().all(), now, seen[:3])
        seen[3] += self.loss
        self.state.optimizer.step()
        with tensor_float(False):
            update_norms_(self.state.flow, self.task.experiment.norm_tolerance)


def look(state: TrainingState) -> float:
    """Read what the steps have left on the device: the sum of the losses since the last line of the record.

    Raises ResflowError where a loss or a gradient was not finite, with the first step that had one.
    """
    step, loss, norm, total = state.seen.tolist()
    lr = state.optimizer.param_groups[0]["peak"]
    for name, value in (("loss", loss), ("norm of the gradient", norm)):
        if not math.isfinite(value):
            raise ResflowError(f"the {name} became {value} at step {step:.0f}: lower lr ({lr}), in a new folder")
    return total


def _stratified(estimator: Any) -> bool:
    return getattr(getattr(estimator, "terms", None), "draws", None) == "stratified"
