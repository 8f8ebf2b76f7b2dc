"""T7 on real brains: whose noise do samples give away that hold recordings, half recordings, or perfect anatomy?

    AMBIENT_MRI_DATA=… python benchmarks/audit_fingerprint.py

Samples are made of 60 training scans of `brain_bids` (R = 4, 4 coils, noise .02), compared with 100 training and 100
hold-out slices.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ambient_mri.audit.cohort import Side, open_side
from ambient_mri.audit.fingerprint import fingerprint
from ambient_mri.audit.generator import normalised
from ambient_mri.audit.measured_space import MeasuredSpace
from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.spec import load_spec
from ambient_mri.solvers import Resolvent

SAMPLES, SLICES = 60, 100


def recordings(side: Side) -> Tensor:
    """(AᴴA + .01)⁻¹ Aᴴy of the first scans: complex images that hold their noise."""
    found = [
        Resolvent(batch.operator(), torch.full((len(batch), 1, 1, 1), 0.01))(batch.adjoint())
        for batch in side.batches()
    ]
    return torch.cat(found)[:SAMPLES]


def main() -> None:
    spec = load_spec("brain_bids")
    train, hold = (open_side(spec, (part,), "measured", SLICES) for part in ("train", "test"))
    whitening = MeasuredSpace.of(hold).whitening
    known, unseen = (open_evaluation(spec, part, limit=SLICES) for part in ("train", "validation"))
    anatomy, other = (torch.cat([scans[i][1] for i in range(SAMPLES)]) for scans in (known, unseen))
    recorded = recordings(train)
    samples = {
        "recordings": recorded,
        "half of a recording, half of an unseen image": 0.5 * recorded + 0.5 * other,
        "the images behind the scans": anatomy,
        "magnitudes of recordings": recorded.abs(),
        "unseen images": other,
    }
    for name, images in samples.items():
        found = fingerprint(train, hold, normalised(images.to(torch.complex64)), whitening)
        assert found is not None
        print(f"{name}: {found.train} of {found.patients[0]} training patients, {found.hold} of {found.patients[1]} "
              f"hold-out patients; {found.samples} samples of the median scan")  # fmt: skip


if __name__ == "__main__":
    main()
