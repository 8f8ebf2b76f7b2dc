"""How good are images drawn from models that never saw a whole one? The generation table of the ambient papers on MRI.

    python pipelines/paper_generation_table.py --data brain_bids --steps 20000

For each corruption (pixels missing, k-space lines at an acceleration), all trained on it alone:

ambient      the ambient objective, sampled through fixed masks
refined      that model after EM (`ambient-mri refine`): a prior of whole images
naive        without further corruption, for as many steps as ambient and refined together
ambientgan   AmbientGAN, for as many steps as naive

With no pixels missing, naive is ordinary diffusion, ambientgan an ordinary GAN. Every figure stands beside the floor of
real images. Writes results.md, .html and .json; the same command resumes.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from dataclasses import replace
from pathlib import Path

from ambient_mri import files
from ambient_mri.cli.arguments import options
from ambient_mri.cli.program import run_program
from ambient_mri.data.spec import load_spec
from ambient_mri.generation.compare import compare
from ambient_mri.generation.corruptions import Corrupted, corrupted
from ambient_mri.generation.drawing import drawn
from ambient_mri.prior.refinement import RefineOptions, refine
from ambient_mri.prior.training import TrainOptions, train
from ambient_mri.reconstruction.imputation import posterior
from ambient_mri.report.generation import Section, generation_json, generation_markdown, generation_page


def models(case: Corrupted, given: argparse.Namespace, out: Path) -> dict[str, Path]:
    """The bundles of one corruption, trained where they are not there yet."""
    training = TrainOptions(str(case.spec), out, steps=given.steps + given.laps * given.lap_steps, preset=given.preset,
                            seed=given.seed, device=given.device)  # fmt: skip
    rivals = {name: train(replace(training, out=out / name, method=name)) for name in ("naive", "ambientgan")}
    if case.whole:
        return rivals
    ambient = train(replace(training, out=out / "ambient", steps=given.steps))
    laps = RefineOptions(ambient, str(case.spec), out / "refined", laps=given.laps, steps=given.lap_steps,
                         nfe=given.nfe, seed=given.seed, device=given.device)  # fmt: skip
    return {"ambient": ambient, "refined": refine(laps, posterior(laps.samples, laps.nfe)), **rivals}


def section(case: Corrupted, given: argparse.Namespace) -> Section:
    """One corruption: train and sample what is not there yet, compare."""
    out, samples = given.out / case.name, {}
    for name, bundle in models(case, given, out).items():
        samples[name] = drawn(bundle, given.number, out / "samples" / name, seed=given.seed, device=given.device)
    return Section(case.title, compare(samples, load_spec(case.spec), seed=given.seed, command=given.command))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("runs/generation"), help="default: %(default)s")
    parser.add_argument("--missing", type=float, nargs="*", default=[0, 0.2, 0.4, 0.6, 0.8, 0.9], metavar="P")
    parser.add_argument("--acceleration", type=float, nargs="*", default=[4.0], metavar="R")
    options(parser, {"nfe": None}, "network evaluations of a posterior sample, as of `ambient-mri refine`")
    options(parser, {"steps": 20000, "laps": 4, "lap-steps": 5000, "number": 512, "seed": 0})
    options(parser, {"data": "brain_bids", "preset": "small", "device": "cpu"})
    given = parser.parse_args(arguments)
    given.command = shlex.join(["python", "pipelines/paper_generation_table.py", *(arguments or sys.argv[1:])])

    def work() -> int:
        cases = corrupted(load_spec(given.data), given.missing, given.acceleration, given.out / "specs")
        sections = [section(case, given) for case in cases]
        for kind, text in {"json": generation_json, "html": generation_page, "md": generation_markdown}.items():
            print(files.write(given.out / f"results.{kind}", text(sections, given.command)))
        return 0

    return run_program(work, "paper_generation_table")


if __name__ == "__main__":
    sys.exit(main())
