"""Which part of k-space around its centre is measured completely."""

from __future__ import annotations

from torch import Tensor


def calibration_region(mask: Tensor) -> tuple[slice, slice]:
    """The fully measured rectangle around the centre of k-space, as (rows, columns).

    Parameters
    ----------
    mask
        Bool `(1, x)` for lines or `(y, x)`; one scan. The centre is index n//2.

    Returns
    -------
    Slices, symmetric about the centre up to the one extra low index of even sizes; empty where the
    centre itself is not measured. A line mask gives all rows, `slice(0, 1)` standing for them.
    """
    rows, columns = mask.shape
    centre_y, centre_x = (0 if rows == 1 else rows // 2), columns // 2
    if not bool(mask[centre_y, centre_x]):
        return slice(centre_y, centre_y), slice(centre_x, centre_x)

    def span(centre: int, half: int, size: int) -> slice:
        return slice(max(centre - half, 0), min(centre + half + 1, size))

    def measured(half_y: int, half_x: int) -> bool:
        return bool(mask[span(centre_y, half_y, rows), span(centre_x, half_x, columns)].all())

    half_y = half_x = 0
    growing = True
    while growing:  # alternately, so that the rectangle stays as square as the mask allows
        growing = False
        if half_y < rows // 2 and measured(half_y + 1, half_x):
            half_y, growing = half_y + 1, True
        if half_x < columns // 2 and measured(half_y, half_x + 1):
            half_x, growing = half_x + 1, True
    return span(centre_y, half_y, rows), span(centre_x, half_x, columns)
