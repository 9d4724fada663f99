"""Objects as words: estimators and laws of the package are stored as what `repr` says, and read again without `eval`.

Of an object of the user's own a file has the words only. They become an `Unknown`, which raises a sentence where the
object itself is needed, and not before.
"""

import ast
from typing import Any, NoReturn

from ...errors import SettingsError
from ...estimators.krylov import Krylov
from ...estimators.logdet import Estimator, Exact, PowerSeries
from ...estimators.series import Geometric, Matched, Poisson, Roulette, Truncated

__all__ = ["Unknown", "rebuilt"]

CLASSES = {c.__name__: c for c in (Exact, Geometric, Krylov, Matched, Poisson, PowerSeries, Roulette, Truncated)}


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
        named = {word.arg: _value(word.value) for word in node.keywords}
        return CLASSES[node.func.id](*map(_value, node.args), **named)
    return ast.literal_eval(node)


class Unknown:
    """Stands for an object of the user's own: a data set, an estimator, a law or an activation."""

    def __init__(self, setting: str, words: str) -> None:
        self.setting, self.__name__ = setting, words

    def __repr__(self) -> str:
        return self.__name__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unknown) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(self.__name__)

    def __call__(self, *arguments: Any, **named: Any) -> NoReturn:
        raise SettingsError(
            f"{self.setting} = {self.__name__} is your own, and a run's files have its name only. To give it: "
            "load_run(folder, experiment=...), or --experiment MODULE:NAME on the command line"
        )

    draw = estimate = sample = survival = __call__


def known_or_unknown(setting: str, told: Any, known: Any) -> Any:
    """A stored setting: a name among `known`, an object of the package's classes, or an Unknown."""
    value = rebuilt(told)
    return Unknown(setting, value) if isinstance(value, str) and value not in known else value


def estimator_words(estimator: Estimator) -> dict[str, Any]:
    """The settings law, law_parameter, n_exact, draws, n_probes and probe of a roulette; {} for what is none."""
    terms = getattr(estimator, "terms", None)
    if not isinstance(terms, Roulette):
        return {}
    name = {Geometric: "geometric", Poisson: "poisson", Matched: "matched"}.get(type(terms.law), terms.law)
    parameter = {"geometric": "p", "poisson": "rate", "matched": "rho"}.get(name) if isinstance(name, str) else None
    told = dict(law=name, law_parameter=parameter and getattr(terms.law, parameter), n_exact=terms.n_exact)
    return told | dict(draws=terms.draws, n_probes=estimator.n_probes, probe=estimator.probe)
