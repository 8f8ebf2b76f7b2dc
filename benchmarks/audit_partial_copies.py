"""Partial copies found from k-space alone: whitened similarity beside the raw one, at every acceleration.

Each of 60 generated images is a share of a training slice and the rest of an unseen slice. A copy counts as found when
it is nearer to its scan than 99 % of all pairs of a generated image and a hold-out scan.

AMBIENT_MRI_DATA=... python benchmarks/audit_partial_copies.py --data brain_bids --coils 1
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ambient_mri.audit.augmentation import blended
from ambient_mri.audit.similarity import Whitening, measured_similarity
from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.measurement import Measurement, collate
from ambient_mri.patterns import FullySampled, Pattern, RandomLines

SHARES = (0.25, 0.4, 0.7)


def scans(spec: DataSpec, part: str, pattern: Pattern, count: int) -> tuple[Measurement, Tensor]:
    """Scans of a part under another law, and the images behind them."""
    found = open_evaluation(spec, part, pattern=pattern, limit=count)
    made = [found[i] for i in range(len(found))]
    return collate([scan for scan, _ in made]), torch.cat([truth.real for _, truth in made]).to(torch.complex64)


def less(side: Measurement, mean: Tensor) -> Measurement:
    """y - A μ."""
    shared = side.operator().forward(mean.expand(len(side), -1, -1, -1))
    return replace(side, y=side.without_unmeasured().y - shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="brain_bids")
    parser.add_argument("--coils", type=int, default=1)
    parser.add_argument("--copies", type=int, default=60)
    given = parser.parse_args()
    spec = load_spec(given.data)
    acquisition = spec.acquisition.model_copy(update={"coils": given.coils})
    spec = spec.model_copy(update={"acquisition": acquisition})
    print(f"{given.data}, {given.coils} coils: true positive rate at a false positive rate of 1 %")
    heads = [f"{name}, {share:.0%}" for name in ("raw", "whitened", "whitened, less mean") for share in SHARES]
    print(f"| R | {' | '.join(heads)} |\n{'|---' * (len(heads) + 1)}|")
    for rate in (1, 2, 4, 8):
        law = RandomLines(max(rate, 2), 0.08)
        pattern = law if rate > 1 else FullySampled(law)
        train, copied = scans(spec, "train", pattern, given.copies)
        hold, known = scans(spec, "test", pattern, 100)
        _, unseen = scans(spec, "validation", pattern, given.copies)
        unseen = unseen[: len(copied)]
        mean, white = known.mean(0, keepdim=True), Whitening.of([hold])
        cells = []
        for weight, centre in ((Whitening.none(hold.image_shape), 0), (white, 0), (white, 1)):
            pair = [less(side, centre * mean) for side in (train, hold)]
            for share in SHARES:
                samples = blended(share)(copied[: len(unseen)], unseen) - centre * mean
                ours, control = (measured_similarity(side, samples, weight) for side in pair)
                found = np.diag(ours) > np.quantile(control, 0.99)
                cells.append(f"{found.mean():.2f}")
        print(f"| {rate} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
