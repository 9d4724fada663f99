"""A campaign of bad and extreme inputs, made up afresh by Hypothesis from the kinds that once went wrong.

Each input ends as a value that agrees with an independent truth, or as a ResflowError. A wrong value and a call without
an answer fail at once; another library's error may come from fewer than one input in fifty. The seeds are fixed.
"""

import contextlib
import copy
import io
import json
import math
import signal
import string
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import resflow_lite as rf
from resflow_lite.__main__ import main
from resflow_lite.lab.checkpoints import load_weights
from resflow_lite.lab.runs import read_record
from resflow_lite.lab.schema import validate_entry
from resflow_lite.lab.tables import Table
from resflow_lite.lab.values import read_value, read_yaml

COUNTS: Counter = Counter()
FOREIGN: list[str] = []
SECONDS = 20
FIXED = settings(
    derandomize=True, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)


class Late(BaseException):
    pass


def late(*_):
    raise Late


def outcome(attempt, case):
    """right, wrong, sentence, foreign or hang."""
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        return "right" if attempt(*case) else "wrong"
    except rf.ResflowError as error:
        return "sentence" if 10 < len(str(error)) < 2000 else "wrong"
    except Late:
        return "hang"
    except Exception as error:
        FOREIGN.append(f"{attempt.__name__}{case!r}: {type(error).__name__}: {error}"[:300])
        return "foreign"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def campaign(kind, examples):
    attempt, *strategies = KINDS[kind]

    @settings(FIXED, max_examples=examples)
    @given(st.tuples(*strategies))
    def each(case):
        torch.manual_seed(0)
        found = outcome(attempt, case)
        COUNTS[kind, found] += 1
        assert found not in ("wrong", "hang"), f"{kind}: {found}: {case!r}"

    each()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def agree(a, b, tol):
    """To tol, relative to the larger of 1 and b; where float32 ends, infinity is its word for more."""
    a, b = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    beyond = (b.abs() > torch.finfo(torch.float32).max) & (a == b.sign() * math.inf)
    return bool((beyond | (a == b) | ((a - b).abs() <= tol * (1 + b.abs()))).all())


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-5, -1, 0, 1, 2, 3, 7, 10**10, 10**13, 2**63, 10**40]),
    st.floats(width=32),
    st.sampled_from([0.3, 0.98, 1e-3, 1e-20, 1e30, math.nan, math.inf]),
    st.text(string.printable, max_size=6),
    st.lists(st.integers(-1, 3), max_size=3),
    st.sampled_from(
        [rf.Exact, rf.Exact(), torch.nn.ReLU, rf.ELU, {}, {"a": 1}, np.int64(3), torch.tensor(2), torch.ones(2)]
    ),
)


# batches of events


def made(dtype, shape, scale, special, form):
    x = scale * torch.randn(shape, generator=generator(), dtype=torch.float32)
    if special is not None and x.numel():
        x.view(-1)[x.numel() // 2] = special
    x = x.to(dtype)
    return {
        "list": x.tolist,
        "array": lambda: x.float().numpy(),
        "sparse": lambda: x.to_sparse() if x.dim() else x,
        "strided": lambda: torch.stack([x, x], -1)[..., 0],
        "a leaf": lambda: x.requires_grad_() if x.is_floating_point() else x,
        "plain": lambda: x,
    }[form]()


@cache
def flow_of(kind):
    if kind == "plane":
        flow = rf.toy_flow(2, (8,), train_estimator=rf.Exact(), eval_estimator=rf.Exact())
    else:
        exact = dict(train_estimator=rf.Exact(), eval_estimator=rf.Exact())
        flow = rf.image_flow(rf.ImageModel((1, 4, 4), (1,), 4, 1, 4, alpha=0.05 if kind == "soft" else 1e-6, **exact))
    flow = flow.float()
    flow.initialize_(torch.rand(8, *flow.event_shape, generator=generator(1), dtype=torch.float32))
    return flow, copy.deepcopy(flow).double()


def a_batch(verb, kind, dtype, shape, scale, special, form):
    flow, exact = (copy.deepcopy(one) for one in flow_of(kind))
    shape = (shape, *(flow.event_shape if verb != "decode" else flow.latent_shape)) if isinstance(shape, int) else shape
    x = made(dtype, shape, scale, special, form)
    if verb == "decode":
        return agree(flow.decode(x), exact.decode(x.double()), 1e-3)
    if verb in ("initialize_", "measure_contraction_"):
        getattr(flow, verb)(x)
        return bool(flow.log_prob(torch.rand(2, *flow.event_shape, dtype=torch.float32)).isfinite().all())
    with torch.no_grad():
        found, truth = getattr(flow, verb)(x), getattr(exact, verb)(x.double())
    found, truth = (torch.cat([t.flatten() for t in (v if isinstance(v, tuple) else (v,))]) for v in (found, truth))
    return not bool(truth.isnan().any()) and agree(found, truth, 1e-3)


def own_samples(kind, temperature, seed):
    flow, exact = flow_of(kind)
    with torch.no_grad():
        x = flow.sample(8, generator(seed), temperature)
        # next to the end of the pixels an x of float32 knows its distance from there to 12 %
        return agree(flow.log_prob(x), exact.log_prob(x.double()), 2e-2)


def levels(low, high, n_levels, dtype):
    given = torch.arange(low, high).to(dtype)
    x = rf.uniform_dequantize(given, n_levels, generator())
    return bool(((x.double() * n_levels).floor() == given).all()) and bool((x < 1).all())


def bits(log_prob, shape, n_levels):
    found = rf.bits_per_dim(torch.tensor(log_prob), shape, n_levels)
    truth = -log_prob / math.log(2) / math.prod(shape) + math.log2(n_levels)
    return agree(found, truth, 1e-9) or math.isnan(log_prob)


# maps and their log-determinants


def scaled(diagonal, how):
    """x -> d x in several wrappings, some of which cannot be differentiated or are another map."""
    d = torch.tensor(diagonal)
    return {
        "plain": lambda x: d * x,
        "in place": lambda x: x.mul_(d),
        "detached": lambda x: d * x.detach(),
        "an array": lambda x: (d * x).detach().numpy(),
        "one column": lambda x: d[:1] * x[:, :1],
        "nothing": lambda x: None,
    }[how]


def a_map(diagonal, how, estimator, verb):
    x = torch.randn(3, len(diagonal), generator=generator())
    g, truth = scaled(diagonal, how), sum(math.log(abs(1 + d)) if d != -1 else -math.inf for d in diagonal)
    block = rf.ResidualBlock(g, estimator, estimator, gradient="series")
    found = rf.log_det(g, x, estimator).value if verb == "log_det" else block.train(verb == "train")(x)[1]
    if how == "one column" and len(diagonal) > 1:
        return False
    rho, n = max(map(abs, diagonal)), len(diagonal)
    tail = n * rho**301 / 301 / (1 - rho) if rho < 1 and isinstance(estimator, rf.PowerSeries) else 0
    return agree(found.detach(), torch.full((3,), truth), 1e-6 + tail)


def a_proof(rows, columns, p, q, scale, seed):
    layer = rf.LipschitzLinear(columns, rows, 0.9, p, q)
    layer.weight.data = scale * torch.randn(rows, columns, generator=generator(seed))
    z = torch.randn(1000, columns, generator=generator(seed + 1))
    z = torch.cat([z, z.sign(), torch.eye(columns)])
    layer(z)
    norms = layer.product(layer.normalized_weight(z), z).norm(q, 1) / z.norm(p, 1)
    return float(norms.nan_to_num(0.0).max()) <= layer.norm_upper() * (1 + 1e-9)


# settings

PARTS = [
    (rf.toy_flow, dict(n_blocks=1, hidden=(4,)), "n_blocks hidden activation coeff train_estimator gradient memory"),
    (rf.LipschitzLinear, dict(in_features=2, out_features=2), "in_features out_features coeff domain codomain"),
    (rf.LipschitzConv2d, dict(in_channels=1, out_channels=2, kernel_size=3), "in_channels kernel_size coeff"),
    (
        rf.ImageModel,
        dict(shape=(1, 4, 4)),
        "shape blocks width n_dense activation norms coeff alpha padding factor_out",
    ),
    (rf.Roulette, {}, "law n_exact draws"),
    (rf.PowerSeries, {}, "terms probe n_probes control_variate"),
    (rf.Krylov, {}, "n_steps n_probes tol"),
    (rf.Geometric, {}, "p"),
    (rf.Poisson, {}, "rate"),
    (rf.Matched, {}, "rho"),
    (rf.ActNorm, {}, "channels"),
    (rf.Logit, {}, "alpha"),
    (rf.Flatten, {}, "shape"),
    (rf.Chain, {}, "layers"),
    (rf.AffineCoupling, dict(net=torch.nn.Linear(1, 2)), "net swap checkerboard"),
    (rf.toy_data, dict(name="moons", n=3), "name n generator"),
    (rf.hybrid_flow, dict(shape=(1, 4, 4), n_classes=3, blocks=(1,), width=4), "shape n_classes blocks width kind"),
    (rf.toy_system, dict(name="glow", n_blocks=2), "name parameters n_blocks"),
]


def a_part(i, which, value):
    """What is built of it computes: a sum of probabilities is 1, a flow's log-determinant is right."""
    make, usual, names = PARTS[i]
    name = names.split()[which % len(names.split())]
    found = make(**usual | {name: value})
    if isinstance(found, rf.Geometric | rf.Poisson):
        return 1 >= found.survival(1) >= found.survival(2) >= 0 and bool((found.sample(4) >= 0).all())
    if make is rf.toy_flow:
        found.train_estimator = None
        for block in (m for m in found.modules() if isinstance(m, rf.ResidualBlock)):
            block.train_estimator = block.eval_estimator = rf.Exact()
        x = torch.randn(3, 2, generator=generator())
        found.initialize_(x)
        return bool(rf.check_bijection(found.bijection, x))
    return value is not True and value is not False or name in ("control_variate", "factor_out", "swap", "checkerboard")


TASKS = {rf.Experiment: 30, rf.ToyExperiment: 17, rf.HybridExperiment: 18}


def an_experiment(kind, which, value):
    """Settings that are taken are those that were given, and come back from JSON."""
    names = list(kind.__dataclass_fields__)
    name = names[which % len(names)]
    found = kind.from_parameters({"profile": "smoke", **({name: value} if name != "filled" else {})})
    kept = getattr(found, name)
    same = value is None or name == "filled" or repr(kept) == repr(value) or str(kept) in str(value)
    same = (
        same or (isinstance(value, list) and kept == tuple(value)) or (isinstance(value, str) and float(value) == kept)
    )
    same = same or isinstance(value, int | float | np.number | torch.Tensor) and kept == value
    return same and kind.from_record(found.as_json()).as_json() == found.as_json()


# data, text and files


def images(dtype, shape, top, n_levels, labels):
    data = (torch.rand(shape, generator=generator()) * (top + 1)).floor().to(dtype)
    found = rf.load_images(lambda split: rf.Images(data, labels, n_levels))
    return found.images.dtype == torch.uint8 and bool((found.images == data).all()) and int(data.max()) < n_levels


def text(words):
    return json.dumps(read_value(words), default=str) is not None


def yaml_file(words):
    path = Path(FOLDER["path"]) / "a.yaml"
    path.write_bytes(words)
    return json.dumps(read_yaml(path), default=str) is not None


def an_entry(which, value, inside):
    entry = copy.deepcopy(FOLDER["entry"])
    target = entry["settings"] if inside else entry
    name = list(target)[which % len(target)]
    if target[name] == value:
        return True
    target[name] = value
    validate_entry(entry)
    json.dumps(entry, allow_nan=False)
    cell = str(Table(["a"], [[str(entry["settings"]["dataset"])]]))
    return len(cell.splitlines()) == 3 and not isinstance(value, bool) or inside


def a_line(line):
    path = Path(FOLDER["path"]) / "training.jsonl"
    path.write_bytes(line + b"\n")
    return all(type(row["step"]) in (int, float) for row in read_record(path))


def weights(name, place, bit):
    """A file of weights with one bit another is never taken."""
    whole = (FOLDER["run"] / name).read_bytes()
    content, path = bytearray(whole), Path(FOLDER["weights"]) / name
    content[place % len(whole)] ^= 1 << bit
    path.write_bytes(content)
    load_weights(path)
    return False


def words(verb, option, value):
    """rc 0 is for numbers in range alone; else there is one line."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([verb, str(FOLDER["run"]), option, value])
    if code:
        assert len(err.getvalue().splitlines()) == 1
        raise rf.SettingsError(err.getvalue())
    number = float(value)
    return 0 <= number <= 10 if option == "--temperature" else number == int(number) >= (option != "--seed")


FOLDER: dict = {}


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory):
    torch.set_default_dtype(torch.float32)
    small = dict(profile="smoke", steps=2, batch_size=16, blocks=(1,), width=4, n_dense=0, validation=20, evaluations=1)
    FOLDER.update(path=tmp_path_factory.mktemp("mutated"), weights=tmp_path_factory.mktemp("weights"))
    FOLDER.update(run=tmp_path_factory.mktemp("run"))
    rf.evaluate(rf.fit(rf.Experiment(**small), FOLDER["run"]), n_images=20)
    FOLDER["entry"] = json.loads((FOLDER["run"] / "ledger.json").read_text())


def is_json(value):
    return isinstance(value, str | int | float | list | dict | None)


def often(usual, rare):
    """The usual value three times of four: most inputs have one thing wrong and not seven."""
    return st.one_of(st.just(usual), st.just(usual), st.just(usual), rare)


NUMBERS = st.one_of(st.integers(-2, 12).map(str), st.sampled_from("1e3 2.5 inf nan true [1 -0 1e400 x".split()))
DTYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool, torch.complex64]
VERBS = ["log_prob", "encode", "forward", "decode", "initialize_", "measure_contraction_"]
KINDS = {
    "batches": (
        a_batch,
        st.sampled_from(VERBS),
        st.sampled_from(["plane", "image", "soft"]),
        often(torch.float32, st.sampled_from(DTYPES)),
        st.one_of(st.integers(0, 3), st.integers(1, 3), st.lists(st.integers(0, 4), max_size=4)),
        st.sampled_from([0.0, 1e-3, 0.1, 1.0, 30.0, 1e8, 1e19, 3e37]),
        often(None, st.sampled_from([math.nan, math.inf, -math.inf, 1.0, 1.0000001, -1e-7, 255.0])),
        often("plain", st.sampled_from(["list", "array", "sparse", "strided", "a leaf"])),
    ),
    "samples": (own_samples, st.sampled_from(["plane", "image", "soft"]), st.floats(-0.5, 12), st.integers(0, 2**32)),
    "levels": (
        levels,
        st.integers(-3, 3),
        st.integers(4, 300),
        st.sampled_from([2, 17, 256, 300, 0, -1, 2.5, None]),
        st.sampled_from([torch.int64, torch.uint8, torch.int32, torch.float32, torch.bool]),
    ),
    "bits": (
        bits,
        st.floats(),
        st.lists(st.integers(-1, 9), max_size=3),
        st.sampled_from([2, 256, 1, 0, -3, 2.5, "2"]),
    ),
    "maps": (
        a_map,
        st.lists(st.one_of(st.floats(-0.99, 0.99), st.floats(-3, 3)), min_size=1, max_size=4),
        often("plain", st.sampled_from(["in place", "detached", "an array", "one column", "nothing"])),
        st.sampled_from([rf.Exact(), rf.Krylov(5), rf.PowerSeries(rf.Truncated(300))]),
        st.sampled_from(["log_det", "train", "eval"]),
    ),
    "proofs": (
        a_proof,
        *(st.integers(1, 6), st.integers(1, 6)),
        *(st.one_of(st.floats(1, 20), st.sampled_from([1.0, 2.0, 3.0, 4.0, math.inf])),) * 2,
        *(st.sampled_from([1e-3, 1.0, 1e3]), st.integers(0, 10**6)),
    ),
    "parts": (a_part, st.integers(0, len(PARTS) - 1), st.integers(0, 9), JUNK),
    "experiments": (an_experiment, st.sampled_from(list(TASKS)), st.integers(0, 40), JUNK),
    "images": (
        images,
        st.sampled_from([torch.uint8, torch.uint8, torch.int64, torch.int16, torch.float32, torch.bool]),
        often((6, 1, 4, 4), st.lists(st.integers(0, 4), max_size=5)),
        st.sampled_from([1, 3, 16, 300]),
        st.sampled_from([4, 17, 256, 2, 1, 0, 2.0, None]),
        often(
            [0] * 6,
            st.sampled_from(
                [torch.zeros(6, dtype=torch.int64), [0] * 6, np.zeros(6), np.zeros(6, int), None, [1.5] * 6]
            ),
        ),
    ),
    "text": (text, st.one_of(st.text(max_size=12), st.text("[]{}:,'\"&*!#01e-. \n", max_size=20))),
    "yaml": (
        yaml_file,
        st.one_of(st.binary(max_size=20), st.text("[]{}:,'\"&*!#ab1-. \n", max_size=30).map(str.encode)),
    ),
    "entries": (
        an_entry,
        st.integers(0, 99),
        JUNK.filter(is_json),
        st.booleans(),
    ),
    "lines": (
        a_line,
        st.one_of(
            st.binary(max_size=20),
            often('{"step": 1, "seconds": 2.0}', st.text('{}":,stepcond019.e-N ', max_size=40)).map(str.encode),
        ),
    ),
    "weights": (
        weights,
        st.sampled_from(["model.safetensors", "best.safetensors"]),
        st.integers(0, 10**6),
        st.integers(0, 7),
    ),
    "words": (words, st.sampled_from(["sample"]), st.sampled_from(["-n", "--temperature", "--seed"]), NUMBERS),
}
EXAMPLES = dict.fromkeys(KINDS, 60) | dict(batches=120, parts=120, experiments=120, maps=90, words=25, samples=30)


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_is_right_or_a_sentence(kind):
    campaign(kind, EXAMPLES[kind])


def test_the_campaign_as_a_whole():
    """After the tests above, in the same process."""
    if {kind for kind, _ in COUNTS} != set(KINDS):
        pytest.skip("a part of the campaign alone")
    totals = Counter()
    for (_, found), times in COUNTS.items():
        totals[found] += times
    for kind in KINDS:
        print(f"{kind:12}", {found: COUNTS[kind, found] for found in totals if COUNTS[kind, found]})
    print("in all", dict(totals), *FOREIGN, sep="\n")
    assert totals["wrong"] == totals["hang"] == 0 and sum(totals.values()) >= 600
    assert totals["foreign"] < sum(totals.values()) / 50, "\n".join(FOREIGN)


GONE = {
    "batches": ["resflow_lite.models.flow.entries"],
    "maps": ["resflow_lite.layers.residual.refuse_divergence", "resflow_lite.estimators.logdet.refuse_divergence"],
    "weights": ["resflow_lite.lab.sealed._verify"],
}


@pytest.mark.parametrize("kind", GONE)
def test_the_campaign_finds_a_check_that_is_gone(kind, monkeypatch):
    for name in GONE[kind]:
        monkeypatch.setattr(name, lambda *args: None)
    before = copy.copy(COUNTS)
    with pytest.raises(AssertionError, match=f"{kind}: wrong"):
        campaign(kind, EXAMPLES[kind])
    COUNTS.clear()
    COUNTS.update(before)
