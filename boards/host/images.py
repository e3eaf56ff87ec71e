"""Images as every board takes them."""

import numpy as np

__all__ = ["check_images"]


def check_images(images: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """``images`` in one piece of memory, if they are uint8 of N and ``shape``.

    Raises
    ------
    ValueError
        They have another type or shape.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = getattr(images, "dtype", type(images).__name__)
        raise ValueError(f"images must be a uint8 array, not {kind}")
    if images.ndim != 4 or images.shape[1:] != tuple(shape):
        wanted = " x ".join(str(extent) for extent in ("N", *shape))
        found = " x ".join(str(extent) for extent in images.shape)
        raise ValueError(f"images must be {wanted}, not {found}")
    return np.ascontiguousarray(images)
