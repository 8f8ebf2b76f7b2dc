"""An audit result made by hand."""

from __future__ import annotations

from ambient_mri.audit.results import (
    AuditResult,
    Curves,
    Data,
    Descriptive,
    Detection,
    Dose,
    Fingerprint,
    GateResult,
    Limits,
    Membership,
    Pairs,
    QualityResult,
    Subject,
    TestResult,
)


def example(verdict: str = "DETECTED", *, access: str = "model") -> AuditResult:
    """A detection with T4, or without it for access to samples."""
    tests = [
        TestResult(name=name, title=f"title of {name}", statistic=0.1, statistic_is="a share", ci95=(0.05, 0.2),
                   p_raw=1e-4, p_holm=3e-4, n_units=80)
        for name in ("T1", "T3", "T4")[: 3 if access == "model" else 2]
    ]  # fmt: skip
    t4 = Membership(auc=0.8, auc_ci95=(0.7, 0.9), sensitivity_at_1_percent=0.2, reference="Other <b>")
    curve = (0.5, 1.0) if access == "model" else ()
    return AuditResult(
        version="0", verdict=verdict, sentences=("First <sentence>.", "Second."),
        subject=Subject(kind="bundle", name="Brains <b>", sha256="a" * 64, method="ambient", steps=100, samples=200,
                        sampler="Heun"),
        data=Data(name="demo", title="Demo & more", sha256="b" * 64, simulated=True, scans="measured",
                  corruption="kind=random_lines", train_patients=40, train_slices=40, holdout_patients=40,
                  holdout_slices=40, dropped=1, slices_per_patient=1),
        access=access, level="quick", seed=0,
        gates=(GateResult(name="placebo", passed=True, statistic=0.05, low=0.0, high=0.2, requirement="none"),),
        tests=tuple(tests),
        detections=(Detection(pseudonym="P-01234567", tests=("T1",), p_value=0.02),),
        pairs=Pairs(threshold=0.6, rate=0.005, flagged_samples=4, flagged_patients=3, expected_patients=1.0,
                    carlini_smallest=(0.7, 0.9)),
        fingerprint=Fingerprint(samples=300, train=2, hold=0, patients=(40, 40)),
        descriptive=Descriptive(c_t=-0.5, authentic=0.9, likelihood_gap=1.5),
        membership=t4 if access == "model" else None, duplicates_across=0, duplicates_within=2,
        quality=QualityResult(realistic=0.9, detail=0.95, adequate=True),
        limits=Limits(samples=200, recall=0.97, least_patients=6, least_named=10, rate=0.02, copies_at_most=0.015),
        curves=Curves(t1_train=(0.1, 0.2, 0.9), t1_hold=(0.1, 0.2, 0.3), t3_train=(0.1, 0.5), t3_hold=(0.1, 0.2),
                      nearest_train=(0.1, 0.2, 0.9), nearest_hold=(0.1, 0.2, 0.3), levels=curve, gap=curve,
                      gap_low=curve, gap_high=curve, dose=(Dose(change="exact", copies=10, recognised=1.0,
                                                                stands_out=0.9, in_features=0.85,
                                                                in_measured_space=0.7),)),
        blind_share=0.75, limitations=("One <limit>.",), artefacts={"samples-000000-000064.npy": "c" * 64},
        command="ambient-mri audit runs/x/bundle --data demo --out audit",
    )  # type: ignore[arg-type]  # fmt: skip
