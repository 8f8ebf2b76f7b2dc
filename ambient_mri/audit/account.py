"""An audit put into words and numbers: from what the tests returned to the parts of `AuditResult`."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import numpy.typing as npt

from ambient_mri.audit import scoring
from ambient_mri.audit.cohort import pseudonym
from ambient_mri.audit.exchangeability import Exchangeability
from ambient_mri.audit.levels import Level
from ambient_mri.audit.material import AuditOptions, Material, subject_sha256
from ambient_mri.audit.membership import Membership
from ambient_mri.audit.multiplicity import clopper_pearson, holm
from ambient_mri.audit.results import Curves, Data, Detection, Dose, QualityResult, Subject, TestResult
from ambient_mri.audit.results import Membership as MembershipResult
from ambient_mri.prior.card import law_in_words

Array = npt.NDArray[np.float64]
QUANTILES = 101


def tests_of(
    t1: Exchangeability, t3: Exchangeability, t4: Membership | None, patients: tuple[int, int]
) -> tuple[TestResult, ...]:
    """T1, T3 and, with access to the model, T4, adjusted together."""
    raw = [t1.p_value, t3.p_value, *([] if t4 is None else [t4.p_value])]
    adjusted = holm(raw)

    def ranked(i: int, name: Literal["T1", "T3"], title: str, one: Exchangeability) -> TestResult:
        return TestResult(
            name=name, title=title, statistic=one.above / patients[0], ci95=clopper_pearson(one.above, patients[0]),
            statistic_is="share of training patients above every hold-out patient", p_raw=raw[i],
            p_holm=float(adjusted[i]), n_units=sum(patients),
        )  # fmt: skip

    found = [
        ranked(0, "T1", "training patients closer to the samples than every hold-out patient", t1),
        ranked(1, "T3", "training patients closer to the samples in what was measured of them", t3),
    ]
    if t4 is not None:
        found.append(TestResult(
            name="T4", title="withheld measurements of training patients are predicted better", statistic=t4.mean,
            statistic_is="gap of log errors, hold-out less training, mean over noise levels",
            ci95=(t4.mean_low, t4.mean_high), p_raw=raw[2], p_holm=float(adjusted[2]), n_units=t4.units,
        ))  # fmt: skip
    return tuple(found)


def detections_of(
    names: list[str], joint: Exchangeability, salt: str, t1: Exchangeability, t3: Exchangeability
) -> tuple[Detection, ...]:
    """Named patients by pseudonym, smallest p-value first."""
    found = []
    for i in np.flatnonzero(joint.named):
        lists = tuple(test for test, one in (("T1", t1), ("T3", t3)) if one.named[i]) or ("T1 or T3",)
        who = pseudonym(names[i], salt)
        found.append(Detection(pseudonym=who, tests=lists, p_value=float(joint.conformal[i])))
    return tuple(sorted(found, key=lambda one: (one.p_value, one.pseudonym)))


def membership_of(t4: Membership | None, state: Material) -> MembershipResult | None:
    """T4 beside its p-value."""
    if t4 is None:
        return None
    return MembershipResult(
        auc=t4.auc, auc_ci95=(t4.auc_low, t4.auc_high), sensitivity_at_1_percent=t4.sensitivity_at_1_percent,
        reference=None if state.reference is None else state.reference.card.title,
    )  # fmt: skip


def curves_of(
    t1: scoring.Scores,
    t3: scoring.Scores,
    pairs: scoring.PairScan,
    t4: Membership | None,
    level: Level,
    doses: list[Dose],
) -> Curves:
    """What figures are drawn from: sorted or aggregated, so that no row is a person."""

    def ordered(values: Array) -> tuple[float, ...]:
        return tuple(np.sort(values).round(6).tolist())

    def quantiles(values: Array) -> tuple[float, ...]:
        return tuple(np.quantile(values, np.linspace(0, 1, QUANTILES)).round(6).tolist())

    return Curves(
        t1_train=ordered(t1.train), t1_hold=ordered(t1.hold), t3_train=ordered(t3.train), t3_hold=ordered(t3.hold),
        nearest_train=quantiles(pairs.nearest_train), nearest_hold=quantiles(pairs.nearest_hold),
        levels=level.noise_levels if t4 is not None else (), gap=() if t4 is None else tuple(t4.gap.tolist()),
        gap_low=() if t4 is None else tuple(t4.low.tolist()), gap_high=() if t4 is None else tuple(t4.high.tolist()),
        dose=tuple(doses),
    )  # fmt: skip


def subject_of(state: Material) -> Subject:
    """What was audited."""
    options, bundle = state.options, state.bundle
    sha256, count = subject_sha256(options), len(state.images)
    if bundle is None:
        return Subject(kind="pictures", name=f"{count} pictures", sha256=sha256, method="unknown", steps=None,
                       samples=count, sampler="theirs")  # fmt: skip
    card, steps = bundle.card, state.level.sampler_steps
    return Subject(
        kind="bundle", name=card.title, sha256=sha256, method=card.method, steps=card.steps, samples=count,
        sampler=f"Heun, {steps} noise levels, {2 * steps - 1} network evaluations a sample",
    )  # fmt: skip


def data_of(state: Material) -> Data:
    """Against which scans."""
    train, hold, spec = state.train, state.hold, state.spec
    laws = dict.fromkeys(one.acquisition.pattern for one in spec.components())
    law = "; ".join(map(law_in_words, laws))
    return Data(
        name=spec.name, title=spec.title, sha256=spec.sha256, simulated=spec.simulated,
        scans="images" if state.options.scans == "images" else "measured", corruption=law,
        train_patients=len(set(train.patients)), train_slices=len(train), holdout_patients=len(set(hold.patients)),
        holdout_slices=len(hold), dropped=train.dropped + hold.dropped + state.dropped,
        slices_per_patient=state.slices,
    )  # fmt: skip


def access_of(state: Material) -> Literal["samples", "model"]:
    """What of the generator was used; pictures alone are samples."""
    return "model" if state.bundle is not None and state.options.access == "model" else "samples"


def limitations_of(state: Material, looks: QualityResult) -> tuple[str, ...]:
    """What this audit cannot say, for people."""
    lines = [
        "No test here proves that nobody can be recognised: they look for copies and for better recovery of training "
        "scans, not for every attack.",
        "The hold-out is the validation and test part of the data spec; the training must have used neither for "
        "anything but watching.",
        f"The generator's own samples were audited, not reconstructions of scans; {looks.realistic:.0%} of them look "
        "like scans of this kind.",
    ]
    if state.options.scans == "measured":
        lines.append(
            f"Only measured samples of the scans were used: {blind_share(state):.0%} of each scan was never seen "
            "here, and a copy that agrees with it there alone would not be noticed."
        )
        lines.append(
            "Planted copies were made from these scans and so carry their noise: from a noise of about a tenth of the "
            "standard deviation of images on, blended ones stand out more often in measured space than copies of the "
            "anatomy alone would."
        )
    else:
        lines.append("EVALUATION ACCESS: the images behind a simulation were used, which an auditor rarely has.")
    if state.bundle is None:
        lines.append("Pictures alone: the model was not at hand, and no membership test could be done.")
    elif state.options.access == "samples":
        lines.append("Access to samples alone: no membership test was done.")
    if state.spec.simulated:
        lines.append("The k-space of these scans was simulated from magnitude images.")
    if not state.level.control_steps:
        lines.append("The positive control hides copies among the samples; no overfitted generator was trained as a "
                     "control, as the higher levels do.")  # fmt: skip
    return tuple(lines)


def artefacts_of(options: AuditOptions) -> dict[str, str]:
    """SHA-256 of what was kept, by name."""
    kept = sorted(path for path in (options.out / "work").iterdir() if path.suffix in (".npy", ".safetensors"))
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


def blind_share(state: Material) -> float:
    """Share of k-space (or pixels) that the average scan did not measure, where T3 is blind."""
    shares = [float(scan.mask.float().mean()) for scan in state.train.scans]
    return 1 - sum(shares) / len(shares)
