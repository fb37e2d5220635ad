"""The one error this package raises for a file it cannot answer for."""


class NcuError(ValueError):
    """An export that is refused; the message is one line and says why."""
