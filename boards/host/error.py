"""What goes wrong with a board."""

__all__ = ["HostError"]


class HostError(Exception):
    """The board cannot be used; the message is one sentence that says why."""
