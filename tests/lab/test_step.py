"""A step of the optimiser: right, and of fixed shape, with nothing read back."""

import pytest
import torch

import resflow_lite as rf
from resflow_lite import incoming
from resflow_lite.errors import ResflowError
from resflow_lite.lab.capture import MOST, Graphs, Reads
from resflow_lite.lab.machine import World
from resflow_lite.lab.stages import begin
from resflow_lite.lab.step import Step, look
from resflow_lite.lab.tasks.density import Density
from resflow_lite.layers.lipschitz import LipschitzLayer
from resflow_lite.layers.orders import LearnedOrder
from resflow_lite.models.flow import bits_per_dim

CPU = World(0, 1, torch.device("cpu"))
STRATIFIED = rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), 1, "stratified"))


@pytest.fixture(autouse=True)
def inputs_as_on_a_gpu(monkeypatch):
    """A CPU looks at the entries of what it is given; a GPU in training does not (incoming.py)."""
    monkeypatch.setattr(incoming, "readable", lambda x: not torch.is_grad_enabled())


@pytest.fixture
def started(small):
    """A task and its state before the first step."""

    def start(**settings):
        experiment = small(**dict(steps=40, train_estimator=STRATIFIED, n_dense=1, blocks=(1, 1)) | settings)
        task = Density(experiment, CPU)
        return task, begin(task)

    return start


@pytest.fixture
def unread(monkeypatch):
    """What a step reads; `tolist` and `numpy` go past every mode on a CPU."""

    def reads(step, monkeypatch=monkeypatch):
        step._draw_()
        with monkeypatch.context() as patch, Reads() as found:
            for name in ("tolist", "numpy"):
                patch.setattr(torch.Tensor, name, lambda self, name=name: found.found.append(name))
            step._gradient_()
            step._update_()
        return found.found

    return reads


# backward_in_forward reads one number by design: whether all samples have one weight
@pytest.mark.parametrize(
    ("gradient", "memory", "precision", "accumulation"),
    [
        ("neumann", "store", "fp32", 2),
        ("neumann", "store", "bf16", 1),
        ("neumann", "recompute", "fp32", 1),
        ("neumann", "recompute", "bf16", 2),
        ("series", "store", "fp32", 1),
        ("series", "store", "bf16", 1),
    ],
)
def test_a_step_reads_nothing_back(started, unread, gradient, memory, precision, accumulation):
    task, state = started(memory=memory, precision=precision, accumulation=accumulation)
    for module in state.flow.modules():
        if isinstance(module, rf.ResidualBlock):
            module.gradient = gradient
    step = Step(task, state)
    for _ in range(3):
        assert unread(step) == []


def test_the_control_variate_reads_nothing_back_either(started, unread):
    estimator = rf.PowerSeries(rf.Roulette(rf.Poisson(2.0), 1, "stratified"), control_variate=True)
    assert unread(Step(*started(train_estimator=estimator, blocks=(2,), n_dense=0))) == []


@pytest.mark.parametrize("read", [torch.Tensor.item, bool, lambda t: t.tolist(), torch.nonzero, lambda t: t[t > 0]])
def test_a_read_in_a_step_is_seen(started, unread, monkeypatch, read):
    task, state = started()
    original = task.loss
    monkeypatch.setattr(task, "loss", lambda *args: (loss := original(*args), read(loss.detach()))[0])
    assert len(unread(Step(task, state))) > 0


@pytest.mark.parametrize("settings", [dict(train_estimator="roulette"), dict(memory="backward_in_forward")])
def test_what_reads_is_seen(started, unread, settings):
    assert unread(Step(*started(**settings)))


def test_two_devices_in_one_operation_are_seen():
    with Reads() as reads:
        torch.ones(2, device="meta") * torch.tensor(3.0)
    assert reads.found == ["aten.mul.Tensor"]


def test_the_same_step_with_the_same_draws_gives_equal_numbers(started):
    found = []
    for _ in range(2):
        task, state = started()
        step = Step(task, state)
        for _ in range(3):
            step()
        found.append([state.seen, *state.flow.parameters(), *state.averaged])
    assert all(torch.equal(a, b) for a, b in zip(*found))


@pytest.mark.parametrize("estimator", [STRATIFIED, "roulette", rf.Truncated(3)], ids=["stratified", "block", "fixed"])
def test_steps_are_those_of_a_loop_that_one_can_read(started, monkeypatch, estimator):
    torch.set_default_dtype(torch.float64)
    estimator = rf.PowerSeries(estimator) if isinstance(estimator, rf.Truncated) else estimator
    settings = dict(train_estimator=estimator, weight_decay=0.1, clip=0.5, ema=0.6)
    (task, state), (_, plain) = started(**settings), started(**settings)
    batch = task.batch
    monkeypatch.setattr(task, "batch", lambda *args: batch(*args).double())
    step, flow, e = Step(task, state), plain.flow, task.experiment
    adam = torch.optim.Adam(flow.parameters(), betas=e.betas, weight_decay=e.weight_decay)
    averaged, total = [p.detach().clone() for p in flow.parameters()], 0.0
    for n in range(1, 6):
        step()
        x = task.batch(n, plain.data)
        if step.stratified:
            plain.draws.hold_()
        loss = bits_per_dim(flow.log_prob(x, plain.draws), flow.event_shape, task.data.n_levels).mean()
        adam.zero_grad()
        loss.backward()
        loss = loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(flow.parameters(), e.clip)
        adam.param_groups[0]["lr"] = e.rate(n) * e.lr
        adam.step()
        rf.update_norms_(flow, e.norm_tolerance)
        d, total = min(e.ema, n / (n + 9)), total + float(loss)
        averaged = [d * a + (1 - d) * p.detach() for a, p in zip(averaged, flow.parameters())]
        assert state.seen.tolist() == pytest.approx([n, float(loss), float(norm), total], rel=1e-10)
    assert look(state) == pytest.approx(total, rel=1e-10)
    for mine, other in zip([*state.flow.parameters(), *state.averaged], [*flow.parameters(), *averaged]):
        assert float((mine - other).detach().abs().max()) < 1e-10


def test_a_penalty_on_norms_is_added_to_the_clipped_gradient_of_orders_alone(started):
    found = {}
    for penalty in (0.0, 0.25):
        task, state = started(norms="learned", norm_penalty=penalty, clip=0.125)
        norms, flow = [m for m in state.flow.modules() if isinstance(m, LipschitzLayer)], state.flow
        orders = [m.logit for m in flow.modules() if isinstance(m, LearnedOrder)]
        mean = sum(layer.sigma() for layer in norms) / len(norms)
        right = torch.stack(torch.autograd.grad(penalty * mean, orders))
        Step(task, state)()
        others = [p.grad for p in flow.parameters() if all(p is not order for order in orders)]
        found[penalty] = torch.stack([order.grad for order in orders]), others, right
    assert all(torch.equal(a, b) for a, b in zip(found[0.0][1], found[0.25][1]))
    difference, (*_, right) = found[0.25][0] - found[0.0][0], found[0.25]
    assert right.abs().min() > 1e-4 and (difference - right).abs().max() < 1e-6


def test_the_first_step_that_went_astray_is_named_whenever_one_looks(started, monkeypatch):
    task, state = started(accumulation=2)
    step, original = Step(task, state), task.loss
    step()
    look(state)
    monkeypatch.setattr(task, "loss", lambda *args: original(*args) / 0)
    step()
    monkeypatch.setattr(task, "loss", original)
    step()
    with pytest.raises(ResflowError, match="the loss became inf at step 2: lower lr"):
        look(state)


# What CUDA does with a step, by an object that stands for it ----------------------------------------------------------


class Recorder:
    """Captures nothing and repeats by calling again; counts. A graph keeps the tensors that it saw at the capture."""

    def __init__(self, step=None, fails=False):
        self.captured, self.replayed, self.aside_runs, self.fails = [], 0, 0, fails

    def aside(self):
        self.aside_runs += 1
        return torch.enable_grad()

    def capture(self, function):
        if self.fails and function.__name__ == "_gradient_":
            function()
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        self.captured.append(function)

        def replay():
            self.replayed += 1
            function()

        return replay


def trained(started, steps, told=None, capture=None, **settings):
    task, state = started(**settings)
    step = Step(task, state, [].append if told is None else told.append, capture)
    for _ in range(steps):
        step()
    return step, state


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_captured_step_is_the_plain_one(started, accumulation):
    """First of a key: plain, and it warms up; second: captured; then replayed. Every number is that of a plain run."""
    told, capture = [], Recorder()
    _, plain = trained(started, 12, accumulation=accumulation)
    step, state = trained(started, 12, told, capture, accumulation=accumulation)
    assert told == [] and state.draws.terms == plain.draws.terms and len(plain.draws.terms) == 12 * 3 * accumulation
    assert all(torch.equal(a, b) for a, b in zip(state.flow.parameters(), plain.flow.parameters()))
    assert torch.equal(state.seen, plain.seen) and torch.equal(state.draws.get_state(), plain.draws.get_state())
    keys = set(step.terms)
    assert len(keys) > 1 and capture.aside_runs == len(keys) + 1  # and one for the update
    assert 1 < len(capture.captured) <= len(keys) + 1
    assert capture.replayed == 2 * 12 - capture.aside_runs


def test_a_key_tells_weights_and_counts(started):
    """A batch of 32 and Geometric(1/2): 16, 8, 4, 2, 1 samples, and on for the last while the quantile says so."""
    step = Step(*started())
    draws, found = step.state.draws, {}
    for quantile in (0.9, 0.6, 0.4, 0.2):
        draws.hold_()
        draws.quantile = quantile
        (key,) = found[quantile] = step._counts()
        assert [count for _, count in key[:6]] == [32, 16, 8, 4, 2, 1] and {n for _, n in key[6:]} <= {1}
    assert found[0.9] == found[0.6] and len({found[q] for q in found}) == 3


def test_batches_are_written_over_the_first_ones(started):
    step, _ = trained(started, 1, [], Recorder())
    (first,) = step.batches
    before = first.clone()
    step()
    assert step.batches[0] is first and not torch.equal(first, before)


def test_a_step_that_reads_runs_plainly_and_says_so_once(started):
    told = []
    step, state = trained(started, 5, told, Recorder(), memory="backward_in_forward")
    _, plain = trained(started, 5, memory="backward_in_forward")
    assert len(told) == 1 and "reads values from the device (aten._local_scalar_dense.default)" in told[0]
    assert all(torch.equal(a, b) for a, b in zip(state.flow.parameters(), plain.flow.parameters()))


def test_a_law_that_draws_for_each_block_runs_plainly_and_says_so_once(started):
    told, capture = [], Recorder()
    trained(started, 3, told, capture, train_estimator="roulette")
    assert len(told) == 1 and 'draws="stratified"' in told[0] and not capture.captured


def test_a_capture_that_fails_leaves_the_plain_step(started):
    told = []
    _, state = trained(started, 6, told, Recorder(fails=True))
    _, plain = trained(started, 6)
    assert state.draws.terms == plain.draws.terms
    assert told == [
        "runs without CUDA graphs, several times slower: the capture failed: operation not permitted when stream is "
        "capturing"
    ]
    assert all(torch.equal(a, b) for a, b in zip(state.flow.parameters(), plain.flow.parameters()))


def test_the_graph_not_used_for_longest_makes_room():
    capture, counts = Recorder(), dict.fromkeys(range(MOST + 1), 0)
    graphs = Graphs(capture, print)

    def run(key):
        graphs.run(key, lambda: counts.update({key: counts[key] + 1}))

    for _ in range(2):
        for key in range(MOST):
            run(key)
    run(0)
    run(MOST)
    run(MOST)  # in place of 1
    made = len(capture.captured)
    run(0)
    assert len(capture.captured) == made
    run(1)
    assert len(capture.captured) == made + 1
    assert counts == {0: 4, 1: 3, **dict.fromkeys(range(2, MOST + 1), 2)}


def test_a_run_that_goes_on_captures_anew(small, monkeypatch, tmp_path):
    """Memory is other memory after a resume: nothing of the old graphs is kept, and the numbers are the same."""
    import resflow_lite.lab.training as training

    made = []

    def recorded(task, state, tell):
        made.append(Recorder())
        return Step(task, state, tell, made[-1])

    whole = rf.fit(small(steps=40, warm_up=0, cool_down=0.0, train_estimator=STRATIFIED), tmp_path / "whole")
    monkeypatch.setattr(training, "Step", recorded)
    for steps in (20, 40):
        run = rf.fit(small(steps=steps, warm_up=0, cool_down=0.0, train_estimator=STRATIFIED), tmp_path / "run")
    assert len(made) == 2 and made[1].captured
    for mine, other in zip(run.flow.parameters(), whole.flow.parameters()):
        assert torch.equal(mine, other)
