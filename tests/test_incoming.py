"""Batches: a number that is right, or a sentence. What every entry of the paper's part accepts is tested at each."""

import math

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

import resflow_lite as rf
from resflow_lite import incoming

VERBS = ("log_prob", "encode", "decode", "initialize_", "measure_contraction_", "forward")


def plane_flow():
    flow = rf.toy_flow(n_blocks=1, hidden=(4,)).float()
    flow.initialize_(torch.randn(8, 2, dtype=torch.float32))
    return flow


def image_flow(**settings):
    flow = rf.image_flow(rf.ImageModel((1, 4, 4), blocks=(1, 1), width=4, n_dense=1, dense_width=4, **settings)).float()
    flow.initialize_(torch.rand(8, 1, 4, 4, dtype=torch.float32))
    return flow


NO_BATCH = {
    "a list": ([[1.0, 2.0]], "as_tensor"),
    "None": (None, "x=None|z=None"),
    "an array": (np.zeros((3, 2)), r"ndarray of shape \(3, 2\)"),
    "sparse": (torch.eye(2).float().to_sparse(), "to_dense"),
    "integers": (torch.zeros(3, 2, dtype=torch.int64), "int64.*uniform_dequantize"),
    "complex": (torch.zeros(3, 2, dtype=torch.complex64), "complex64"),
    "float16": (torch.zeros(3, 2, dtype=torch.float16), "float16: expected torch.float32"),
    "bfloat16": (torch.zeros(3, 2, dtype=torch.bfloat16), "bfloat16: expected torch.float32"),
    "float64": (torch.zeros(3, 2, dtype=torch.float64), "float64: expected torch.float32"),
    "wider": (torch.zeros(3, 3, dtype=torch.float32), r"\(3, 3\).*\(batch, 2\)"),
    "a number": (torch.tensor(1.0, dtype=torch.float32), r"\(batch, 2\)"),
    "no values": (torch.zeros(3, 2, dtype=torch.float32, device="meta"), r"on meta.*to\('cpu'\)"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("kind", NO_BATCH)
def test_what_is_no_batch_of_events_is_refused(verb, kind):
    given, says = NO_BATCH[kind]
    with pytest.raises(rf.SettingsError, match=says):
        getattr(plane_flow(), verb)(given)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("gradients", [True, False])
def test_one_entry_that_is_no_number_is_refused(verb, value, gradients):
    flow, x = plane_flow(), torch.zeros(5, 2, dtype=torch.float32)
    before = flow.log_prob(x, torch.Generator().manual_seed(0))
    x[3, 1] = value
    with torch.set_grad_enabled(gradients), pytest.raises(rf.DataError, match="1 entries of 10"):
        getattr(flow, verb)(x)
    x[3, 1] = 0
    assert torch.equal(flow.log_prob(x, torch.Generator().manual_seed(0)), before)


@pytest.mark.parametrize(
    "settings",
    [{}, dict(alpha=0.05), dict(squeeze_first=True), dict(padding=1)],
    ids=["plain", "alpha", "squeeze", "pad"],
)
def test_pixels_beyond_where_the_logit_has_a_value_are_refused(settings):
    if settings.get("squeeze_first"):
        settings = settings | dict(factor_out=False)
    flow, x = image_flow(**settings), torch.rand(3, 1, 4, 4, dtype=torch.float32)
    for wrong in (255 * x, x + 1, -x, 2 * x - 1):
        wrong[0, 0, 0, 0] = wrong.abs().max() if wrong.max() > 1 else -1.0
        with pytest.raises(rf.DataError, match="expected all from -.*uniform_dequantize"):
            flow.log_prob(wrong)
    assert flow.log_prob(x).isfinite().all()


def test_both_ends_of_the_pixels_and_a_flow_s_own_samples_are_events():
    for alpha in (1e-6, 0.05):
        flow = image_flow(alpha=alpha)
        assert flow.log_prob(torch.ones(1, 1, 4, 4, dtype=torch.float32)).isfinite().all()
        assert flow.log_prob(torch.zeros(1, 1, 4, 4, dtype=torch.float32)).isfinite().all()
        with torch.no_grad():
            samples = flow.sample(64, torch.Generator().manual_seed(0), temperature=3.0)
            assert flow.log_prob(samples).isfinite().all()


@pytest.mark.parametrize(
    "estimator",
    [rf.Exact(), rf.Krylov(), *(rf.PowerSeries(rf.Roulette(draws=way)) for way in ("block", "sample", "stratified"))],
)
@pytest.mark.parametrize("gradients", [True, False])
def test_of_no_events_there_are_no_results(estimator, gradients):
    plane = rf.toy_flow(1, (4,), train_estimator=estimator)
    image = rf.image_flow(rf.ImageModel((1, 4, 4), (1, 1), 4, 1, 4, train_estimator=estimator))
    with torch.set_grad_enabled(gradients):
        for flow in (plane, image, rf.systems["glow"].toy(1, 4), rf.systems["ffjord"].toy(1, 4)):
            none = torch.zeros(0, *flow.event_shape)
            assert flow.log_prob(none).shape == (0,) and flow.sample(0).shape == none.shape
            assert flow.decode(torch.zeros(0, *flow.latent_shape)).shape == none.shape
        assert rf.log_det(torch.sin, torch.zeros(0, 2), estimator).value.shape == (0,)
    for verb in ("initialize_", "measure_contraction_"):
        with pytest.raises(rf.DataError, match="0 events: expected 1 or more"):
            getattr(plane, verb)(torch.zeros(0, 2))


def test_a_model_in_half_precision_is_refused_with_what_to_do():
    x = torch.zeros(2, 2, dtype=torch.float32)
    for flow in (plane_flow().half(), plane_flow().bfloat16()):
        for use in (
            lambda flow=flow: flow(x),
            lambda flow=flow: flow.sample(2),
            lambda flow=flow: flow.half()(x.half()),
        ):
            with pytest.raises(rf.SettingsError, match=r"float\(\).*autocast"):
                use()


def test_less_precise_events_than_the_model_are_taken_as_they_are():
    flow, x = plane_flow(), torch.randn(3, 2, dtype=torch.float32)
    exact = flow.double().log_prob(x.double(), torch.Generator().manual_seed(0))
    assert torch.equal(flow.log_prob(x, torch.Generator().manual_seed(0)), exact)


def test_a_flow_is_called_like_any_module():
    flow, x, seen = plane_flow(), torch.randn(3, 2, dtype=torch.float32), []
    flow.register_forward_hook(lambda module, given, found: seen.append(found))
    value = flow(x, torch.Generator().manual_seed(0))
    assert seen[0] is value and torch.equal(value, flow.log_prob(x, torch.Generator().manual_seed(0)))
    compiled = torch.compile(flow, backend="eager")
    assert torch.allclose(compiled(x, torch.Generator().manual_seed(0)), value)


def test_torch_func_is_refused_by_one_gradient_and_right_with_the_other():
    plane, x = plane_flow(), torch.randn(3, 2, dtype=torch.float32)
    with pytest.raises(rf.SettingsError, match='gradient="series"'):
        torch.func.grad(lambda x: plane.log_prob(x).sum())(x)
    flow = rf.toy_flow(1, (4,), train_estimator=rf.Exact(), gradient="series").float()
    flow.initialize_(x)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(flow.log_prob(leaf).sum(), leaf)
    assert torch.allclose(torch.func.grad(lambda x: flow.log_prob(x).sum())(x), expected, atol=1e-5)
    values = torch.func.vmap(lambda x: flow.log_prob(x[None])[0])(x)
    assert torch.allclose(values, flow.log_prob(x), atol=1e-5)


def test_levels_are_whole_numbers_of_one_set():
    levels = torch.arange(17)
    for wrong, says in (
        (levels - 3, "levels holds -3 to 13: expected integers from 0 to 16"),
        (levels + 300, "316"),
    ):
        with pytest.raises(rf.DataError, match=says):
            rf.uniform_dequantize(wrong, 17)
    for wrong in (levels / 17, levels.to(torch.complex64), levels.numpy(), levels > 3, list(levels), None):
        with pytest.raises(rf.SettingsError, match="levels"):
            rf.uniform_dequantize(wrong, 17)
    dequantizer = rf.VariationalDequantizer((1, 4, 4), n_blocks=1, width=4)
    for wrong, error in (
        (torch.zeros(2, 1, 4, 8, dtype=torch.uint8), rf.SettingsError),
        (torch.rand(2, 1, 4, 4), rf.SettingsError),
        (torch.full((2, 1, 4, 4), 17), rf.DataError),
    ):
        with pytest.raises(error, match="levels"):
            dequantizer(wrong, 17)
    assert rf.uniform_dequantize(torch.zeros(0, 1, 4, 4, dtype=torch.uint8), 17).shape == (0, 1, 4, 4)


def test_labels_are_classes():
    flow, x = rf.hybrid_flow((1, 4, 4), 3, (1,), 4, head_width=4), torch.randn(4, 1, 4, 4)
    flow.initialize_(x)
    for wrong in ([-100, 0, 1, 2], [-1, 0, 1, 2], [0, 1, 2, 3]):
        with pytest.raises(rf.DataError, match="labels holds"):
            flow.objective(x, torch.tensor(wrong), 0.5)
    for wrong in (
        torch.zeros(4),
        [0, 1, 2, 0],
        torch.zeros(4, 1, dtype=torch.int64),
        torch.zeros(3, dtype=torch.int64),
    ):
        with pytest.raises(rf.SettingsError, match="labels"):
            flow.objective(x, wrong, 0.5)
    with pytest.raises(rf.SettingsError, match=r"\(batch, 1, 4, 4\)"):
        flow.logits(torch.randn(4, 1, 8, 8))
    labels = torch.tensor([0, 1, 2, 1])
    values = [flow.objective(x, labels.to(dtype), 0) for dtype in (torch.int64, torch.int32, torch.uint8)]
    assert all(torch.equal(value, values[0]) for value in values)


def test_layers_refuse_events_of_another_shape():
    for layer, x in (
        (rf.ActNorm(2), torch.zeros(3, 1)),  # broadcasting would make two of one
        (rf.InvertibleLinear(2), torch.zeros(3, 1)),
        (rf.Flatten((2, 3)), torch.zeros(3, 3, 2)),
    ):
        with pytest.raises(rf.SettingsError, match=type(layer).__name__):
            layer(x)
    for layer, y in (
        (rf.ActNorm(2), torch.zeros(3, 1)),
        (rf.InvertibleLinear(2), torch.zeros(3, 1)),
        (rf.Flatten((2, 3)), torch.zeros(3, 4)),
        (rf.Squeeze(), torch.zeros(2, 3, 4, 4)),
        (rf.FactorOut(rf.Flatten((1, 2, 2)), (1, 2, 2)), torch.zeros(3, 4)),
    ):
        with pytest.raises(rf.SettingsError, match=type(layer).__name__):
            layer.inverse(y)


@pytest.mark.parametrize("size", [1e19, 1e30, 3e37])
def test_large_values_are_solved_or_refused(size):
    """Squares of float32 end at 1e38: a tolerance from their mean was infinite, and any point a solution."""
    torch.set_default_dtype(torch.float32)
    block, y = rf.ResidualBlock(torch.nn.Linear(2, 2)), torch.full((3, 2), size)
    with torch.no_grad():
        block.branch.weight.copy_(0.5 * torch.eye(2))
    try:
        x = block.inverse(y)
    except rf.InverseError:
        return
    assert (block.transform(x) / size - 1).abs().max() < 1e-4


def double(x):
    return 2 * x


@pytest.mark.parametrize("terms", [rf.Truncated(3), rf.Truncated(20), rf.Roulette(), rf.Roulette(n_exact=20)], ids=str)
def test_a_function_that_expands_has_no_series(terms):
    x = torch.randn(3, 2)
    with pytest.raises(rf.NotContractiveError, match="grow by 2.000"):
        rf.log_det(double, x, rf.PowerSeries(terms))
    for estimator in (rf.Exact(), rf.Krylov(2)):
        assert torch.allclose(rf.log_det(double, x, estimator).value, torch.tensor(2 * math.log(3)))
    for branch in (double, lambda x: 1.5 * x):
        for block in (rf.ResidualBlock(branch, rf.PowerSeries(terms), rf.PowerSeries(terms)),):
            for use in (block, block.train(False)):
                with pytest.raises(rf.NotContractiveError, match="no contraction"):
                    use(x)


def test_a_plain_branch_is_looked_at_once_and_draws_nothing_by_it():
    calls = []

    def dropped(x):
        calls.append(x)
        return torch.nn.functional.dropout(0.3 * x, 0.5)

    x, found = torch.randn(3, 2), []
    block = rf.ResidualBlock(dropped, rf.PowerSeries(rf.Truncated(2)))
    for _ in range(2):
        torch.manual_seed(0)
        found.append(block(x, torch.Generator().manual_seed(0)))
    assert all(torch.equal(a, b) for a, b in zip(*found)) and len(calls) == 3


@pytest.mark.parametrize("inputs", ["plain", "a leaf", "a result"])
@pytest.mark.parametrize("verb", ["forward", "transform", "inverse"])
def test_a_branch_that_writes_into_its_input_is_refused(verb, inputs):
    x = torch.randn(3, 2)
    x = x if inputs == "plain" else x.requires_grad_() if inputs == "a leaf" else 1 * x.requires_grad_()
    block = rf.ResidualBlock(lambda x: x.mul_(0.5), rf.Exact())
    with pytest.raises(rf.SettingsError, match="writes into its input"):
        getattr(block, verb)(x)


@pytest.mark.parametrize("verb", ["forward", "transform", "inverse"])
def test_a_branch_of_another_shape_is_refused_where_broadcasting_would_take_it(verb):
    block = rf.ResidualBlock(lambda x: 0.5 * x[:, :1], rf.Exact())
    with pytest.raises(rf.SettingsError, match="equal shapes"):
        getattr(block, verb)(torch.randn(3, 2))
    flow = rf.ContinuousFlow(torch.nn.Module())
    flow.velocity.forward = lambda t, z: z[:, :1]
    with pytest.raises(rf.SettingsError, match="velocity maps"):
        flow.transform(torch.randn(3, 2))


@pytest.mark.parametrize(
    "net", [torch.nn.Linear(5, 2), torch.nn.Linear(1, 3), lambda x: torch.zeros(1, 2), lambda x: None]
)
def test_the_net_of_a_coupling_answers_for_every_entry(net):
    layer = rf.AffineCoupling(net)
    for use in (layer, layer.inverse):
        with pytest.raises(rf.SettingsError, match="the net of AffineCoupling"):
            use(torch.randn(3, 2))


def test_a_layer_whose_weight_hangs_on_a_hook_is_refused_and_a_parametrized_one_is_right():
    branch = rf.LipschitzBranch([rf.LipschitzLinear(2, 4), rf.LipSwish(), rf.LipschitzLinear(4, 2)])
    block, x = rf.ResidualBlock(branch), torch.randn(3, 2)
    prune.l1_unstructured(branch.steps[0], "weight", amount=0.5)
    with pytest.raises(rf.SettingsError, match=r"prune.remove\(layer, 'weight'\)"):
        block(x)
    prune.remove(branch.steps[0], "weight")
    block(x)[1].sum().backward()
    assert (branch.steps[0].weight == 0).sum() == 4 and branch.steps[0].weight.grad.any()


def test_other_ways_to_trace_a_flow_are_refused_with_the_one_that_works():
    flow, x = plane_flow(), torch.randn(3, 2, dtype=torch.float32)
    with pytest.raises(rf.SettingsError, match="torch.compile"):
        torch.jit.script(flow.bijection)
    with pytest.raises(rf.SettingsError, match="torch.compile"):
        torch.jit.trace(flow, x)
    with torch.no_grad(), pytest.raises(rf.SettingsError, match="torch.func.vmap"):
        torch.func.vmap(lambda x: flow.log_prob(x[None])[0], randomness="different")(x)
    with torch.device("meta"):
        nowhere = rf.toy_flow(1, (4,))
    with pytest.raises(rf.SettingsError, match="on meta"):
        nowhere.log_prob(torch.zeros(2, 2, device="meta"))


def test_weights_of_another_model_are_refused():
    flow = plane_flow()
    kept = flow.state_dict()
    missing = {name: t for name, t in kept.items() if not name.endswith("steps.0.weight")}
    for wrong in (missing, kept | {"more": torch.zeros(2)}, rf.toy_flow(1, (5,)).state_dict(), None, []):
        with pytest.raises(rf.SettingsError, match="not of this model"):
            flow.load_state_dict(wrong)
    assert flow.load_state_dict(missing, strict=False).missing_keys == ["bijection.layers.1.branch.steps.0.weight"]


def test_events_whose_squares_are_too_large_start_no_actnorm():
    flow = plane_flow()
    with pytest.raises(rf.DataError, match="the variance of x"):
        flow.initialize_(torch.tensor([[1e20, 0], [-1e20, 0]], dtype=torch.float32))
    assert flow.log_prob(torch.zeros(1, 2, dtype=torch.float32)).isfinite().all()


def test_weights_of_another_precision_leave_the_model_in_its_own():
    """The kept vectors were of the file's, and the next update ended in an error of another library."""
    flow, kept = rf.toy_flow(n_blocks=1, hidden=(4,)), plane_flow().state_dict()
    flow.load_state_dict(kept)
    assert {t.dtype for t in flow.state_dict().values() if t.is_floating_point()} == {torch.float64}
    rf.update_norms_(flow)
    assert flow.log_prob(torch.zeros(2, 2)).isfinite().all()


def test_data_parallel_calls_a_flow_like_a_module():
    flow, x = plane_flow(), torch.randn(3, 2, dtype=torch.float32)
    values = torch.nn.DataParallel(flow)(x, torch.Generator().manual_seed(0))
    assert torch.equal(values, flow.log_prob(x, torch.Generator().manual_seed(0)))


def test_own_samplers_give_points_of_the_plane():
    with pytest.raises(rf.SettingsError, match=r"\(4, 3\)"):
        rf.toy_data(lambda n, generator: torch.zeros(n, 3), 4)


def test_checks_ask_for_points():
    for x in (None, torch.zeros(3, 2, dtype=torch.int64)):
        with pytest.raises(rf.SettingsError, match="x"):
            rf.check_bijection(rf.ActNorm(2), x)
    for x in (torch.zeros(0, 2), torch.full((3, 2), math.nan)):
        with pytest.raises(rf.DataError):
            rf.check_bijection(rf.ActNorm(2), x)


class Device(torch.Tensor):
    """Stands for a tensor on an accelerator, where a look at a value costs a wait."""

    device = torch.device("cuda")

    def aminmax(self):
        raise AssertionError("a value was read")


def test_nothing_is_read_from_a_device_while_gradients_are_on():
    x = torch.full((2, 2), math.nan).as_subclass(Device)
    incoming.entries("x", x)
    with torch.no_grad(), pytest.raises(AssertionError, match="was read"):
        incoming.entries("x", x)
