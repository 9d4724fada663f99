"""The errors that the package raises on purpose: each names the value, what was expected and what to do."""


class ResflowError(Exception):
    """Base class of every error below. exit_code: of the command line; 2 for what was given, 1 for what failed."""

    exit_code = 1


class SettingsError(ResflowError, ValueError):
    """A setting, an argument or a combination of them that cannot work."""

    exit_code = 2


class DataError(ResflowError):
    """A data file is missing, damaged or not what its name promises; a batch holds what no event can be."""

    exit_code = 2


class InverseError(ResflowError, ArithmeticError):
    """A fixed-point solver did not reach its tolerance."""


class NotContractiveError(ResflowError, ArithmeticError):
    """A residual branch was seen to expand, so that its block need not be invertible."""


class CheckFailed(ResflowError, AssertionError):
    """A part of a flow does not do what its contract promises (checks.py)."""
