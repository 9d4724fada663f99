"""What the project ships beside its code: small trained models, the ledger, sweeps, measurements."""

from pathlib import Path

from ..errors import DataError

CHECKOUT = Path(__file__).resolve().parents[2]
INSTALLED = CHECKOUT / "resflow_lite_shipped"
"""Where a wheel has them, beside the package, so that an editable install leaves no second resflow_lite behind;
pyproject.toml says what goes in."""
PLACES = dict(models="data/models", results="data/results", measurements="data/measurements")
PLACES |= dict(superseded="data/superseded", sweeps="notebooks/reproduction/sweeps")


def shipped(path: str) -> Path:
    """A file or folder that the project ships, in a checkout and from a wheel alike: "models/digits.safetensors",
    "results/systems", "sweeps", "measurements".

    Raises DataError for one that is not there, with what lies beside it.
    """
    kind, _, rest = path.partition("/")
    if kind not in PLACES:
        raise DataError(f"{path!r} is not shipped: expected a path that begins with one of {', '.join(PLACES)}")
    folder = CHECKOUT / PLACES[kind] if (CHECKOUT / "notebooks").is_dir() else INSTALLED / kind
    found = folder / rest
    if not found.exists():
        beside = found.parent if found.parent.is_dir() else folder
        names = ", ".join(sorted(p.name for p in beside.glob("[!.]*"))) or "nothing"
        raise DataError(f"{path!r} is not shipped; there is: {names}")
    return found
