"""Specs say what is wrong and what was meant; nothing in them can name a clean image."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from ambient_mri.data import facts, location, spec
from ambient_mri.data.spec import list_specs, load_spec
from ambient_mri.data.spec_problems import models_in
from ambient_mri.errors import InputError
from ambient_mri.patterns import Blocks, FullySampled, Pixels, RandomLines

DOCS = Path(__file__).resolve().parents[2] / "docs" / "data_specs.md"


@pytest.fixture
def write(tmp_path):
    def write(**own):
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({"based_on": "brain_bids", **own}))
        return str(path)

    return write


def test_every_packaged_spec_loads_under_its_file_name():
    specs = {s.name for s in list_specs()}
    assert {p.stem for p in spec.spec_folder().glob("*.yaml")} == specs
    assert {"brain_demo", "brain_bids", "brain_fastmri", "knee_fastmri", "images_folder"} <= specs


def test_packaged_laws():
    assert load_spec("brain_bids").pattern() == RandomLines(4.0, 0.08)
    assert load_spec("brain_bids_pixels").pattern() == Pixels(0.6)
    assert load_spec("brain_bids_blocks").pattern() == Blocks(1 / 3, 1 / 3, 1)
    assert load_spec("brain_bids_clean").pattern() == FullySampled(RandomLines(4.0, 0.08))
    assert load_spec("brain_bids").acquisition.further.keep == (0.25, 0.95)
    assert load_spec("brain_bids_noise05").acquisition.noise_std == 0.05
    assert load_spec("brain_bids_noiseless").acquisition.noise_std == 0


def test_simulated_is_stated():
    assert load_spec("brain_bids").simulated
    assert not load_spec("brain_fastmri").simulated


def test_based_on_merges_and_keeps_its_own_name(write):
    mine = load_spec(write(acquisition={"noise_std": 0.1}))
    base = load_spec("brain_bids")
    assert mine.name == "mine"
    assert mine.acquisition.noise_std == 0.1
    assert mine.acquisition.coils == base.acquisition.coils
    assert mine.source == base.source
    assert mine.sha256 != base.sha256


def test_another_kind_replaces_the_whole_mapping(write):
    mine = load_spec(write(source={"kind": "brain_demo"}))
    assert mine.source == facts.BrainDemo(kind="brain_demo")


def test_hash_is_of_facts_not_of_layout(tmp_path):
    original = spec.spec_folder() / "brain_demo.yaml"
    document = yaml.safe_load(original.read_text())
    copy = tmp_path / "brain_demo.yaml"
    copy.write_text(yaml.safe_dump(document, sort_keys=True, default_flow_style=False))
    assert load_spec(str(copy)).sha256 == load_spec("brain_demo").sha256


@pytest.mark.parametrize(
    ("own", "key", "says"),
    [
        ({"acquistion": {}}, "acquistion", "nearest is 'acquisition'"),
        ({"source": {"rooot": "x"}}, "source.rooot", "nearest is 'root'"),
        ({"acquisition": {"pattern": {"kind": "random_lines", "accel": 4}}}, "acquisition.pattern.accel", "accel"),
        ({"acquisition": {"pattern": {"kind": "random_line"}}}, "acquisition.pattern", "nearest is 'random_lines'"),
        ({"source": {"kind": "bidz"}}, "source", "nearest is 'bids'"),
        ({"acquisition": {"coils": "four"}}, "acquisition.coils", "'four'"),
        ({"acquisition": {"noise_std": float("nan")}}, "acquisition.noise_std", "finite"),
        ({"acquisition": {"further": {"keep": [0.8, 0.2]}}}, "acquisition.further", "exceeds"),
        ({"acquisition": {"further": {"keep": [0.2, 1.0]}}}, "acquisition.further.keep", "less than 1"),
        ({"split": {"validation": 1.5}}, "split.validation", "1.5"),
        ({"source": {"slices": "midle"}}, "source.slices", "'midle'"),
        ({"acquisition": {"pattern": {"kind": "pixels", "missing": 0.5}}}, "acquisition", "state domain: image"),
        ({"acquisition": {"domain": "image"}}, "acquisition", "takes pixels or blocks"),
        ({"acquisition": {"pattern": {"kind": "fully_sampled"}}}, "acquisition", "further.pattern"),
        ({"acquisition": {"pattern": {"kind": "from_files"}}}, "", "carry no masks"),
        (
            {"acquisition": {"further": {"pattern": {"kind": "random_lines", "acceleration": 3}}}},
            "acquisition",
            "differs from pattern",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_file_and_key(write, own, key, says):
    path = write(**own)
    with pytest.raises(InputError) as caught:
        load_spec(path)
    assert caught.value.where == (f"{path}: {key}" if key else path)
    assert says in caught.value.what
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["reconstruction_rss", "target", "ground_truth", "clean", "Ground-Truth"])
@pytest.mark.parametrize("place", [None, "source", "acquisition"])
def test_a_clean_target_is_refused(write, key, place):
    with pytest.raises(InputError, match="training never reads clean images"):
        load_spec(write(**({key: "x"} if place is None else {place: {key: "x"}})))


def test_a_clean_target_is_refused_as_a_value_too(write):
    with pytest.raises(InputError, match="training never reads clean images"):
        load_spec(write(source={"suffix": "reconstruction_rss"}))


def test_a_repeated_key_is_refused_with_its_lines(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("based_on: brain_bids\nacquisition:\n  noise_std: 0.1\n  coils: 4\n  noise_std: 0.2\n")
    with pytest.raises(InputError, match=r"mine\.yaml: not valid YAML in line 5: the key 'noise_std' is in line 3"):
        load_spec(path)
    path.write_text("title: &t {a: 1}\nlicence: {<<: *t, b: 2}\nsource: {<<: *t, a: 3}\n")  # merging repeats nothing
    with pytest.raises(InputError, match=r"mine\.yaml: (title|licence|the key)"):
        load_spec(path)


@pytest.mark.parametrize(
    ("line", "key"),
    [("acquisition: {noise_std: yes}", "noise_std"), ("acquisition: {coils: on}", "coils"),
     ("split: {validation: 1, test: 1, seed: true}", "seed"), ("split: {validation: yes, test: 1}", "validation"),
     ("acquisition: {further: {keep: [0.5, yes]}}", "keep")],
)  # fmt: skip
def test_yes_is_no_number(tmp_path, line, key):
    path = tmp_path / "mine.yaml"
    path.write_text(f"based_on: brain_bids\n{line}\n")
    with pytest.raises(InputError, match=rf"mine\.yaml: [a-z.]*{key}: (yes|no) \(true or false in YAML\) is no number"):
        load_spec(path)


def test_whole_numbers_are_numbers_and_yes_is_yes(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("based_on: brain_bids\nacquisition: {noise_std: 1}\nsymmetry: {mirror: yes}\n")
    loaded = load_spec(path)
    assert (loaded.acquisition.noise_std, loaded.symmetry.mirror) == (1.0, True)


def test_unknown_name_names_the_nearest():
    with pytest.raises(InputError, match="nearest is 'brain_demo'"):
        load_spec("brain_dem")


def test_absent_and_broken_files(tmp_path):
    with pytest.raises(InputError, match="no such data spec"):
        load_spec(str(tmp_path / "absent.yaml"))
    broken = tmp_path / "broken.yaml"
    broken.write_text("title: [")
    with pytest.raises(InputError, match="line 1"):
        load_spec(str(broken))
    broken.write_text("title: !!python/object/apply:os.getcwd []")
    with pytest.raises(InputError, match="YAML"):
        load_spec(str(broken))
    broken.write_text("- a list")
    with pytest.raises(InputError, match="mapping"):
        load_spec(str(broken))
    broken.write_text("based_on: ./broken.yaml")
    with pytest.raises(InputError, match="back to this file"):
        load_spec(str(broken))


def test_specs_are_found_in_a_checkout_and_in_a_wheel(tmp_path, monkeypatch):
    for inside in (True, False):
        top = tmp_path / str(inside)
        package = top / "ambient_mri"
        (package / "data").mkdir(parents=True)
        home = package / "data_specs" if inside else top / "data_specs"
        shutil.copytree(Path(__file__).resolve().parents[2] / "data_specs", home)
        monkeypatch.setattr(spec, "__file__", str(package / "data" / "spec.py"))
        assert spec.spec_folder() == home
        assert load_spec("knee_fastmri").source.root == "knee_fastmri"


def test_places_and_the_error_that_lists_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMBIENT_MRI_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError) as caught:
        location.locate(load_spec("brain_fastmri"))
    message = str(caught.value)
    for place in (tmp_path / "elsewhere", tmp_path, tmp_path.parent / "shared" / "data"):
        assert str(place / "brain_fastmri") in message
    assert "https://fastmri.med.nyu.edu" in message
    assert "--data brain_demo" in message
    (tmp_path / "elsewhere" / "brain_fastmri").mkdir(parents=True)
    (tmp_path / "brain_fastmri").mkdir()
    assert location.locate(load_spec("brain_fastmri")) == tmp_path / "elsewhere" / "brain_fastmri"
    monkeypatch.delenv("AMBIENT_MRI_DATA")
    assert location.locate(load_spec("brain_fastmri")) == tmp_path / "brain_fastmri"


def _models(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    if model not in seen:
        seen.add(model)
        for field in model.model_fields.values():
            for inner in models_in(field.annotation):
                _models(inner, seen)
    return seen


def test_every_key_and_kind_is_documented():
    text = DOCS.read_text()
    models = _models(spec.DataSpec, set())
    assert facts.FurtherFacts in models
    assert facts.BlocksLaw in models
    for model in models:
        for name, field in model.model_fields.items():
            assert f"`{name}`" in text, f"{model.__name__}.{name}"
            if name == "kind":
                for kind in field.annotation.__args__:
                    assert f"`{kind}`" in text, kind
    assert "`based_on`" in text


def test_listing_specs_does_not_import_torch():
    code = "import sys; from ambient_mri.data.spec import list_specs; list_specs(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
