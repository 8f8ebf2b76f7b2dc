"""What each test of an audit found, section by section of its page."""

from __future__ import annotations

from html import escape

from ambient_mri.audit.results import AuditResult, Dose
from ambient_mri.report.audit_text import percent
from ambient_mri.report.curves import Line, exceeding, line_chart
from ambient_mri.report.page import table


def _patients(result: AuditResult) -> list[str]:
    curves = result.curves
    chart = line_chart(
        "Share of patients whose score exceeds a value", "largest similarity of the patient's slices to any sample",
        "share of patients",
        [Line("training", *exceeding(curves.t1_train)), Line("hold-out", *exceeding(curves.t1_hold))],
    )  # fmt: skip
    return [
        "<h2>T1: training patients beside patients never seen</h2>",
        "<p>If the generator has copied nobody, the two curves differ by chance only. Copied patients are those of the "
        "training curve to the right of the end of the hold-out curve.</p>",
        chart,
    ]


def _pairs(result: AuditResult) -> list[str]:
    curves, pairs = result.curves, result.pairs
    share = [i / (len(curves.nearest_train) - 1) for i in range(len(curves.nearest_train))]
    chart = line_chart(
        "Quantiles of the similarity of samples to their nearest slice", "quantile of samples", "similarity",
        [Line("to training patients", share, curves.nearest_train),
         Line("to hold-out patients", share, curves.nearest_hold)],
    )  # fmt: skip
    return [
        "<h2>T2: samples and their nearest slices, among equally many patients</h2>",
        chart,
        f"<p>{pairs.flagged_samples} samples are exceptionally near to one training patient: distance to the nearest "
        f"below {pairs.threshold:.3f} of that to the nearest other patient, which {percent(pairs.rate)} of samples "
        f"reach with hold-out patients. They concern {pairs.flagged_patients} training patients, where chance alone "
        f"would give about {pairs.expected_patients:.1f}. Smallest ratio of Carlini et al. (2023): "
        f"{pairs.carlini_smallest[0]:.3f} with training, {pairs.carlini_smallest[1]:.3f} with hold-out patients.</p>",
    ]


def _recovery(result: AuditResult) -> list[str]:
    curves, member = result.curves, result.membership
    if member is None:
        return [
            "<h2>T4: recovery of withheld measurements</h2>",
            "<p>Not done: it needs access to the model. Samples alone cannot show this kind of leak.</p>",
        ]
    chart = line_chart(
        "Gap in recovering withheld measurements against the noise level",
        "noise level σ (image standard deviation .5)", "hold-out less training, log error",
        [Line("G(σ), 95 %", curves.levels, curves.gap, curves.gap_low, curves.gap_high)],
        logarithmic=True, zero=True,
    )  # fmt: skip
    beside = "" if member.reference is None else (
        f" What {escape(member.reference)}, which knows none of these patients, finds hard too was taken off."
    )  # fmt: skip
    return [
        "<h2>T4: are withheld measurements of training patients predicted better?</h2>",
        chart,
        "<p>Above the line: the model knows its training scans. A training patient is recovered better than a hold-out "
        f"patient with probability {member.auc:.2f} ({member.auc_ci95[0]:.2f} to {member.auc_ci95[1]:.2f}; .5 is "
        f"chance); {percent(member.sensitivity_at_1_percent)} of training patients are recovered better than all but "
        f"1 % of the hold-out.{beside}</p>",
    ]


def _doses(result: AuditResult) -> list[str]:
    def row(dose: Dose) -> tuple[str, ...]:
        bar = f'<span class="bar" style="width:{100 * dose.stands_out:.0f}%"></span>'
        shares = (dose.recognised, dose.in_features, dose.in_measured_space, dose.stands_out)
        return escape(dose.change), str(dose.copies), *map(percent, shares), bar

    return [
        "<h2>What copies this audit would have found</h2>",
        "<p>Training slices were copied on purpose. Recognised: the nearest training slice, in features or in measured "
        "space, is that of the right patient. Stands out: it is also nearer than any hold-out patient comes to any "
        "sample. What does not stand out is a blind spot of T1, or of T3.</p>",
        table(("Copy", "n", "Recognised", "Stands out in T1", "in T3", "in either", ""), map(row, result.curves.dose)),
    ]


def _measured(result: AuditResult) -> list[str]:
    curves = result.curves
    chart = line_chart(
        "Share of patients whose similarity in measured space exceeds a value",
        "largest whitened similarity of the patient's scans to any sample", "share of patients",
        [Line("training", *exceeding(curves.t3_train)), Line("hold-out", *exceeding(curves.t3_hold))],
    )  # fmt: skip
    blind = "" if result.blind_share is None else (
        f" A scan measured {percent(1 - result.blind_share)} of its samples; a copy that agrees with it only in the "
        f"other {percent(result.blind_share)} is invisible here."
    )  # fmt: skip
    return [
        "<h2>T3: the same from measured samples alone</h2>",
        "<p>Samples are compared with scans in what the scanner measured, without any reconstruction, with the low "
        f"frequencies that all patients share weighed down.{blind}</p>",
        chart,
    ]


def _fingerprint(result: AuditResult) -> list[str]:
    heading, found = "<h2>T7, experimental: the noise of single recordings</h2>", result.fingerprint
    if found is None:
        return [heading, "<p>Not done: these scans hold too few samples in which noise outweighs anatomy.</p>"]
    suspect = "" if found.hold == 0 else (
        " As nobody can know the noise of hold-out scans, their noise level is stated too high, and neither figure "
        "means anything."
    )  # fmt: skip
    return [
        heading,
        f"<p>In samples of k-space where noise outweighs anatomy ({found.samples} of the median scan), an image that "
        "agrees with a scan better than noise allows knows the noise of that very recording. So do samples for "
        f"{found.train} of {found.patients[0]} training and {found.hold} of {found.patients[1]} hold-out patients, at "
        f"an error of 1 % over all of them.{suspect} Magnitude pictures have lost half of the noise and are hardly "
        "ever recognised. This test does not enter the verdict.</p>",
    ]


def _descriptive(result: AuditResult) -> list[str]:
    figures = result.descriptive
    rows = [
        ("C<sub>T</sub> (Meehan et al. 2020)", f"{figures.c_t:.2f}", "far below 0: samples are nearer to the training "
         "than hold-out slices are"),
        ("Authentic samples (Alaa et al. 2022)", percent(figures.authentic), "farther from their nearest training "
         "slice than that is from any other patient's"),
        ("Likelihood gap (Jiralerspong et al. 2023)", f"{figures.likelihood_gap:.1f}", "above 0: samples explain "
         "training slices better than hold-out slices; hundredths of a nat a dimension"),
    ]  # fmt: skip
    return [
        "<h2>Figures of other works</h2>",
        "<p>For comparison. They count slices, which of one patient resemble each other, so none has a known error, "
        "and none enters the verdict.</p>",
        table(("Figure", "Value", "Reading"), rows, left=(0, 2)),
    ]


EVIDENCE = (_patients, _pairs, _recovery, _doses, _measured, _fingerprint, _descriptive)
"""In the order of the page."""
