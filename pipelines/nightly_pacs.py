"""The night job: pull yesterday's series from an archive, restore or reconstruct them, push the results to it.

    python pipelines/nightly_pacs.py dicom://PACS@pacs.example:104 --work night --bundle runs/blocks/bundle \
        --study-date yesterday --series-description '*flair*' --missing padding
    python pipelines/nightly_pacs.py https://pacs.example/dicom-web --work night --bundle runs/knee/bundle --raw export

Of images, missing pixels are restored; raw data in the folder --raw are reconstructed and filed by the UIDs in their
headers. What is done already is not done again. DIR/summary.md tells of the night. Exit code 3: some of it failed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ambient_mri import files
from ambient_mri.cli.arguments import missing_value
from ambient_mri.cli.program import run_program
from ambient_mri.data.readers.content import raw_data
from ambient_mri.data.readers.magnitude import Missing
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.pacs.address import open_archive
from ambient_mri.pacs.query import Query, dates
from ambient_mri.pacs.transfer import pull, push
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction.batch import reconstruct


def attempted(step: Callable[[], Sequence[Any]], failures: list[str]) -> list[Any]:
    """What a step gave. What failed of it is told in the end: the night goes on with the rest."""
    try:
        return list(step())
    except InputError as problem:
        failures.append(str(problem))
        print(problem, file=sys.stderr)
        return list(problem.done) if isinstance(problem, PartlyDone) else []


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("server", help="dicom://AE@host:port or the root of DICOMweb")
    parser.add_argument("--push-to", help="another archive for the results")
    parser.add_argument("--ae-title", default="AMBIENTMRI")
    parser.add_argument("--work", type=Path, required=True, help="what is pulled and made; patients' data")
    parser.add_argument("--study-date", help="of series to pull, e.g. yesterday")
    parser.add_argument("--series-description", default="", help="of series to pull, with wildcards")
    parser.add_argument("--missing", type=missing_value, help="value of missing pixels of images, or padding")
    parser.add_argument("--raw", type=Path, help="folder of raw data")
    parser.add_argument("--bundle", type=located)
    parser.add_argument("--method", help="default: one-step, or mmps of a refined model")
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)

    def work() -> int:
        failures: list[str] = []
        source, target = (open_archive(address, calling_ae=given.ae_title)  # told of a bad one before a night's work
                          for address in (given.server, given.push_to or given.server))  # fmt: skip
        inputs = raw_data(given.raw) if given.raw else []
        pulled = attempted(lambda: [pull(
            source, Query(dates(given.study_date), series_description=given.series_description),
            given.work / "pulled", progress=print)], failures) if given.study_date else []  # fmt: skip
        inputs += [folder for one in pulled for folder in one.series]
        made = attempted(lambda: reconstruct(
            given.bundle, inputs, given.work / "results", method=given.method, device=given.device, formats=["dicom"],
            missing=Missing(None, given.missing), progress=print), failures) if inputs else []  # fmt: skip
        images = [path for result in made for path in result.outputs if path.is_dir() or path.suffix == ".dcm"]
        pushed = attempted(lambda: [push(target, images, progress=print)], failures) if images else []
        steps = [*pulled, f"{len(made)} of {len(inputs)} inputs made or there", *pushed]
        text = "\n- ".join(["# Night\n", *map(str, steps), *(f"FAILED {failure}" for failure in failures)])
        print(text, files.write(given.work / "summary.md", text + "\n"), sep="\n")
        return 0 if not failures else 3 if pushed else 2

    return run_program(work, "nightly_pacs")


if __name__ == "__main__":
    sys.exit(main())
