"""Norms of layers as applied: estimates, certificates, learned orders, stale vectors."""

import copy
import math

import pytest
import torch
from torch.nn.functional import conv2d, conv_transpose2d
from torch.utils._python_dispatch import TorchDispatchMode

import resflow_lite as rf
from resflow_lite.layers.orders import LearnedOrder
from resflow_lite.numerics.norms import gram_upper, power_iteration, vector_norm
from resflow_lite.numerics.stacked import signs

INF = math.inf


def whole_matrix(layer, weight, shape):
    """The layer as a matrix on flattened inputs, one column per basis vector."""
    basis = torch.eye(math.prod(shape)).view(-1, *shape)
    return layer.product(weight, basis).flatten(1).T


def random_layer(generator, dtype=torch.float64):
    """A dense layer or a convolution with k in {1, 3, 5} on images up to 8 x 8, at a random scale."""

    def draw(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    kind = draw(0, 4)
    if kind == 0:
        n_in, n_out = draw(1, 20), draw(1, 20)
        layer, shape = rf.LipschitzLinear(n_in, n_out), (n_in,)
    else:
        n_in, n_out = draw(1, 5), draw(1, 5)
        layer, shape = rf.LipschitzConv2d(n_in, n_out, 2 * kind - 1), (n_in, draw(1, 9), draw(1, 9))
    layer.to(dtype).weight.data *= 4 * torch.rand((), generator=generator)
    return layer, shape


def test_the_certificate_is_never_below_the_true_norm():
    """2,000 random layers with exact matrices; a quarter of them with weights moved after the last update."""
    generator = torch.Generator().manual_seed(0)
    for i in range(2000):
        layer, shape = random_layer(generator, torch.float32 if i % 2 else torch.float64)
        x = torch.zeros(1, *shape, dtype=layer.weight.dtype)
        layer(x)
        if i % 4 == 3:
            layer.weight.data += 0.2 * torch.randn(layer.weight.shape, generator=generator)
        applied = layer.normalized_weight(x).detach().double()
        with torch.no_grad():
            layer.double()
            true = float(torch.linalg.matrix_norm(whole_matrix(layer, applied, shape), 2))
        layer.to(x.dtype)
        upper = layer.norm_upper()
        assert true <= upper <= 1.1 * true + 1e-12, (i, layer, shape)


@pytest.mark.parametrize(("size", "excess"), [(8, 1.10), (32, 1.01)])
@pytest.mark.parametrize("channels", [(8, 8), (8, 16), (12, 8)])
def test_the_fourier_bound_is_tight(size, excess, channels):
    """The route of large images, taken here at 8 x 8 too; the true norm comes from a long power iteration."""
    layer = rf.LipschitzConv2d(*channels, 3)
    layer.weight.data *= 3
    x = torch.zeros(1, channels[0], size, size)
    layer(x)
    for _ in range(10):
        layer.update_norm_(tol=1e-7)
    true = layer.sigma().item()
    upper = float(gram_upper(layer.frequencies(layer.weight.detach())))
    assert true <= upper <= excess * true


@pytest.mark.parametrize("orders", [(1, 2), (1, 1), (2, INF), (INF, INF), (1, INF), (1.5, INF), (1, 3)])
@pytest.mark.parametrize("conv", [False, True])
def test_closed_forms_are_exact(orders, conv):
    p, q = orders
    layer = rf.LipschitzConv2d(2, 3, 3, 1.0, p, q) if conv else rf.LipschitzLinear(5, 4, 1.0, p, q)
    shape = (2, 4, 3) if conv else (5,)
    layer.weight.data *= 0.1
    layer(torch.zeros(1, *shape))
    matrix = whole_matrix(layer, layer.weight.detach(), shape)
    if p == 1:
        exact = torch.linalg.vector_norm(matrix, q, dim=0).max()
    else:
        exact = torch.linalg.vector_norm(matrix, p / (p - 1) if p < INF else 1, dim=1).max()
    assert layer.sigma().item() == pytest.approx(float(exact), rel=1e-12)
    assert layer.norm_upper() == pytest.approx(float(exact), rel=1e-9)


@pytest.mark.parametrize("orders", [(2, 2), (2, 3), (1.5, 3), (3, 1.5), (INF, 2), (2, 1), (INF, 1), (1.3, 1.3)])
def test_estimates_and_certificates_enclose_the_norm(orders):
    """The norm by brute force: the best of many directions."""
    p, q = orders
    for seed in range(5):
        torch.manual_seed(seed)
        layer = rf.LipschitzLinear(4, 5, 1.0, p, q)
        layer.weight.data *= 0.3
        layer(torch.zeros(1, 4))
        for _ in range(20):
            layer.update_norm_()  # with two restarts
        applied, v = layer.normalized_weight(torch.zeros(1, 4)).detach(), torch.randn(4000, 4)
        ratios = torch.linalg.vector_norm(v @ applied.T, q, dim=1) / torch.linalg.vector_norm(v, p, dim=1)
        best = float(ratios.max())
        assert layer.norm_lower().item() >= 0.97 * best
        assert max(best, layer.norm_lower().item()) <= layer.norm_upper() < 2 * best


def test_the_weight_as_applied_has_the_norm_that_was_asked_for():
    for order in (1.0, 2.0, INF):
        layer = rf.LipschitzLinear(6, 6, 0.7, order, order)
        layer.weight.data *= 10
        layer(torch.zeros(1, 6))
        layer.update_norm_(1e-9)
        assert layer.norm_upper() == pytest.approx(0.7, rel=2e-3)
        layer.weight.data *= 1e-3  # small weights are left alone
        assert layer.norm_lower().item() < 0.1


def test_orders_are_learned_by_the_envelope_gradient():
    """d sigma / d p against finite differences of the maximum itself."""
    weight = torch.randn(4, 4)

    def norm(p_logit, q_logit):
        domain, codomain = LearnedOrder(), LearnedOrder()
        domain.logit.data.fill_(p_logit)
        codomain.logit.data.fill_(q_logit)
        layer = rf.LipschitzLinear(4, 4, 1.0, domain, codomain)
        layer.weight.data.copy_(weight)
        layer(torch.zeros(1, 4))
        for _ in range(20):
            layer.update_norm_(1e-12)
        return layer.sigma(), domain.logit, codomain.logit

    sigma, *logits = norm(-0.8, 0.3)
    gradient = torch.autograd.grad(sigma, logits)
    step = 1e-4
    for i, found in enumerate(gradient):
        shift = [step, 0.0] if i == 0 else [0.0, step]
        ahead = norm(-0.8 + shift[0], 0.3 + shift[1])[0].detach()
        behind = norm(-0.8 - shift[0], 0.3 - shift[1])[0].detach()
        assert found.item() == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-4, abs=1e-8)


def test_vector_norms_agree_with_torch_for_learned_orders():
    x = torch.randn(30)
    for p in (1.1, 2.0, 4.5):
        assert vector_norm(x, torch.tensor(p)).item() == pytest.approx(float(torch.linalg.vector_norm(x, p)), rel=1e-9)


def test_a_chain_of_norms_must_close():
    linear, act = rf.LipschitzLinear, rf.LipSwish
    rf.LipschitzBranch([linear(2, 4, 0.9, 1, INF), act(), linear(4, 2, 0.9, INF, 1)])
    shared = LearnedOrder()
    rf.LipschitzBranch([linear(2, 4, 0.9, 2, shared), act(), linear(4, 2, 0.9, shared, 2)])
    with pytest.raises(rf.SettingsError, match="ends in the inf-norm and the next starts in the 2-norm"):
        rf.LipschitzBranch([linear(2, 4, 0.9, 2, INF), act(), linear(4, 2, 0.9, INF, INF)])
    with pytest.raises(rf.SettingsError, match="Make the chain close"):
        rf.LipschitzBranch([linear(2, 4, 0.9, 2, LearnedOrder()), act(), linear(4, 2, 0.9, LearnedOrder(), 2)])


@pytest.mark.parametrize("honest", [True, False])
def test_the_norm_is_kept_through_training(honest):
    """Warm-started power iteration locks on stale vectors when a flow is trained; `update_norms_` does not.

    Exact norms of all layers as applied, at every one of 160 steps on digits (blocks (2, 2), width 32, lr 1e-3):
    within 2 % of the target, where one power iteration per step leaves it by more than 5 %.
    """
    torch.set_default_dtype(torch.float32)
    generator, images = torch.Generator().manual_seed(0), rf.load_images("digits").images
    flow = rf.image_flow(rf.ImageModel((1, 8, 8), (2, 2), 32, 0, memory="store"))
    flow.initialize_(rf.uniform_dequantize(images, 17, generator))
    optimizer = torch.optim.Adam(flow.parameters(), 1e-3, betas=(0.9, 0.99))
    layers = [m for m in flow.modules() if isinstance(m, rf.LipschitzConv2d)]
    largest = 0.0
    for step in range(160):
        x = rf.uniform_dequantize(images[torch.randint(len(images), (64,), generator=generator)], 17, generator)
        optimizer.zero_grad()
        (-flow.log_prob(x, generator).mean()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()
        if honest:
            rf.update_norms_(flow)
        for layer in layers:
            weight = layer.weight.detach()
            if not honest:
                maps = (lambda v: layer.product(weight, v), lambda u: layer.transpose(weight, u))  # noqa: B023
                layer.vector = power_iteration(*maps, layer.right, (2, 2), 1)
            if honest or step % 4 == 3:
                applied = layer.normalized_weight(layer.right).detach()
                matrix = whole_matrix(layer, applied, tuple(layer.right.shape[1:]))
                largest = max(largest, float(torch.linalg.matrix_norm(matrix, 2)))
    if honest:
        assert largest < 1.02 * 0.98
    else:
        assert largest > 1.05 * 0.98


@pytest.mark.parametrize(("channels", "kernel"), [((30, 2), 3), ((2, 30), 3), ((60, 2), 5), ((4, 5), 3), ((6, 3), 1)])
def test_products_of_convolutions_are_pytorch_s(channels, kernel):
    """Also where few channels follow many, or many few, which are computed otherwise on a CPU."""
    layer = rf.LipschitzConv2d(*channels, kernel).double()
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3, channels[0], 5, 7, generator=generator, dtype=torch.float64)
    u = torch.randn(3, channels[1], 5, 7, generator=generator, dtype=torch.float64)
    weight, bias = layer.weight.detach().requires_grad_(), layer.bias.detach()
    y = conv2d(z, weight, padding=kernel // 2)
    torch.testing.assert_close(layer.product(weight, z, bias), y + bias.view(-1, 1, 1))
    torch.testing.assert_close(layer.transpose(weight, u), conv_transpose2d(u, weight, padding=kernel // 2))
    (outer,) = torch.autograd.grad(y, weight, u)
    torch.testing.assert_close(layer.outer(weight, u, z), outer)


@pytest.mark.parametrize("channels", [(2, 30), (30, 2)])
def test_a_weight_of_zeros_has_norm_zero(channels):
    layer = rf.LipschitzConv2d(*channels, 3)
    layer.weight.data.zero_()
    x = torch.randn(2, channels[0], 6, 6)
    for _ in range(3):
        layer.update_norm_()
        assert torch.equal(layer(x), layer.bias.view(-1, 1, 1).expand(2, -1, 6, 6))
    assert layer.norm_lower() == 0
    layer.weight.data += 1
    layer.update_norm_()
    assert layer.norm_lower() > 0.97


def test_state_dicts_keep_vectors_sizes_and_counts():
    layer = rf.LipschitzConv2d(2, 3, 3)
    layer(torch.zeros(1, 2, 6, 5))
    for _ in range(3):
        layer.update_norm_()
    other = rf.LipschitzConv2d(2, 3, 3)
    assert other.norm_upper() == INF  # nothing is known before the size of the image is
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other.right, layer.right) and other.updates == layer.updates >= 4
    assert other.norm_upper() == layer.norm_upper()


@pytest.mark.parametrize("orders", [(2, 2), (1, 2), (3, 1.5)])
def test_autocast_does_not_round_norms(orders):
    torch.set_default_dtype(torch.float32)
    layer = rf.LipschitzLinear(7, 5, 0.9, *orders)
    plain = layer.normalized_weight(torch.zeros(1, 7))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.normalized_weight(torch.zeros(1, 7)), plain)


def test_vectors_of_the_time_when_they_were_always_inputs_still_load():
    """Files made before keep them under the name `right`; they give the same norm to the last bit."""
    for layer, shape in ((rf.LipschitzConv2d(4, 2, 3), (4, 5, 6)), (rf.LipschitzLinear(5, 3), (5,))):
        layer(torch.zeros(1, *shape))
        layer.vector = torch.randn(1, *shape)
        old = {("right" if name == "vector" else name): t for name, t in layer.state_dict().items()}
        other = type(layer)(*shape[:1], len(layer.weight), *layer.weight.shape[2:3])
        other.load_state_dict(old)
        assert torch.equal(other.sigma(), layer.sigma()) and other.input_shape == (1, *shape)
        before = other.sigma()
        other.update_norm_()
        assert other.vector.shape[1] == len(layer.weight) and other.sigma() > before


def image_layers():
    """The layers of an image flow with small and large maps, moved since their norms were taken; their exact norms."""
    flow = rf.image_flow(rf.ImageModel((2, 12, 12), blocks=(2, 1), width=20, n_dense=1, dense_width=140))
    flow.initialize_(torch.rand(8, 2, 12, 12))
    layers = [m for m in flow.modules() if isinstance(m, rf.LipschitzLinear | rf.LipschitzConv2d)]
    for layer in layers:
        layer.weight.data += 0.05 * layer.weight.std() * torch.randn(layer.weight.shape)
    matrices = [whole_matrix(m, m.weight.detach(), m.input_shape[1:]) for m in layers]
    return flow, layers, [float(torch.linalg.matrix_norm(matrix, 2)) for matrix in matrices]


@pytest.mark.parametrize(("tol", "short"), [(1e-3, 1e-2), (1e-6, 1e-4)])
def test_norms_of_many_layers_together_are_those_of_each_alone(tol, short):
    """Against the exact norms after a jump larger than any step; at 1e-6 near-equals are what is missing."""
    flow, layers, exact = image_layers()
    alone = copy.deepcopy(layers)
    rf.update_norms_(flow, tol)
    for layer, single, norm in zip(layers, alone, exact):
        single.update_norm_(tol)
        for found in (layer.sigma().item(), single.sigma().item()):
            assert norm * (1 - short) <= found <= norm * (1 + 1e-9)
        assert layer.vector.shape[1] == min(layer.weight.shape[:2])


def test_updating_norms_reads_nothing_back():
    """What a CUDA graph cannot hold: values and shapes that the processor must wait for."""

    class NoReading(TorchDispatchMode):
        def __torch_dispatch__(self, op, types, args=(), kwargs=None):
            assert op.overloadpacket.__name__ not in ("_local_scalar_dense", "nonzero", "item", "masked_select"), op
            return op(*args, **(kwargs or {}))

    flow, layers, exact = image_layers()
    where = [layer.vector.data_ptr() for layer in layers]
    with NoReading():
        rf.update_norms_(flow)
        rf.update_norms_(flow, 1e-6)
    assert [layer.vector.data_ptr() for layer in layers] == where, "a graph would go on with another vector"
    assert all(abs(m.sigma().item() / norm - 1) < 1e-4 for m, norm in zip(layers, exact))


def test_one_update_leaves_a_vector_that_was_leading_once():
    """The kept vector is an exact singular vector, of the second largest value: plain iteration never leaves it."""
    for seed in range(5):
        torch.manual_seed(seed)
        left, right = (torch.linalg.qr(torch.randn(300, 300))[0] for _ in range(2))
        values = torch.cat([torch.tensor([1.0, 1.1]), 0.95 * torch.rand(298)])
        layer = rf.LipschitzLinear(300, 300)
        layer(torch.zeros(1, 300))
        layer.weight.data.copy_(left * values @ right.T)
        layer.vector = right[:, 0][None].clone()
        layer.updates.fill_(seed)
        layer.update_norm_()
        assert 1.1 * 0.999 < layer.sigma().item() <= 1.1 * (1 + 1e-12)


def test_the_random_part_is_the_same_for_the_same_count_and_another_for_the_next():
    draws = signs(torch.arange(50), 0, 1000)
    assert torch.equal(draws, signs(torch.arange(50), 0, 1000)) and draws.abs().min() == 1
    rows = torch.cat([draws, signs(torch.arange(50), 1, 1000)]).double()
    products = (rows @ rows.T / 1000**0.5).fill_diagonal_(0)
    assert products.abs().max() < 5.5 and products.square().sum() / 9900 == pytest.approx(1, abs=0.1)


def test_a_first_use_in_inference_mode_does_not_spoil_training():
    flow = rf.image_flow(rf.ImageModel((1, 4, 4), blocks=(1,), width=6, n_dense=1, dense_width=8, norms="learned"))
    flow.bijection.layers.append(rf.ResidualBlock(rf.LipschitzBranch([rf.LipschitzLinear(16, 16)])))
    x = torch.rand(5, 1, 4, 4)
    with torch.inference_mode():
        flow.sample(2)
        rf.update_norms_(flow)
    assert not any(t.is_inference() for t in flow.buffers())
    flow.log_prob(x).mean().backward()
    rf.update_norms_(flow)
    flow.log_prob(x).mean().backward()


def test_an_update_before_the_backward_pass_does_not_disturb_it():
    layer, z = rf.LipschitzConv2d(3, 8, 3), torch.randn(2, 3, 6, 6)
    layer.weight.data *= 5
    gradients = []
    for update in (False, True):
        twin = copy.deepcopy(layer)
        loss = twin(z).square().sum()
        if update:
            twin.weight.data.add_(0)
            twin.update_norm_()
        gradients.append(torch.autograd.grad(loss, twin.bias)[0])
    assert torch.equal(*gradients)


def test_wrong_settings_are_refused():
    for make, says in (
        (lambda: rf.LipschitzLinear(2, 2, coeff=1.2), "coeff=1.2"),
        (lambda: rf.LipschitzLinear(2, 2, domain=0.5), "domain=0.5"),
        (lambda: rf.LipschitzConv2d(2, 2, 4), "kernel_size=4"),
        (lambda: LearnedOrder(7.0), "start=7.0"),
    ):
        with pytest.raises(rf.SettingsError, match=says):
            make()
