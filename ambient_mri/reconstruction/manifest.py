"""What a batch has already done: so that the same command goes on instead of starting over."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ambient_mri import files
from ambient_mri.errors import InputError

NAME = "manifest.json"
CHUNK = 2**22

Entry = dict[str, Any]
"""What the manifest says of a case that is done."""


@dataclass(frozen=True)
class Failure:
    """A case that failed: a sentence for people, and for the manifest and the page the reason without the place."""

    sentence: str
    reason: str

    @classmethod
    def of(cls, problem: Exception, path: Path) -> Failure:
        if isinstance(problem, InputError):
            return cls(str(problem), f"{problem.what}. {problem.remedy}" if problem.remedy else problem.what)
        if isinstance(problem, OSError):
            return cls(str(problem), files.reason(problem))
        unexpected = f"unexpected {type(problem).__name__}"  # what it says may quote a header
        return cls(f"{path}: {unexpected}", unexpected)


class Manifest:
    """`manifest.json` of an output folder: what went in and came out of each input, warnings, flags; what failed.

    A file counts as done when content, model and settings have the same hash as before and all outputs are there.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.entries: dict[str, Entry] = {}
        self.failures: list[dict[str, str]] = []
        if self.path.exists():
            try:
                document = json.loads(self.path.read_text(encoding="utf-8"))
                self.failures = [dict(one) for one in document.get("failed", [])]
                self.entries = {str(name): dict(entry) for name, entry in document["files"].items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                raise InputError(
                    "not a manifest of reconstructions",
                    where=str(self.path),
                    remedy="Delete it, or choose another --out",
                ) from None

    def done(self, name: str, key: str) -> Entry | None:
        """The very entry of `name` if it stands for `key` and its outputs are still there."""
        entry = self.entries.get(name)
        if entry is None or entry.get("key") != key:
            return None
        folder = self.path.parent
        there = all((folder / output).exists() for output in entry["outputs"])
        return entry if there else None

    def refuse_another(self, name: str, origin: str, source_sha256: str) -> None:
        """Nothing, unless `name` stands for a scan of other origin and content: that would be written over.

        Raises
        ------
        InputError
            If it does.
        """
        entry = self.entries.get(name, {})
        if entry.get("input_sha256", origin) != origin and entry.get("source_sha256") != source_sha256:
            raise InputError(
                "another scan was written under this name here, and would be lost", where=name,
                remedy="Choose another --out, or rename the file",
            )  # fmt: skip

    def record(self, name: str, entry: Mapping[str, Any]) -> None:
        """Add an entry and write the manifest."""
        self.entries[name] = dict(entry)
        self._write()

    def begin(self, inputs: Sequence[Path]) -> None:
        """Forget what failed of these inputs before: they are tried again."""
        tried = {path_sha256(path) for path in inputs}
        self.failures = [one for one in self.failures if one["input_sha256"] not in tried]

    def fail(self, given: Path, label: str, reason: str) -> None:
        """Add a failure and write the manifest.

        Parameters
        ----------
        given
            The input as the user named it. Only its hash is kept: folders may be called after patients.
        label
            What the case is called in the manifest.
        reason
            One sentence, without the path.
        """
        self.failures.append({"source": label, "reason": reason, "input_sha256": path_sha256(given)})
        self._write()

    def _write(self) -> None:
        if self.path.exists():  # another job may have added to the same folder
            self.entries = Manifest(self.path.parent).entries | self.entries
        document = {"format": "ambient-mri reconstructions 1", "files": dict(sorted(self.entries.items())),
                    "failed": self.failures}  # fmt: skip
        files.write(self.path, json.dumps(document, indent=1) + "\n")


def path_sha256(path: Path) -> str:
    """Hash of where a file lies, which may tell who is on it."""
    return files.text_sha256(os.path.realpath(path)).hex()[:16]  # unlike resolve(), not stopped by a loop


def content_sha256(path: Path) -> str:
    """Hash of a file's bytes, in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def settings_key(facts: Mapping[str, Any]) -> str:
    """Hash of everything that determines an output."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
