"""Which blocks' estimators can have a finite variance, by the measured contraction rate."""

from dataclasses import dataclass

from torch import nn

from ..errors import NotContractiveError
from ..estimators.logdet import PowerSeries
from ..estimators.series import Roulette, expected_terms, tail_ratio
from ..layers.residual import residual_blocks

WORDS = {"sample": ", one per sample", "stratified": ", stratified"}


@dataclass(frozen=True)
class BlockVariance:
    """name: of the block.  law: of N, and how a batch draws it, if not once per block.  rho: measured contraction rate.
    limit: the law's tail ratio q, whichever way N is drawn; finite: rho^2 < q.

    terms: n_exact + E[N], the terms of one sample on average. A batch with draws="sample" runs to the largest N.
    """

    name: str
    law: str
    rho: float
    limit: float
    terms: float

    @property
    def finite(self) -> bool:
        return self.rho**2 < self.limit


@dataclass(frozen=True)
class VarianceReport:
    """One row per block that trains with a roulette; prints as a table. `holds`: every row is finite."""

    rows: tuple[BlockVariance, ...]

    @property
    def holds(self) -> bool:
        return all(row.finite for row in self.rows)

    @property
    def summary(self) -> str:
        """One line for a record."""
        bad = [row for row in self.rows if not row.finite]
        if not bad:
            return f"variance of the log-determinant: finite in all {len(self.rows)} blocks with a roulette"
        worst = max(bad, key=lambda row: row.rho)
        named = ", ".join(row.name for row in bad[:4]) + (", ..." if len(bad) > 4 else "")
        return (
            f"variance of the log-determinant: infinite in {len(bad)} of {len(self.rows)} blocks ({named}); worst "
            f"{worst.name}: rho^2 = {worst.rho**2:.3f}, {worst.law} needs rho^2 < {worst.limit:.3g}"
        )

    def __str__(self) -> str:
        wide = max([22, *(len(row.law) for row in self.rows)])
        lines = [f"{'block':28} {'law':{wide}} {'rho':>6} {'rho^2':>6} {'limit':>6} {'E[terms]':>9}  variance"]
        for r in self.rows:
            verdict = "finite" if r.finite else "INFINITE"
            lines.append(
                f"{r.name:28} {r.law:{wide}} {r.rho:6.3f} {r.rho**2:6.3f} {r.limit:6.3f} {r.terms:9.2f}  {verdict}"
            )
        return "\n".join(lines)


def variance_report(model: nn.Module) -> VarianceReport:
    """The second moment of sum_k c_k a_k with a_k ~ rho^k is finite only if rho^2 < lim P(N >= k+1) / P(N >= k).

    Reads the training estimators and the rates that `measure_contraction_` has stored, which are up to 3 % low:
    a block close to its limit may be on the other side of it. Blocks whose estimator is no roulette, or whose rate was
    never measured, have no row.
    """
    rows = []
    for name, block in residual_blocks(model).items():
        if block.contraction is None:
            continue
        estimator = block.resolved(block.train_estimator)
        terms = estimator.terms if isinstance(estimator, PowerSeries) else None
        if isinstance(terms, Roulette):
            cost = terms.n_exact + expected_terms(terms.law)
            law = repr(terms.law) + WORDS.get(terms.draws, "")
            rows.append(BlockVariance(name, law, block.contraction, tail_ratio(terms.law), cost))
    return VarianceReport(tuple(rows))


def refuse_expansion(model: nn.Module) -> None:
    """Raises NotContractiveError, with names and rates, where a block's stored contraction rate is not below 1.

    The series of its log-determinant then diverges: an estimate is a number without meaning.
    """
    rates = {name or "the block": block.contraction for name, block in residual_blocks(model).items()}
    rates = {name: rate for name, rate in rates.items() if rate is not None and not rate < 1}
    if rates:
        named = ", ".join(f"{name} ({rate:.3f})" for name, rate in rates.items())
        raise NotContractiveError(
            f"no contraction, by the measured rate: {named}. The series of the log-determinant diverges there: lower "
            "coeff or the learning rate, run update_norms_(model), or scale the branch down"
        )
