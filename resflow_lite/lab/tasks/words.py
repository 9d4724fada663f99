"""Objects as words: estimators and laws by the names that settings give them, and as what `repr` says in a run's files,
which is read again without `eval`.

Of an object of the user's own a file has the words only. They become an `Unknown`, which raises a sentence where the
object itself is needed, and not before.
"""

import ast
from collections.abc import Collection
from dataclasses import astuple, dataclass, replace
from typing import Any, NoReturn

from ...errors import SettingsError
from ...estimators.krylov import Krylov
from ...estimators.logdet import Estimator, Exact, PowerSeries
from ...estimators.series import Geometric, Matched, Poisson, Roulette, Truncated
from ...expect import Check, offering, one_of

ESTIMATORS: dict[str, Estimator] = {
    "roulette": PowerSeries(Roulette(Geometric(0.5), n_exact=2)),
    "stratified": PowerSeries(Roulette(Geometric(0.5), n_exact=2, draws="stratified")),
    "roulette_poisson": PowerSeries(Roulette(Poisson(2.0), n_exact=2), probe="gaussian"),
    "truncated": PowerSeries(Truncated(5)),
    "matched": PowerSeries(Roulette(Matched(), n_exact=2)),
    "control_variate": PowerSeries(Roulette(Geometric(0.5), n_exact=2), control_variate=True),
}
LAWS = {"geometric": Geometric, "poisson": Poisson, "matched": Matched}
USUAL = {name: astuple(law())[0] for name, law in LAWS.items()}
"""Their parameters, where none is given."""
CLASSES = {c.__name__: c for c in (Exact, Krylov, PowerSeries, Roulette, Truncated, *LAWS.values())}


def named(estimator: str | Estimator) -> Estimator:
    return ESTIMATORS[estimator] if isinstance(estimator, str) and estimator in ESTIMATORS else estimator


def estimator_words(estimator: Estimator) -> dict[str, Any]:
    """The settings law, law_parameter, n_exact, draws, n_probes and probe of a roulette; {} for what is none."""
    terms = getattr(estimator, "terms", None)
    if not isinstance(terms, Roulette):
        return {}
    name = next((name for name, law in LAWS.items() if type(terms.law) is law), None)
    told = dict(law=name or terms.law, law_parameter=name and astuple(terms.law)[0], n_exact=terms.n_exact)
    return told | dict(draws=terms.draws, n_probes=estimator.n_probes, probe=estimator.probe)


def rebuilt(words: Any) -> Any:
    """The object that text such as "PowerSeries(terms=Truncated(n_terms=5))" writes; anything else as it is."""
    if not isinstance(words, str) or "(" not in words:
        return words
    try:
        return _value(ast.parse(words, mode="eval").body)
    except (SyntaxError, ValueError, TypeError):
        return words


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLASSES:
        given = {word.arg: _value(word.value) for word in node.keywords}
        return CLASSES[node.func.id](*map(_value, node.args), **given)
    return ast.literal_eval(node)


@dataclass(frozen=True, repr=False)
class Unknown:
    """Stands for an object of the user's own: a data set, an estimator, a law or an activation."""

    setting: str
    words: str

    def __repr__(self) -> str:
        return self.words

    __name__ = property(__repr__)

    def __call__(self, *arguments: Any, **named: Any) -> NoReturn:
        raise SettingsError(
            f"{self.setting} = {self.words} is your own, and a run's files have its name only. To give it: "
            "load_run(folder, experiment=...), or --experiment MODULE:NAME on the command line"
        )

    draw = estimate = sample = survival = __call__


def named_or(words: str, *verbs: str, names: Collection[str] = ()) -> Check:
    """One of the names, or an object with these methods (a class is none), which may come in words (`rebuilt`)."""
    own = offering(f"one of {', '.join(names)}, or {words}" if names else words, *verbs)
    return replace(own, fits=lambda found: one_of(names).fits(found) or own.fits(found), plain=rebuilt, names=names)


TRAINS = named_or("an estimator object", "draw", "estimate", names=ESTIMATORS)
EVALUATES = named_or("an estimator object", "draw", "estimate")
COUNTS = named_or("an object with sample and survival", "sample", "survival", names=LAWS)
