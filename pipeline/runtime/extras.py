"""Packages that only some commands need; an extra of the installation brings them."""

from importlib.util import find_spec

from pipeline.errors import InputError


def require(extra: str, *packages: str) -> None:
    """Raise InputError if a package of an extra is not installed."""
    for package in packages:
        if find_spec(package) is None:
            raise InputError(
                f"{package} is not installed; pip install 'going-deeper[{extra}]' brings it"
                f" (in the clone: pip install '.[{extra}]')"
            )
