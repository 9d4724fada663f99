"""Bias, variance and products of one estimator on one case (cases.py), many draws at a time."""

import math
from dataclasses import dataclass, replace

import torch
from cases import POINTS, Dense

import resflow_lite as rf
from resflow_lite.estimators.logdet import SeriesDraw
from resflow_lite.estimators.noise import draw_probes
from resflow_lite.estimators.series import staircase

DRAWS, KRYLOV_DRAWS, GRADIENT_DRAWS = 1000, 200, 50


@dataclass
class Row:
    """bias, error: nats per sample.  value, gradient: variances (gradient: nan where not measured)."""

    products: float
    bias: float
    error: float
    value: float
    gradient: float
    finite: bool


def measure(case, estimator):
    """One row, from the package's own estimator run on the exact Jacobians of the case."""
    estimator = estimator.matched_to(case.rate) if isinstance(estimator, rf.PowerSeries) else estimator
    generator = torch.Generator().manual_seed(0)
    if isinstance(estimator, rf.Krylov):
        g = Dense(case, KRYLOV_DRAWS)
        probes = draw_probes("rademacher", 1, g.output, generator)
        estimate, u = estimator.estimate(g, probes), None
    else:
        g = Dense(case, DRAWS)
        draw = many_draws(estimator, g.output, generator)
        probes = draw.probes
        estimate, u = estimator.neumann(g, draw)
    value = estimate.value.view(POINTS, -1)
    error = (value - limit(case, estimator, probes[0])).mean(0)
    gradient = math.nan
    if u is not None:
        on_matrix = case.branch is None
        gradient = matrix_gradient(estimator, u[0], probes[0]) if on_matrix else block_gradient(case, estimator)
    return Row(
        products=expected_products(estimator),
        bias=float(error.mean()),
        error=without_rounding(float(error.std() / len(error) ** 0.5), 1e-15),
        value=without_rounding(POINTS * float(value.mean(0).var()), 1e-25),
        gradient=gradient,
        finite=has_variance(case, estimator),
    )


def without_rounding(number, least):
    """0 where numbers differ in their last bits only."""
    return number if number > least else 0.0


def many_draws(estimator, x, generator):
    """A draw for len(x) / POINTS batches at once."""
    probes, terms = draw_probes(estimator.probe, 1, x, generator), estimator.terms
    if isinstance(terms, rf.Truncated):
        return SeriesDraw(terms.draw(1), probes)
    if terms.draws == "sample":
        return SeriesDraw(terms.draw(len(x), generator), probes)
    if terms.draws == "stratified":
        return SeriesDraw(many_staircases(terms, len(x) // POINTS, generator), probes)
    weights = replace(terms, draws="sample").draw(len(x) // POINTS, generator)
    return SeriesDraw(tuple(w.repeat(POINTS) if torch.is_tensor(w) else w for w in weights), probes)


def many_staircases(terms, batches, generator):
    """The weights of stratified draws, one for each batch: a sample has 0 from the first term on that is not its own.

    Samples come first, as in Dense."""
    drawn = [terms.draw(POINTS, generator) for _ in range(batches)]
    weights = torch.zeros(max(map(len, drawn)), POINTS, batches)
    for i, steps in enumerate(drawn):
        for k, (weight, count) in enumerate(zip(steps, steps.counts)):
            weights[k, (torch.arange(count) + steps.shift) % POINTS, i] = weight
    return tuple(weights.flatten(1))


def expected_products(estimator):
    """Of a batch, per sample: with one N per sample, the largest N counts."""
    if isinstance(estimator, rf.Krylov):
        return estimator.n_steps
    terms, more = estimator.terms, int(estimator.control_variate)
    if isinstance(terms, rf.Truncated):
        return terms.n_terms + more
    samples, total, k = POINTS if terms.draws == "sample" else 1, terms.n_exact + more, 1
    if terms.draws == "stratified":
        _, counts = staircase(terms.law, POINTS, uniform=1.0)  # the steps, without the tail that is drawn
        last = terms.law.survival(len(counts))
        beyond = rf.expected_terms(terms.law) - sum(terms.law.survival(k) for k in range(1, len(counts) + 1))
        return total + (sum(counts) + (counts[-1] if counts else POINTS) * beyond / last) / POINTS
    while (p := terms.law.survival(k)) > 1e-12:
        total, k = total + 1 - (1 - p) ** samples, k + 1
    return total


def limit(case, estimator, v):
    """v^T log(I + J) v, (POINTS, draws), and the control variate on top: what the full series gives these probes."""
    v = v.view(POINTS, -1, v.shape[1])
    total = (torch.bmm(v, case.logarithm) * v).sum(2)
    if getattr(estimator, "control_variate", False):
        traces = case.variate.diagonal(dim1=1, dim2=2).sum(1)
        total = total + traces[:, None] - (torch.bmm(v, case.variate) * v).sum(2)
    return total


def has_variance(case, estimator):
    law = getattr(getattr(estimator, "terms", None), "law", None)
    return law is None or case.radius**2 < rf.tail_ratio(law)


def matrix_gradient(estimator, u, v):
    """Variance of the gradient in the entries of J, u v^T (+ I - v v^T with the control variate)."""
    if estimator.control_variate:
        u = u - v
    u, v = u.view(POINTS, -1, u.shape[1]), v.view(POINTS, -1, v.shape[1])
    mean = torch.einsum("prd,pre->rde", u, v) / POINTS
    return POINTS * float(mean.var(0).sum())


def block_gradient(case, estimator, draws=GRADIENT_DRAWS):
    """Variance of the gradient in the branch's parameters, through the block itself."""
    block = rf.ResidualBlock(case.branch, estimator, memory="store")
    parameters, generator = list(case.branch.parameters()), torch.Generator().manual_seed(0)
    found = []
    for _ in range(draws):
        _, log_det = block(case.x, generator)
        gradient = torch.autograd.grad(log_det.mean(), parameters)
        found.append(torch.cat([g.flatten() for g in gradient]))
    return POINTS * float(torch.stack(found).var(0).sum())


def pooled(cases, estimator):
    """The mean row over cases."""
    rows = [measure(case, estimator) for case in cases]
    mean = {name: sum(getattr(r, name) for r in rows) / len(rows) for name in ("products", "bias", "value", "gradient")}
    error = sum(r.error**2 for r in rows) ** 0.5 / len(rows)
    return Row(error=error, finite=all(r.finite for r in rows), **mean)


def cut_by_control_variate(case, terms):
    """Gradient variance without over with the control variate, the same draws for both."""
    series = rf.PowerSeries(terms)
    with_variate = replace(series, control_variate=True)
    return block_gradient(case, series, 100) / block_gradient(case, with_variate, 100)


def krylov_and_taylor(case, n):
    """(bias of Krylov, its standard error, bias of Taylor) at n products, nats per sample."""
    krylov = measure(case, rf.Krylov(n))
    power, taylor = torch.eye(case.jacobian.shape[1]).expand_as(case.jacobian), -case.logarithm
    for k in range(1, n + 1):
        power = power @ case.jacobian
        taylor = taylor + (-1) ** (k + 1) / k * power
    return krylov.bias, krylov.error, float(taylor.diagonal(dim1=1, dim2=2).sum(1).mean())
