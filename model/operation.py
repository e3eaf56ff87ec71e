"""What all operations of the integer network have in common."""

from dataclasses import dataclass

import numpy as np

from model.elements import NetworkError, TensorType

__all__ = ["Operation"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation:
    """An operation: a name that is unique in its network, and the names of its inputs."""

    name: str
    inputs: tuple[str, ...] = ()

    #: Number of inputs; None for two or more.
    arity = 1

    def fail(self, what: str) -> NetworkError:
        return NetworkError(f"operation {self.name!r} ({type(self).__name__}): {what}")

    def output(self, *inputs: TensorType) -> TensorType:
        raise NotImplementedError

    def check_numbers(self, what: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
        """Check that parameter ``what`` is an integer array of ``shape``."""
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "iu":
            raise self.fail(f"{what} must be an array of integers")
        if values.shape != shape:
            raise self.fail(f"{what} must have shape {shape}, not {values.shape}")

    def check_integer(self, what: str, value: object, low: int, high: int) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self.fail(f"{what} must be an integer from {low} to {high}, not {value!r}")

    def check_number_input(self, x: TensorType) -> None:
        if x.element.is_binary:
            raise self.fail("needs an int or uint input, not binary")
