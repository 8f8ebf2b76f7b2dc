"""One person under several names: what a BIDS table knows and the split of a spec ignores."""

from __future__ import annotations

from dataclasses import dataclass

from ambient_mri.data.facts import Bids
from ambient_mri.data.location import locate
from ambient_mri.data.readers.nifti import participants
from ambient_mri.data.spec import DataSpec
from ambient_mri.data.split import PARTS, parts


@dataclass(frozen=True)
class Leak:
    """A column of `participants.tsv` by which some patients of the spec are one person.

    Parameters
    ----------
    people
        How many people are several patients.
    across
        Of them, those in training and hold-out at once.
    held_out
        The patients of these in the hold-out.
    """

    column: str
    people: int
    across: int
    held_out: frozenset[str]


def leaks(spec: DataSpec) -> list[Leak]:
    """Columns that may name people better than the one that the spec splits by.

    Such a column holds words, and hardly any of them twice: numbers repeat by chance, and a site or a sex names groups.

    Raises
    ------
    InputError
        If the data set is absent.
    """
    split = parts(spec)
    found = []
    for number, one in enumerate(spec.components()):
        if not isinstance(one.source, Bids):
            continue
        root = locate(one)
        part_of: dict[str, tuple[str, str]] = {}  # participant: (patient, part)
        for part in PARTS:
            for record in split[part]:
                if record.component == number and record.path is not None:
                    part_of[record.path.relative_to(root).parts[0]] = (record.patient, part)
        rows = [row for row in participants(root) if row["participant_id"] in part_of]
        columns = [column for column in (rows[0] if rows else ()) if column != one.source.patient_column]
        for column in columns:
            people: dict[str, set[tuple[str, str]]] = {}
            for row in rows:
                if row[column] and row[column] != "n/a":
                    people.setdefault(row[column], set()).add(part_of[row["participant_id"]])
            if len(people) > len(rows) / 2 and not all(map(_is_number, people)):
                leak = _leak(column, list(people.values()))
                found += [leak] if leak.people else []
    return found


def _leak(column: str, people: list[set[tuple[str, str]]]) -> Leak:
    several = [names for names in people if len({patient for patient, _ in names}) > 1]
    across = [names for names in several if 0 < sum(part == "train" for _, part in names) < len(names)]
    held_out = frozenset(patient for names in across for patient, part in names if part != "train")
    return Leak(column, len(several), len(across), held_out)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
