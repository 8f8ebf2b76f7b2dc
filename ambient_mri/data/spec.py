"""Data specs: one YAML file a data set, validated; a spec can never name a clean image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from ambient_mri.data.facts import (
    AcquisitionFacts,
    ComponentFacts,
    Facts,
    FastMRI,
    Law,
    Source,
    SplitFacts,
    SymmetryFacts,
)
from ambient_mri.data.spec_problems import explained, nearest
from ambient_mri.errors import InputError

if TYPE_CHECKING:
    from ambient_mri.data.simulation import Acquisition
    from ambient_mri.patterns import Pattern

CLEAN_TARGETS = frozenset(
    (
        *("clean", "clean_image", "clean_images", "ground_truth", "label", "labels", "reconstruction_esc"),
        *("reconstruction_rss", "reference", "reference_image", "target", "targets", "truth"),
    )
)
"""Names of clean images in data sets and configurations; no spec may hold one."""


class DataSpec(Facts):
    """A data set: where its files are, how they were acquired, who is kept for evaluation.

    With `mixture`, scans of several kinds in one data set; `source` and `acquisition` are then what its components
    differ from, and `acquisition.pattern` is the law that evaluations use.
    """

    name: str
    title: str
    licence: str
    source: Source
    acquisition: AcquisitionFacts
    split: SplitFacts
    symmetry: SymmetryFacts | None = None
    mixture: Annotated[tuple[ComponentFacts, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _fits_source(self) -> DataSpec:
        _fit(self.source, self.acquisition)
        for one in self.mixture or ():
            _fit(one.source, one.acquisition)
        _mix(self.mixture or ())
        return self

    def components(self) -> tuple[DataSpec, ...]:
        """A spec for the scans of each kind; itself where there is no mixture."""
        if self.mixture is None:
            return (self,)
        changes = ({"source": one.source, "acquisition": one.acquisition, "mixture": None} for one in self.mixture)
        return tuple(self.model_copy(update=change) for change in changes)

    @property
    def simulated(self) -> bool:
        """Whether k-space (or the corruption of pixels) was simulated from images."""
        sources = [one.source for one in self.components()]
        return any(source.simulated if isinstance(source, FastMRI) else True for source in sources)

    @property
    def sha256(self) -> str:
        """Hash of every fact; where the files happen to lie does not enter."""
        facts = self.model_dump(mode="json")
        later = ((facts, "mixture"), (facts, "symmetry"), (facts["split"], "train"), (facts["split"], "half"))
        for holder, key in later:  # absent is as before there was the key
            if holder[key] is None:
                del holder[key]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def pattern(self) -> Pattern:
        """The law of A; of a mixture, the one that its components differ from.

        Raises
        ------
        InputError
            If the law is that of the files' own masks (`from_files`): then `open_scans(...).pattern()` has it.
        """
        if self.acquisition.pattern.kind == "fully_sampled":
            from ambient_mri.patterns import FullySampled

            assert self.acquisition.further.pattern is not None  # facts.AcquisitionFacts sees to it
            return FullySampled(build_law(self.acquisition.further.pattern, self.name))
        return build_law(self.acquisition.pattern, self.name)

    def simulation(self, pattern: Pattern | None = None) -> Acquisition:
        """The facts that simulate a scan; `pattern` takes the place of the spec's law."""
        from ambient_mri.data.simulation import Acquisition

        facts = self.acquisition
        return Acquisition(
            pattern=self.pattern() if pattern is None else pattern,
            domain=facts.domain,
            coils=facts.coils or 1,
            noise_std=facts.noise_std or 0.0,
            phase=facts.phase,
            sensitivity_maps=facts.sensitivity_maps,
        )


def _fit(source: Source, acquisition: AcquisitionFacts) -> None:
    """What an acquisition has to state, or must not, for files of a kind."""
    if not isinstance(source, FastMRI):
        if acquisition.noise_std is None:
            raise ValueError("acquisition.noise_std is needed: there are no acquired samples to estimate it from")
        if acquisition.domain == "kspace" and acquisition.coils is None:
            raise ValueError("acquisition.coils is needed to simulate k-space")
        if acquisition.pattern.kind == "from_files":
            raise ValueError(f"acquisition.pattern from_files: {source.kind} files carry no masks; state a law")
        return
    if acquisition.domain == "image":
        raise ValueError("acquisition.domain image: fastMRI files hold k-space")
    if acquisition.phase != "none":
        raise ValueError("acquisition.phase: acquired k-space has its own phase; leave the key out")
    if acquisition.coils != 1 and acquisition.sensitivity_maps == "known":
        raise ValueError("acquisition.sensitivity_maps: no file of this kind carries maps; state espirit")
    if acquisition.pattern.kind in ("random_points", "poisson_disc") and source.remove_oversampling:
        raise ValueError("source.remove_oversampling mixes readout samples; state false with a pattern of points")


def _mix(parts: Sequence[ComponentFacts]) -> None:
    """What components have to share for their scans to meet in a batch, and shares of one source that add up."""
    for key in ("domain", "coils"):
        stated = sorted({str(value) for part in parts if (value := getattr(part.acquisition, key)) is not None})
        if len(stated) > 1:
            raise ValueError(f"mixture: components differ in acquisition.{key} ({', '.join(stated)})")
    if len({size for part in parts if (size := getattr(part.source, "image_size", None)) is not None}) > 1:
        raise ValueError("mixture: components differ in source.image_size, and slices of one size share a batch")
    for source in dict.fromkeys(part.source for part in parts):
        total = sum(part.share for part in parts if part.source == source)
        if total > 1 + 1e-9:
            raise ValueError(f"mixture: shares of one source add up to {total:g}; each patient is in one component")


def build_law(law: Law, where: str) -> Pattern:
    """The sampling law that a spec states."""
    from ambient_mri import patterns

    match law.kind:
        case "pixels":
            return patterns.Pixels(law.missing)
        case "blocks":
            return patterns.Blocks(law.height, law.width, law.count)
        case "random_lines":
            return patterns.RandomLines(law.acceleration, law.calibration_fraction)
        case "equispaced_lines":
            return patterns.EquispacedLines(law.acceleration, law.calibration_fraction)
        case "gaussian_lines":
            return patterns.GaussianLines(law.acceleration, law.calibration_fraction, law.width)
        case "random_points":
            return patterns.RandomPoints(law.acceleration, law.calibration_fraction)
        case "poisson_disc":
            return patterns.PoissonDisc(law.acceleration, law.calibration_fraction)
    raise InputError(
        f"the law {law.kind} cannot be built from the spec alone",
        where=where,
        remedy="It comes from the masks of the training files: open the scans first",
    )


def spec_folder() -> Path:
    """Where the packaged specs lie: inside the wheel, or at the top of a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "data_specs"
    return inside if inside.is_dir() else package.parent / "data_specs"


def list_specs() -> list[DataSpec]:
    """The packaged specs, by name."""
    return [load_spec(str(path)) for path in sorted(spec_folder().glob("*.yaml"))]


def load_spec(name_or_path: str | Path) -> DataSpec:
    """A packaged spec by name, or any spec by the path of its YAML file.

    Raises
    ------
    InputError
        If there is no such spec, or it does not validate: names the file, the key and the nearest valid key.
    """
    path = _find(str(name_or_path), beside=None)
    document = _completed(_merged(path, seen=()), path)
    _refuse_clean_targets(document, path, ())
    try:
        return DataSpec.model_validate(document)
    except ValidationError as problem:
        raise explained(problem, DataSpec, path) from None


def _find(name_or_path: str, beside: Path | None) -> Path:
    """The YAML file of a spec; `beside`: the file whose `based_on` names it."""
    if "/" in name_or_path or name_or_path.endswith((".yaml", ".yml")):
        path = Path(name_or_path).expanduser()
        path = path if beside is None else beside.parent / path
        if not path.is_file():
            raise InputError("there is no such data spec", where=str(path), remedy="Give the path of a YAML file")
        return path
    path = spec_folder() / f"{name_or_path}.yaml"
    if path.is_file():
        return path
    names = sorted(p.stem for p in spec_folder().glob("*.yaml"))
    raise InputError(
        f"no data spec is called {name_or_path!r}{nearest(name_or_path, names)}",
        where="" if beside is None else f"{beside}: based_on",
        remedy=f"Packaged specs: {', '.join(names)}; or give the path of a YAML file",
    )


class _EachKeyOnce(yaml.SafeLoader):
    """Refuses repeated keys: YAML forbids them, PyYAML drops all but the last."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                before = f"the key {key.value!r} is in line {lines[key.value]} already"
                raise yaml.MarkedYAMLError(problem=before, problem_mark=key.start_mark)
            lines[str(key.value)] = key.start_mark.line + 1
        return node


def _merged(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The document with what it is `based_on` underneath. The name is always the file's own."""
    if path.resolve() in seen:
        raise InputError("based_on leads back to this file", where=str(path), remedy="Break the circle")
    try:
        own = _EachKeyOnce(path.read_text(encoding="utf-8")).get_single_data()
    except yaml.MarkedYAMLError as problem:
        line = "" if problem.problem_mark is None else f" in line {problem.problem_mark.line + 1}"
        raise InputError(f"not valid YAML{line}: {problem.problem}", where=str(path)) from None
    except (OSError, ValueError, yaml.YAMLError) as problem:
        raise InputError(f"cannot be read as YAML: {problem}", where=str(path)) from None
    if not isinstance(own, dict):
        raise InputError("a data spec is a mapping of keys to values", where=str(path))
    own.setdefault("name", path.stem)
    base = own.pop("based_on", None)
    if base is None:
        return own
    if not isinstance(base, str):
        raise InputError(f"{base!r} is not the name of a spec", where=f"{path}: based_on")
    return _over(_merged(_find(base, beside=path), (*seen, path.resolve())), own)


def _completed(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """The document with whole facts in each component of its mixture: its own over those of the document.

    A component that is `based_on` another spec takes source and acquisition from there.
    """
    parts = document.get("mixture")
    if not isinstance(parts, list):
        return document
    whole = []
    for part in parts:
        if not isinstance(part, dict):
            raise InputError("a component is a mapping of keys to values", where=f"{path}: mixture")
        own = {key: value for key, value in part.items() if key != "based_on"}
        other = part.get("based_on")
        base = document if other is None else _merged(_find(str(other), beside=path), (path.resolve(),))
        facts: dict[str, Any] = {key: base[key] for key in ("source", "acquisition") if key in base}
        whole.append(_over(facts, own))
    return document | {"mixture": whole}


def _over(base: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """`own` over `base`, mapping by mapping; one that states another `kind` replaces the base's whole."""
    merged = dict(base)
    for key, value in own.items():
        below = base.get(key)
        same_kind = isinstance(value, dict) and value.get("kind", None) in (None, (below or {}).get("kind", None))
        merged[key] = _over(below, value) if isinstance(below, dict) and same_kind else value
    return merged


def _refuse_clean_targets(value: Any, path: Path, keys: tuple[str, ...]) -> None:
    if isinstance(value, dict):
        for key, below in value.items():
            if (keys, key) != (("mixture",), "clean"):  # says that scans are fully sampled, and names nothing
                _refuse_clean_target(str(key), path, (*keys, str(key)))
            _refuse_clean_targets(below, path, (*keys, str(key)))
    elif isinstance(value, list):
        for below in value:
            _refuse_clean_targets(below, path, keys)
    elif isinstance(value, str) and value.startswith("reconstruction_"):
        _refuse_clean_target(value, path, keys)


def _refuse_clean_target(name: str, path: Path, keys: tuple[str, ...]) -> None:
    if name.lower().replace("-", "_") in CLEAN_TARGETS:
        raise InputError(
            f"{name!r} names a clean image, and training never reads clean images",
            where=f"{path}: {'.'.join(keys)}",
            remedy="Remove the key: only measured k-space (or pixels) and its mask are used",
        )
