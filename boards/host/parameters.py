"""Parameters of a retrained network: into an accelerator, and out of it again."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from boards.host.error import HostError
from boards.host.port import RegisterPort
from boards.registers import Identity, Register

__all__ = ["ParameterFile", "load_parameters", "read_parameters", "write_parameters"]

_NO_NETWORK = "00" * 32

#: How numpy complains of files that are damaged, or of another kind: it differs by its version.
_DAMAGE = (ValueError, LookupError, EOFError, TypeError, AttributeError, zlib.error, BadZipFile)


@dataclass(frozen=True)
class ParameterFile:
    """What ``boards.parameters`` writes for a network and a folding.

    Parameters
    ----------
    words : uint32 array
    network, folding : str
        SHA-256 in hexadecimal of that network, and of the folding of the accelerator.
    """

    words: np.ndarray
    network: str
    folding: str


def load_parameters(path: str | Path) -> ParameterFile:
    """Read the file ``path``.

    Raises
    ------
    ValueError
        It is damaged, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            words, checksum = file["words"], int(file["checksum"])
            network, folding = str(file["network"]), str(file["folding"])
    except _DAMAGE as error:
        raise ValueError(f"{path} is not a file of parameters ({error})") from None
    if words.dtype != np.uint32 or words.ndim != 1:
        raise ValueError(f"{path} must have a list of uint32 words, not {words.dtype} {words.ndim}")
    if _checksum(words) != checksum:
        raise ValueError(f"{path} is damaged: its checksum must be {checksum:08x}")
    return ParameterFile(words, network, folding)


def read_parameters(port: RegisterPort, identity: Identity) -> np.ndarray:
    """All words that are in the accelerator."""
    port.write(Register.PARAMETER_ADDRESS, 0)
    count = identity.parameter_words
    return np.array([port.read(Register.PARAMETER_DATA) for _ in range(count)], dtype=np.uint32)


def write_parameters(
    port: RegisterPort, identity: Identity, words: np.ndarray, network: str
) -> None:
    """Write all words, read them back, and say whose they are.

    Raises
    ------
    ValueError
        The accelerator takes another number of words.
    HostError
        Other words came back; the accelerator then has no network.
    """
    if not identity.parameter_words:
        raise ValueError("the parameters of this accelerator are fixed: it was built without room")
    words = np.asarray(words)
    if words.dtype != np.uint32 or words.shape != (identity.parameter_words,):
        raise ValueError(
            f"words must be {identity.parameter_words} of uint32, "
            f"not {words.dtype} of shape {words.shape}"
        )
    # Should this end half-way, nobody takes the mixture for a network.
    port.write_digest(_NO_NETWORK)
    port.write(Register.PARAMETER_ADDRESS, 0)
    for word in words.tolist():
        port.write(Register.PARAMETER_DATA, word)
    found = read_parameters(port, identity)
    if _checksum(found) != _checksum(words):
        wrong = np.flatnonzero(found != words)
        raise HostError(
            f"{len(wrong)} of {len(words)} parameter words came back wrong, the first is word "
            f"{wrong[0]}: {found[wrong[0]]:#010x} instead of {words[wrong[0]]:#010x}"
        )
    port.write_digest(network)


def _checksum(words: np.ndarray) -> int:
    return zlib.crc32(words.astype("<u4").tobytes())
