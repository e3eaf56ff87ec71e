"""What torchrun tells the processes that it starts."""

import socket

__all__ = ["environments"]


def environments(count: int) -> list[dict[str, str]]:
    """Environment variables of each of ``count`` processes that train together here."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]
