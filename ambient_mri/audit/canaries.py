"""T6: patients who entered the training by the flip of a coin bound ε of differential privacy from below."""

from __future__ import annotations

import math

from ambient_mri.audit.multiplicity import lower_bound


def epsilon_lower_bound(right: int, guesses: int, level: float = 0.95) -> float:
    """ε that a training must exceed for its canaries to be guessed so well.

    Each canary was included by a fair coin. Under ε-differential privacy the number of right guesses about who was
    included is at most Binomial(n, eᵋ/(1 + eᵋ)), in distribution (Steinke, Nasr and Jagielski 2023, theorem 5.2 with
    δ = 0). The exact lower bound of that proportion gives ε; 0 where it is below one half.

    Parameters
    ----------
    right, guesses
        Right guesses among those made; abstaining is allowed and does not count.
    """
    if not 0 <= right <= guesses or guesses == 0:
        raise ValueError(f"{right} right of {guesses} guesses")
    share = lower_bound(right, guesses, level)
    return max(math.log(share / (1 - share)), 0.0) if share > 0 else 0.0
