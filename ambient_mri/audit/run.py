"""`audit`: from a bundle (or pictures) and a data spec to a result. The same command resumes."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

import ambient_mri
from ambient_mri.audit import account, planting, power, results, scoring
from ambient_mri.audit.annex import Annex, annex_of
from ambient_mri.audit.checks import checks_of, planted_copies
from ambient_mri.audit.cohort import contents_sha256, equal_rows, only
from ambient_mri.audit.control import overfitted_control
from ambient_mri.audit.descriptive import describe_copying
from ambient_mri.audit.fingerprint import Fingerprint, fingerprint
from ambient_mri.audit.levels import level_of
from ambient_mri.audit.material import AuditOptions, Material, Progress, prepare
from ambient_mri.audit.measured_space import MeasuredSpace
from ambient_mri.audit.membership import Membership, less_difficulty, membership
from ambient_mri.audit.quality import quality, spectrum
from ambient_mri.audit.recovery import patient_errors
from ambient_mri.audit.similarity import Whitening
from ambient_mri.audit.verdict import verdict
from ambient_mri.prior.bundle import Bundle

Array = npt.NDArray[np.float64]
__all__ = ["AuditOptions", "audit"]


def audit(options: AuditOptions, progress: Progress = lambda line: None) -> tuple[results.AuditResult, Annex]:
    """Run every test; returns the result, free of pictures and names, and the annex, which has both.

    Raises
    ------
    InputError
        If the bundle, the data or the pictures cannot be used, or `options.out` holds another audit.
    """
    state = prepare(options, progress)
    limits = power.sensitivity(len(state.images), *state.patients())
    train, hold, found = state.features
    by_features = scoring.sides_by_features(train, hold, found, options.device)
    t1 = scoring.score_patients(by_features, state.sides, state.slices, options.seed)
    pairs = scoring.scan_pairs(found, train, hold, state.sides, options.seed)
    progress("T1 and T2 are done; comparing in measured space")
    space = MeasuredSpace.of(state.train, state.hold)
    measured = space.closest_to_sides(state.sides, state.images, progress)
    t3 = scoring.score_patients(measured, state.sides, state.slices, options.seed)
    doses = planted_copies(state, space, (float(t1.hold.max()), float(t3.hold.max())))
    checks = checks_of(state, limits, doses)
    if state.level.control_steps:
        checks.append(overfitted_control(state, space))
    judged = quality(spectrum(state.samples), spectrum(state.hold.pictures))
    looks = results.QualityResult.model_validate(judged)
    t7 = _fingerprint(state, space.whitening)
    t4 = _membership(state, space.whitening) if account.access_of(state) == "model" else None

    figures = describe_copying(found, train, hold, state.train.patients, state.rng("copying"))
    tests = account.tests_of(t1.compared(), t3.compared(), t4, state.patients())
    joint = scoring.joint(t1, t3).compared()
    named = [name for name, is_named in zip(t1.names, joint.named, strict=True) if is_named]
    limits = power.sensitivity(
        len(state.images), *state.patients(), recall=planting.standing_out(doses), hits=pairs.summary.flagged_samples
    )
    answer = verdict(
        checks, tests, len(named), looks, limits,
        pairs=pairs.summary, pair_p_value=pairs.p_value,
    )  # fmt: skip
    salt = hashlib.sha256(f"{options.seed}/{contents_sha256(state.sides)}".encode()).hexdigest()
    annex = annex_of(
        state.sides, state.samples, state.images, (by_features[0], measured[0]), pairs, named, salt
    )  # fmt: skip
    result = results.AuditResult(
        version=ambient_mri.__version__,
        verdict=answer.word,
        sentences=answer.sentences,
        subject=account.subject_of(state),
        data=account.data_of(state),
        access=account.access_of(state),
        level=level_of(options.level)[0],
        seed=options.seed,
        gates=tuple(checks),
        tests=tests,
        detections=account.detections_of(t1.names, joint, salt, t1.compared(), t3.compared()),
        pairs=pairs.summary,
        membership=account.membership_of(t4, state),
        fingerprint=None if t7 is None else results.Fingerprint.model_validate(t7),
        descriptive=results.Descriptive.model_validate(figures),
        duplicates_across=state.across,
        duplicates_within=state.within,
        quality=looks,
        limits=results.Limits.model_validate(limits),
        curves=account.curves_of(t1, t3, pairs, t4, state.level, doses),
        blind_share=account.blind_share(state),
        limitations=account.limitations_of(state, looks),
        artefacts=account.artefacts_of(options),
        command=options.command(),
    )
    return result, annex


def _fingerprint(state: Material, whitening: Whitening) -> Fingerprint | None:
    """T7, on at most as many patients as T4."""
    train, hold = (only(side, equal_rows(side, state.slices, state.level.membership_patients)) for side in state.sides)
    return fingerprint(train, hold, state.images, whitening, state.progress)


def _membership(state: Material, whitening: Whitening) -> Membership:
    """T4 on the same number of patients of each side, less what the reference, if any, finds hard too."""
    assert state.bundle is not None
    train, hold = _withheld(state, state.bundle, whitening, "")
    if state.reference is not None:
        difficulty = np.concatenate(_withheld(state, state.reference, whitening, "reference-"))
        rest = less_difficulty(np.concatenate([train, hold]), difficulty)
        train, hold = rest[: len(train)], rest[len(train) :]
    return membership(train, hold, state.rng("membership"))


def _withheld(state: Material, bundle: Bundle, whitening: Whitening, which: str) -> list[Array]:
    """Log errors of training and hold-out patients."""
    folder, options = state.options.out / "work", state.options
    return [
        patient_errors(
            folder / f"withheld-{which}{name}.npy", bundle,
            [only(side, equal_rows(side, state.slices, state.level.membership_patients))], state.law, whitening,
            state.level, seed=options.seed, device=options.device, progress=state.progress,
        )
        for side, name in zip(state.sides, ("train", "hold"), strict=True)
    ]  # fmt: skip
