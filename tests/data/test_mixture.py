"""Specs that combine scans of several kinds: who is in which, by whose law each is thinned, what the card says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from ambient_mri.audit import levels
from ambient_mri.cli import main
from ambient_mri.corruption import MixedCorruption, Mixture
from ambient_mri.data.check import check
from ambient_mri.data.dataset import open_evaluation, open_scans
from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.data.split import PARTS, parts, write_manifest
from ambient_mri.errors import InputError
from ambient_mri.measurement import collate
from ambient_mri.prior.bundle import load_bundle
from ambient_mri.prior.steps import draw
from ambient_mri.sampling.a_fill import completed
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.prior_samples import draw_given
from ambient_mri.sampling.proper import is_proper
from tests.laws.expectation import generators

R8 = {"pattern": {"acceleration": 8, "calibration_fraction": 0.05}}
POINTS = {"pattern": {"kind": "random_points", "acceleration": 4, "calibration_fraction": 0.1}}
WHOLE = {
    "pattern": {"kind": "fully_sampled"},
    "further": {"pattern": {"kind": "random_lines", "acceleration": 4, "calibration_fraction": 0.08}},
}
MIXTURE = [
    {"share": 0.4},
    {"share": 0.3, "acquisition": R8},
    {"share": 0.2, "acquisition": POINTS},
    {"share": 0.1, "clean": True, "acquisition": WHOLE},
]
Write = Callable[..., DataSpec]


@pytest.fixture
def mixed(tmp_path: Path) -> Write:
    def write(mixture: object = MIXTURE, **own: object) -> DataSpec:
        document = {
            "based_on": "brain_demo", "title": "mixed", "source": {"subjects": 60, "image_size": 32, "slices": 2},
            "split": {"validation": 10, "test": 10}, "mixture": mixture, **own,
        }  # fmt: skip
        path = tmp_path / "mixed.yaml"
        path.write_text(yaml.safe_dump(document))
        return load_spec(str(path))

    return write


def test_a_patient_is_in_one_component_and_one_part(mixed: Write) -> None:
    split = parts(mixed())
    where = {part: {(record.patient, record.component) for record in split[part]} for part in PARTS}
    patients = [patient for part in PARTS for patient, _ in where[part]]
    assert len(patients) == len(set(patients)) == 60
    assert [len(where[part]) for part in PARTS] == [40, 10, 10]
    dealt = [component for part in PARTS for _, component in where[part]]
    assert [dealt.count(k) for k in range(4)] == [24, 18, 12, 6]
    fewer = parts(mixed([{"share": 0.4}, {"share": 0.3, "acquisition": R8}]))
    assert sum(len({record.patient for record in fewer[part]}) for part in PARTS) == 42


def test_scans_are_those_of_their_component(mixed: Write) -> None:
    scans, rate = open_scans(mixed(), "train"), {0: 4.0, 1: 8.0, 2: 4.0, 3: 1.0}
    seen = set()
    for scan, record in zip(scans, scans.records, strict=True):
        assert scan.component == (record.component,)
        assert scan.mask.shape[-2] == (32 if record.component == 2 else 1)
        found = scan.mask.numel() / int(scan.mask.sum())
        assert found == pytest.approx(rate[record.component], rel=0.05)
        seen.add(record.component)
    assert seen == {0, 1, 2, 3}
    alone = load_spec("brain_demo").model_copy(update={"source": scans.spec.source, "split": scans.spec.split})
    own = next(i for i, record in enumerate(scans.records) if record.component == 0)
    twin = open_scans(alone, "train")
    assert torch.equal(twin[twin.ids.index(scans.ids[own])].y, scans[own].y), "the scan that it is without a mixture"


def test_a_batch_is_thinned_row_by_row(mixed: Write) -> None:
    scans = open_scans(mixed(), "train")
    rows = [next(i for i, record in enumerate(scans.records) if record.component == k) for k in (2, 0, 3, 1)]
    batch = collate([scans[i] for i in rows])
    assert batch.component == (2, 0, 3, 1)
    assert batch[[3, 0]].component == (1, 2)
    assert batch.mask.shape == (4, 1, 32, 32)
    law = scans.further()
    assert isinstance(law, MixedCorruption)
    further = draw(batch, law, generators(0, 4)).further
    for row in (1, 2, 3):
        kept = further.operator.mask[row, 0]
        assert torch.equal(kept, kept[:1].expand(32, 32))
    assert not torch.equal(further.operator.mask[0, 0], further.operator.mask[0, 0, :1].expand(32, 32))
    assert set(further.weight[2].unique().tolist()) == {1.0}, "nothing of a fully sampled scan was missed by chance"
    hidden = batch.mask[3] & ~further.operator.mask[3]
    (weight,) = further.weight[3][hidden].unique().tolist()
    own = law.laws[1].pattern.given(further.operator.mask[3, 0, :1], batch.mask[3, 0, :1], 0.5)
    assert weight == pytest.approx(float(1 / own.min()))
    alone = [draw(scans[i], law, [generators(0, 4)[k]]).further for k, i in enumerate(rows)]
    for k, one in enumerate(alone):
        assert torch.equal(one.weight.expand(1, 1, 32, 32)[0], further.weight[k]), "the batch changes nothing"


def test_training_a_mixture_and_what_its_card_says(mixed: Write, tmp_path: Path) -> None:
    spec = mixed()
    out = tmp_path / "run"
    words = ["train", "--data", str(tmp_path / "mixed.yaml"), "--preset", "tiny", "--steps", "2", "--out", str(out)]
    assert main([*words, "--dry-run"]) == 0
    assert main(words) == 0
    bundle = load_bundle(out / "bundle")
    card = bundle.card
    assert card.mixture is not None
    assert sum(one.slices for one in card.mixture) == card.slices == 80
    clean = card.mixture[3].slices
    assert card.learned_from == f"from scans of which {clean} of 80 were CLEAN"
    assert card.learned_from in (out / "bundle/docs/README.md").read_text()
    assert isinstance(card.pattern(), Mixture)
    assert not is_proper(card)
    given = draw_given(card, generators(0, 3))
    assert given.mask.shape == (3, 1, 32, 32)
    law = open_scans(spec, "train").pattern()
    observed = Observation.of(open_scans(spec, "test")[0])
    for masked in (draw_given(card, generators(1, 40)), completed(card.pattern())(observed, generators(2, 40))):
        assert not bool(masked.mask.all((1, 2, 3)).any()), "nobody showed the network a clean scan whole"
    assert torch.allclose(card.pattern().probability((32, 32)), law.probability((32, 32)))
    assert main(["sample", str(out / "bundle"), "-n", "2", "--steps", "2", "--out", str(tmp_path / "s")]) == 0
    evaluation = ["evaluate", str(out / "bundle"), "--data", str(tmp_path / "mixed.yaml"), "--limit", "2"]
    sampled = ["--methods", "one-step,a-fill,zero-filled", "--samples", "2", "--nfe", "2", "--tuning-slices", "1"]
    assert main([*evaluation, *sampled]) == 0


def test_evaluations_use_the_law_of_the_spec(mixed: Write) -> None:
    spec = mixed()
    for measurement, truth in open_evaluation(spec, "test", pattern=spec.pattern()):
        assert measurement.mask.shape == (1, 1, 1, 32)
        assert truth.shape == (1, 1, 32, 32)


def test_findings_name_every_component(mixed: Write, tmp_path: Path) -> None:
    lines = "\n".join(check(mixed()))
    for text in ("component 1 of 4", "acceleration 8", "random_points", "saw clean images", "60 scans of 60 patients"):
        assert text in lines
    manifest = json.loads(write_manifest(mixed(), tmp_path / "split.json").read_text())
    assert sum(len(patients) for patients in manifest["parts"].values()) == 60


def test_components_of_other_sources(mixed: Write) -> None:
    other = {"based_on": "brain_demo", "source": {"subjects": 12, "image_size": 32, "seed": 5}, "acquisition": R8}
    spec = mixed([{}, other])
    records = [record for part in PARTS for record in parts(spec)[part]]
    assert {len({r.patient for r in records if r.component == k}) for k in (0, 1)} == {60, 12}
    shared = {record.patient for record in records if record.component == 1}
    for part in PARTS:  # who is called the same in both sources is in one part
        names = [{r.patient for r in parts(spec)[part] if r.component == k} for k in (0, 1)]
        assert names[1] == names[0] & shared
    scans = open_scans(spec, "train")
    twins = [i for i, name in enumerate(scans.ids) if name == f"{sorted(shared)[0]}/0" or True]
    assert len({(scans.ids[i], scans.records[i].component) for i in twins}) == len(scans)


def test_a_spec_without_a_mixture_is_what_it_was() -> None:
    """The hash of a spec is in cards and runs: a new key must not change it."""
    spec = load_spec("brain_demo")
    assert "mixture" not in json.dumps(spec.model_dump(mode="json", exclude={"mixture"}))
    assert spec.sha256 == SHA256
    assert spec.components() == (spec,)


SHA256 = "14d58dddf2bd5065fa304dae106917b3e2ae0885d90c67a3a97c7de6fd006ddf"


@pytest.mark.parametrize(
    ("mixture", "complaint"),
    [
        ([{"share": 0.7}, {"share": 0.5, "acquisition": R8}], "add up to 1.2"),
        ([{"acquisition": WHOLE}], "state clean: true"),
        ([{"clean": True}], "clean: true, but pattern random_lines"),
        ([{"share": 0.5}, {"share": 0.5, "acquisition": {"coils": 8}}], r"differ in acquisition.coils \(4, 8\)"),
        ([{"share": 0.5}, {"share": 0.5, "acquisition": {"acceleration": 8}}], "mixture.1.acquisition.acceleration"),
        ([{"shares": 0.5}], "unknown key 'shares', nearest is 'share'"),
        ([{"share": 0}], "mixture.0.share"),
        ([], "mixture"),
        (["brain_demo"], "a component is a mapping"),
        ([{"based_on": "brain_dmo"}], "no data spec is called 'brain_dmo', nearest is 'brain_demo'"),
        ([{"share": 0.5, "clean_image": "x"}], "names a clean image"),
    ],
)
def test_mistakes_are_named(mixture: object, complaint: str, mixed: Write) -> None:
    with pytest.raises(InputError, match=complaint):
        mixed(mixture)


def test_clean_is_no_key_elsewhere(mixed: Write) -> None:
    with pytest.raises(InputError, match="names a clean image"):
        mixed(clean=True)


def test_a_mixture_is_trained_on_calibrated_refined_and_audited(
    mixed: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each scan is thinned by the law that drew it, wherever a part of a scan is held back."""
    monkeypatch.setitem(levels.LEVELS, "quick", levels.Level(52, 2, 20, 2, (0.5,), 8, 1, 4, 0))
    mixed([{"share": 0.5}, {"share": 0.5, "acquisition": POINTS}])
    spec, bundle = str(tmp_path / "mixed.yaml"), tmp_path / "run/bundle"
    for command, where in {
        "train --preset tiny --steps 1": "run", f"calibrate {bundle} --samples 2 --nfe 2": "calibration.html",
        f"refine {bundle} --laps 1 --steps 1 --nfe 2": "refined", f"audit {bundle} --level quick": "audit",
    }.items():  # fmt: skip
        out = ["--html" if where.endswith("html") else "--out", str(tmp_path / where)]
        assert main([*command.split(), "--data", spec, *out]) == 0, command
    corruption = json.loads((tmp_path / "audit/audit.json").read_text())["data"]["corruption"]
    assert "random_lines" in corruption
    assert "random_points" in corruption
