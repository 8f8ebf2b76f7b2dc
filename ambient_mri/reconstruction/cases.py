"""From what a user names, files and folders, to cases: one volume each, whatever its format."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ambient_mri.data.readers.bart import halves
from ambient_mri.data.readers.content import files_of, kind, open_kspace
from ambient_mri.data.readers.dicom import DicomVolume, open_volumes
from ambient_mri.data.readers.dicom_files import find_files
from ambient_mri.data.readers.kspace import ClosedVolume, KspaceVolume, SampledVolume
from ambient_mri.data.readers.magnitude import ImageVolume, open_nifti
from ambient_mri.errors import InputError
from ambient_mri.files import reason, text_sha256
from ambient_mri.reconstruction.layout import SUFFIXES, flat
from ambient_mri.reconstruction.manifest import content_sha256, path_sha256

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """One volume to reconstruct or restore. `name` becomes the names of its outputs.

    Three-dimensional k-space is in memory as a whole while it is worked on, and of one case at a time: until `opened`,
    `volume` has its shape and facts, and no samples; as such it travels to the workers of a cluster.
    """

    name: str
    volume: KspaceVolume | ImageVolume
    domain: str
    pattern: Path | None = None

    @property
    def deferred(self) -> bool:
        """Whether its samples are still to be read."""
        return isinstance(self.volume, ClosedVolume)

    def opened(self) -> Case:
        """With its samples."""
        if not self.deferred:
            return self
        volume = next(one for one in open_kspace(self.path, self.pattern) if one.name == self.name)
        return replace(self, volume=volume)

    @property
    def paths(self) -> list[Path]:
        """The files that it lies in."""
        return list(self.volume.paths) if hasattr(self.volume, "paths") else files_of(self.volume.path)

    @property
    def path(self) -> Path:
        """The file to name when something is wrong."""
        return self.volume.path if hasattr(self.volume, "path") else self.volume.paths[0]

    @property
    def label(self) -> str:
        """What the manifest calls the input: a file name, or for DICOM a name made of hashes.

        Bytes of the name that are not UTF-8 are shown as `\\xfc`: lone surrogates can be stored nowhere.
        """
        if isinstance(self.volume, DicomVolume):
            return self.volume.name
        return self.path.name.encode(errors="surrogateescape").decode(errors="backslashreplace")

    @property
    def origin(self) -> str:
        """What tells it from another input of the same name: where it lies; for DICOM the name, made of its UIDs."""
        return self.volume.name if isinstance(self.volume, DicomVolume) else path_sha256(self.path)

    @property
    def pixels(self) -> int:
        """Slices · rows · columns."""
        shape = self.volume.shape
        return int(shape[0] * shape[-2] * shape[-1])

    @property
    def contrast(self) -> str:
        """What the file calls its contrast, "" if it does not say."""
        return str(getattr(self.volume, "contrast", ""))

    def sha256(self) -> str:
        """Of the contents of all its files, and of which volume of them it is."""
        paths = self.paths
        if len(paths) == 1 and self.name == self.path.stem:
            return content_sha256(self.path)
        digests = sorted(content_sha256(path) for path in paths)
        return text_sha256("\0".join([self.name, *digests])).hex()


def find_cases(inputs: Sequence[Path], mask: Path | None = None) -> tuple[list[Case], list[InputError]]:
    """Cases in the order of the inputs, DICOM last; and what cannot be used, which spoils nothing else.

    A file that is named twice is one input, and so are the two halves of BART's pairs. Cases that could write over each
    other's outputs are refused, all of them: none is more right than the other.

    Parameters
    ----------
    inputs
        Files, and folders in which DICOM is looked for.
    mask
        For formats of k-space that do not say what was measured.
    """
    cases: list[Case] = []
    problems: list[InputError] = []
    dicom: list[Path] = []
    seen: set[str] = set()
    for path in inputs:
        try:
            if path.is_dir():
                found = find_files(path)
                if not found:
                    raise InputError("no DICOM file in this folder", where=str(path))
                dicom += found
                continue
            what = kind(path)
            whole = halves(path)[0] if what == "bart" else path
            place = os.path.join(os.path.realpath(whole.parent), whole.name)
            if place in seen:
                continue
            seen.add(place)
            if what == "dicom":
                dicom.append(path)
            elif what == "nifti":
                image = open_nifti(path)
                cases.append(Case(image.name, image, "image"))
            else:
                cases += [_kspace_case(volume, mask) for volume in open_kspace(path, mask)]
        except InputError as problem:
            problems.append(problem)
        except Exception as problem:  # of a file that a reader did not expect: the others are done all the same
            LOG.debug("%s cannot be used", path, exc_info=True)
            said = reason(problem) if isinstance(problem, OSError) else f"unexpected {type(problem).__name__}"
            problems.append(InputError(said, where=str(path)))
    volumes, unusable = open_volumes(dicom)
    cases += [Case(volume.name, volume, "image") for volume in volumes]
    kept, namesakes = _without_namesakes(cases)
    return kept, [*problems, *unusable, *namesakes]


def _kspace_case(volume: KspaceVolume, pattern: Path | None) -> Case:
    if isinstance(volume, SampledVolume) and not isinstance(volume.samples, np.memmap):
        return Case(volume.name, ClosedVolume.of(volume), "kspace", pattern)
    return Case(volume.name, volume, "kspace", pattern)


def _without_namesakes(cases: Sequence[Case]) -> tuple[list[Case], list[InputError]]:
    """Cases that nobody else's outputs could overwrite, and what is wrong with the others."""
    owners: dict[str, int] = {}
    clashes: dict[int, tuple[str, int]] = {}
    for number, case in enumerate(cases):
        for output in _possible_outputs(case):
            owner = owners.setdefault(output, number)
            if owner != number:
                clashes.setdefault(owner, (output, number))
                clashes.setdefault(number, (output, owner))
    problems = [
        InputError(f"{output} of this input and of another one, {cases[other].label}, would both be written",
                   where=str(cases[number].path), remedy="Reconstruct them into different folders")
        for number, (output, other) in sorted(clashes.items())
    ]  # fmt: skip
    return [case for number, case in enumerate(cases) if number not in clashes], problems


def _possible_outputs(case: Case) -> list[str]:
    """Whatever was asked for this time: the next run into the same folder may ask for more."""
    never = ("measured",) if case.domain == "kspace" else ("deviation", "dicom_deviation", "dicom_deviation_map")
    return [flat(case.name)(output) for output in SUFFIXES if output not in never]
