"""The restoration table on a folder of images (PNG, JPEG, NPY): CelebA, AFHQ or CIFAR-10 for whoever has them.

    python pipelines/natural_images.py faces/ --image-size 64 --minutes 120 --out runs/faces

Pixels missing with p = .4, .6, .8, .9 (trained at --missing) and one block missing, with the methods and the files of
paper_restoration_table.py. Colour becomes luminance. Images of one sub-folder are split together with --patient folder.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import yaml

from ambient_mri import files
from ambient_mri.cli.arguments import options, say
from ambient_mri.cli.program import run_program
from ambient_mri.evaluation.comparison import restoration_table
from ambient_mri.prior.training import TrainOptions
from ambient_mri.report import tables_markdown, write_tables


def specs(given: argparse.Namespace) -> list[Path]:
    """One spec for pixels and one for blocks, beside the results."""
    source = {"root": str(given.images.resolve()), "image_size": given.image_size, "patient": given.patient}
    blocks = {"kind": "blocks", "height": 1 / 3, "width": 1 / 3}
    laws = {"pixels": {"kind": "pixels", "missing": given.missing}, "blocks": blocks}
    return [
        files.write(given.out / f"{name}.yaml", yaml.safe_dump({
            "based_on": "images_folder", "title": f"{given.images.name}, {name} missing", "source": source,
            "acquisition": {"pattern": law, "noise_std": given.noise},
        })) for name, law in laws.items()
    ]  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("images", type=Path, help="folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patient", choices=("file", "folder"), default="file", help="what is split as a whole")
    parser.add_argument("--rates", type=float, nargs="+", help="R = 1/(1 - p); default: those of the papers")
    limits = dict.fromkeys(("minutes", "steps", "limit", "tuning-slices"))
    options(parser, limits, "as of `ambient-mri train` and `ambient-mri evaluate`")
    options(parser, {"preset": "small", "device": "cpu", "seed": 0, "image-size": 32, "missing": 0.6, "noise": 0.0})
    given = parser.parse_args(arguments)
    title = given.images.name
    command = shlex.join(["python", "pipelines/natural_images.py", *(arguments or sys.argv[1:])])

    def work() -> int:
        found = []
        for path in specs(given):
            training = TrainOptions(str(path), given.out, given.minutes, given.steps, given.preset, given.seed)
            one = restoration_table(
                str(path), given.out / path.stem, replace(training, device=given.device), rates=given.rates,
                limit=given.limit, tuning_slices=given.tuning_slices, progress=say,
            )  # fmt: skip
            found.append(replace(one, command=command))
        print(*write_tables(given.out, title, found), tables_markdown(title, found), sep="\n")
        return 0

    return run_program(work, "natural_images")


if __name__ == "__main__":
    sys.exit(main())
