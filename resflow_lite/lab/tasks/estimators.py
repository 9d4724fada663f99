"""Estimators and laws by the names that settings give them."""

from ...estimators.logdet import Estimator, PowerSeries
from ...estimators.series import Geometric, Matched, Poisson, Roulette, Truncated

__all__ = ["ESTIMATORS", "LAWS", "USUAL"]

ESTIMATORS: dict[str, Estimator] = {
    "roulette": PowerSeries(Roulette(Geometric(0.5), n_exact=2)),
    "stratified": PowerSeries(Roulette(Geometric(0.5), n_exact=2, draws="stratified")),
    "roulette_poisson": PowerSeries(Roulette(Poisson(2.0), n_exact=2), probe="gaussian"),
    "truncated": PowerSeries(Truncated(5)),
    "matched": PowerSeries(Roulette(Matched(), n_exact=2)),
    "control_variate": PowerSeries(Roulette(Geometric(0.5), n_exact=2), control_variate=True),
}
LAWS = {"geometric": Geometric, "poisson": Poisson, "matched": Matched}
USUAL = {"geometric": 0.5, "poisson": 2.0}
"""Their parameters, where none is given."""
