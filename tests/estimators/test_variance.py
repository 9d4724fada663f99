"""Contraction rates, matched tails, and the condition under which a roulette's variance is finite."""

import json

import pytest
import torch

import resflow_lite as rf
from resflow_lite.checks import z_score
from resflow_lite.estimators.linearization import contraction_rate


def test_the_contraction_rate_tends_to_the_spectral_radius():
    a = torch.diag(torch.tensor([0.9, -0.5, 0.3]))
    rates = contraction_rate(rf.linearize(lambda x: x @ a.T, torch.zeros(5, 3)), 40, torch.Generator().manual_seed(0))
    assert torch.allclose(rates, torch.full((5,), 0.9), atol=1e-2)
    turn = 0.8 * torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    rates = contraction_rate(rf.linearize(lambda x: x @ turn.T, torch.zeros(2, 2)))
    assert torch.allclose(rates, torch.full((2,), 0.8))
    nilpotent = torch.ones(3, 3).triu(1)
    assert torch.equal(contraction_rate(rf.linearize(lambda x: x @ nilpotent.T, torch.zeros(2, 3))), torch.zeros(2))


def test_tail_ratios_and_costs():
    assert rf.tail_ratio(rf.Geometric(0.3)) == pytest.approx(0.7)
    assert rf.tail_ratio(rf.Poisson(2.0)) == rf.tail_ratio(rf.Poisson(20.0)) == 0.0
    assert rf.expected_terms(rf.Geometric(0.25)) == pytest.approx(3.0)
    assert rf.expected_terms(rf.Poisson(2.0)) == pytest.approx(2.0)
    for rho in (0.3, 0.9, 0.99):
        law = rf.Matched(rho)
        assert rho < rf.tail_ratio(law) < 1 and rf.expected_terms(law) == pytest.approx(law.q / (1 - law.q), rel=1e-6)
    assert rf.tail_ratio(rf.Matched(3.0)) < 1  # an expanding block is clipped


def second_moment(law, rho, n_exact, n_max):
    """E[estimate^2] of a series with a_k = rho^k (a gradient in one dimension), summed over all N below n_max."""
    total, weight_sum = 0.0, sum(rho**k for k in range(1, n_exact + 1))
    for n in range(n_max):
        if n:
            weight_sum += rho ** (n_exact + n) / law.survival(n)
        total += (law.survival(n) - law.survival(n + 1)) * weight_sum**2
    return total


@pytest.mark.parametrize(
    ("law", "rho", "finite"),
    [
        (rf.Geometric(0.5), 0.68, True),
        (rf.Geometric(0.5), 0.75, False),
        (rf.Geometric(0.15), 0.9, True),
        (rf.Poisson(2.0), 0.5, False),
        (rf.Matched(0.97), 0.97, True),
    ],
    ids=repr,
)
def test_the_second_moment_is_finite_where_the_tail_ratio_says(law, rho, finite):
    """Doubling the number of outcomes either changes nothing any more or keeps adding."""
    assert (rho**2 < rf.tail_ratio(law)) == finite
    far = {rf.Poisson: 60, rf.Geometric: 400, rf.Matched: 2000}[type(law)]
    near, further = second_moment(law, rho, 2, far // 2), second_moment(law, rho, 2, far)
    assert (further < 1.05 * near) == finite


def test_a_matched_law_is_unbiased_where_a_fixed_tail_is_hopeless():
    a = torch.diag(torch.tensor([-0.95, 0.9, 0.2]))
    truth = torch.linalg.slogdet(torch.eye(3) + a)[1]
    terms = rf.Roulette(rf.Matched(0.95), n_exact=2, draws="sample")
    value = rf.log_det(
        lambda x: x @ a.T, torch.zeros(4000, 3), rf.PowerSeries(terms), torch.Generator().manual_seed(0)
    ).value
    assert abs(z_score(value, truth)) < 4
    assert float(value.detach().std()) < 10


def test_a_block_fills_in_its_own_rate_and_keeps_it(strong_dense):
    estimator = rf.PowerSeries(rf.Roulette(rf.Matched(), n_exact=2))
    block = rf.ResidualBlock(strong_dense(), estimator, estimator)
    x = torch.zeros(3, 4)
    with pytest.raises(rf.SettingsError, match="measure_contraction_"):
        block(x)
    block.measure_contraction_(x)
    assert block.contraction == pytest.approx(0.94, abs=0.03)
    assert block.estimator.terms.law == rf.Matched(block.contraction)
    block(x)
    other = rf.ResidualBlock(strong_dense(), estimator, estimator)
    other.load_state_dict(block.state_dict())
    assert other.contraction == pytest.approx(block.contraction)


def test_the_report_names_the_blocks_and_the_numbers(strong_dense):
    weak = torch.nn.Linear(4, 4)
    torch.nn.init.eye_(weak.weight).data.mul_(0.3)
    thin = rf.PowerSeries(rf.Roulette(rf.Geometric(0.5)))
    fitting = rf.PowerSeries(rf.Roulette(rf.Matched()))
    blocks = [
        rf.ResidualBlock(weak, thin),
        rf.ResidualBlock(strong_dense(), thin),
        rf.ResidualBlock(strong_dense(), fitting),
        rf.ResidualBlock(strong_dense(), rf.PowerSeries(rf.Truncated(5))),
    ]
    flow = rf.Flow(rf.Chain(blocks), (4,), (4,))
    with pytest.raises(rf.SettingsError, match="never measured"):
        flow.variance_report()
    report = flow.variance_report(0.05 * torch.randn(16, 4))
    assert [row.finite for row in report.rows] == [True, False, True]
    assert not report.holds
    assert report.summary.count("bijection.layers.1") == 2 and "1 of 3 blocks" in report.summary
    assert "INFINITE" in str(report) and "Geometric(p=0.5)" in str(report)


def test_the_report_says_how_n_is_drawn_and_asks_the_same_of_every_way(strong_dense):
    ways = ("block", "sample", "stratified")
    estimators = [rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), 2, draws)) for draws in ways]
    flow = rf.Flow(rf.Chain([rf.ResidualBlock(strong_dense(), estimator) for estimator in estimators]), (4,), (4,))
    report = flow.variance_report(0.05 * torch.randn(16, 4))
    law = "Geometric(p=0.5)"
    assert [row.law for row in report.rows] == [law, f"{law}, one per sample", f"{law}, stratified"]
    assert [(row.limit, row.terms) for row in report.rows] == [(0.5, pytest.approx(3.0))] * 3
    assert len({len(line.rsplit("  ", 1)[0]) for line in str(report).splitlines()}) == 1  # columns under their heads


def test_fit_tells_once_of_an_infinite_variance_and_every_line_of_the_record_has_the_same_fields(tmp_path):
    torch.set_default_dtype(torch.float32)
    run = rf.fit(rf.Experiment(profile="smoke", train_estimator="roulette_poisson"), tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "training.jsonl").read_text().splitlines()]
    assert len(lines) == 10 and len({tuple(line) for line in lines}) == 1
    notes = [json.loads(line)["event"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(notes) == 1 and "infinite in 3 of 3 blocks" in notes[0] and "Poisson(rate=2.0)" in notes[0]
    assert run.history == lines
