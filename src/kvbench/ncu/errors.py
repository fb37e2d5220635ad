"""The one error this package raises for a file it cannot answer for."""


class NcuError(ValueError):
    """An export that is refused; the message is one line and says why."""

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))  # what it quotes may hold newlines
