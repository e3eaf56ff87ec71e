"""The user's side of a board: send images, get labels and scores.

    with Connection(SerialTransport("/dev/ttyUSB0"), network=network) as board:
        labels, scores = board.classify(images)

    with open_accelerator(bitstream="top.bin", network=network) as board:
        labels, scores = board.classify(images)

The first is a board behind a serial line, the second an accelerator behind AXI, on whose processor
this runs. It needs numpy alone, and with it the files that :func:`driver_files` lists.
"""

from boards.host.accelerator import Accelerator, Throughput
from boards.host.batches import Times
from boards.host.command import main
from boards.host.error import HostError
from boards.host.files import copy_driver, driver_files
from boards.host.linux import LinuxTransport
from boards.host.opening import open_accelerator
from boards.host.parameters import ParameterFile, load_parameters
from boards.host.serial import Connection, SerialTransport, Transport
from boards.host.transport import AXITransport, Buffer

__all__ = [
    "AXITransport",
    "Accelerator",
    "Buffer",
    "Connection",
    "HostError",
    "LinuxTransport",
    "ParameterFile",
    "SerialTransport",
    "Throughput",
    "Times",
    "Transport",
    "copy_driver",
    "driver_files",
    "load_parameters",
    "main",
    "open_accelerator",
]
