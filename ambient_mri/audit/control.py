"""A generator overfitted on purpose to a few training patients: an audit that misses this one misses others too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from ambient_mri import files
from ambient_mri.audit import embedder, gates, generator, scoring
from ambient_mri.audit.cohort import open_side
from ambient_mri.audit.exchangeability import common_count
from ambient_mri.audit.material import Material
from ambient_mri.audit.measured_space import MeasuredSpace
from ambient_mri.audit.multiplicity import holm
from ambient_mri.audit.results import GateResult
from ambient_mri.data.derived import derive
from ambient_mri.data.spec import load_spec
from ambient_mri.prior.bundle import load_bundle
from ambient_mri.prior.training import TrainOptions, train

PATIENTS, SAMPLES = 20, 192


def overfitted_control(state: Material, space: MeasuredSpace) -> GateResult:
    """Train on the scans of 20 training patients for far too long, and look for them by T1 and T3.

    The network is the `tiny` one, whatever is audited, and no scan is mirrored or shifted. It knows patients by heart:
    once looked at, it is removed with its samples, and only the p-value is kept.
    """
    folder = state.options.out / "work" / "control"
    found = folder.with_suffix(".json")
    if not found.exists():
        p_value, patients = _detected(state, space, folder)
        files.write(found, json.dumps({"p_value": p_value, "patients": patients}) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    known = json.loads(found.read_text("utf-8"))
    return gates.overfitted(float(known["p_value"]), int(known["patients"]))


def _detected(state: Material, space: MeasuredSpace, folder: Path) -> tuple[float, int]:
    """(p after adjustment, patients) of the control."""
    options, level = state.options, state.level
    facts = {"title": f"{state.spec.title}, {PATIENTS} patients", "symmetry": None, "split": {"train": PATIENTS}}
    data = derive(options.data, folder / "control.yaml", facts)
    state.progress(f"training a control on {PATIENTS} patients, {level.control_steps} steps")
    bundle = train(TrainOptions(data, folder / "training", steps=level.control_steps, preset="tiny", seed=options.seed,
                                device=options.device))  # fmt: skip
    drawn = generator.draw(load_bundle(bundle, options.device), SAMPLES, folder, steps=level.sampler_steps,
                           seed=options.seed, progress=state.progress)  # fmt: skip
    images = generator.normalised(drawn)
    copied = open_side(load_spec(data), ("train",), options.scans, None, state.progress)
    sides = (copied, state.hold)

    features = embedder.embed(state.network, state.see(images, "control"))
    own = embedder.embed(state.network, copied.pictures)
    by_features = scoring.sides_by_features(own, state.features[1], features)
    measured = space.closest_to_sides(sides, images)
    slices = common_count((*copied.patients, *state.hold.patients))
    p_values = [
        scoring.score_patients(closest, sides, slices, options.seed).compared().p_value
        for closest in (by_features, measured)
    ]
    return float(min(holm(p_values))), len(set(copied.patients))
