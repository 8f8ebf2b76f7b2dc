"""With `--device cuda` every command gives what it gives on the processor, up to rounding. Skipped without a GPU."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ambient_mri.audit.search import nearest, unit
from ambient_mri.cli import main
from ambient_mri.corruption import FurtherLaw
from ambient_mri.data.dataset import open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.measurement import Measurement, collate
from ambient_mri.prior.bundle import load_bundle
from ambient_mri.prior.muon import orthogonal_factor
from ambient_mri.prior.objective import ambient_loss
from ambient_mri.prior.preconditioning import AmbientPrior
from ambient_mri.prior.shipped import located
from ambient_mri.prior.steps import draw
from ambient_mri.randomness import stream
from ambient_mri.reconstruction.methods import reconstruction
from ambient_mri.reconstruction.posterior import Sampling

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch can use")
MODEL = "brain_flair_64"
DEVICES = ("cpu", "cuda")


def _scans(data: str, count: int) -> tuple[Measurement, FurtherLaw]:
    scans = open_scans(load_spec(data), "train", limit=count)
    return collate([scans[i] for i in range(count)]), scans.further()


@pytest.mark.parametrize("method", ["one-step", "one-step-tv", "cg-sense", "l1-wavelet", "tv", "a-fill", "a-dps"])
def test_reconstructions_agree(method: str) -> None:
    batch, _ = _scans("brain_demo", 3)
    images = []
    for device in DEVICES:
        bundle = load_bundle(located(MODEL), device=device)
        bundle = replace(bundle, prior=AmbientPrior(bundle.prior.network, torch.float32))
        run = reconstruction(method, bundle, Sampling(samples=2, nfe=4, seed=0))
        images.append(run(batch.to(device), None).cpu())
    assert float((images[0] - images[1]).norm() / images[0].norm()) < 1e-2


@pytest.mark.parametrize("kind", ["random_lines", "poisson_disc"])
def test_the_loss_and_its_gradient_agree(kind: str, tmp_path: Path) -> None:
    """Rows of lines are solved by factorisations, masks in two dimensions by conjugate gradients."""
    spec = tmp_path / "spec.yaml"
    pattern = f"{{kind: {kind}, acceleration: 4, calibration_fraction: 0.1}}"
    spec.write_text(f"based_on: brain_demo\nacquisition: {{pattern: {pattern}}}\n")
    batch, law = _scans(str(spec), 4)
    losses, gradients = [], []
    for device in DEVICES:
        network = load_bundle(located(MODEL), device=device).prior.network.requires_grad_(True)
        here = batch.to(device)
        drawn = draw(here, law, [stream(0, "test", i) for i in range(4)])
        loss = ambient_loss(AmbientPrior(network, torch.float32), here.y, here.operator(), drawn.further, drawn.sigma,
                            here.noise_std, drawn.noise).mean()  # fmt: skip
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(torch.cat([p.grad.flatten().cpu() for p in network.parameters() if p.grad is not None]))
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert float((gradients[0] - gradients[1]).norm() / gradients[0].norm()) < 2e-2


def test_optimiser_and_search_agree() -> None:
    rng = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, 64, 96, generator=rng)
    torch.testing.assert_close(orthogonal_factor(matrices.cuda()).cpu(), orthogonal_factor(matrices), atol=1e-3, rtol=0)
    features = [unit(np.asarray(torch.randn(n, 32, generator=rng))) for n in (500, 3000)]
    on = [nearest(*features, 3, device) for device in DEVICES]
    assert np.array_equal(on[0].index, on[1].index)
    assert np.array_equal(on[0].similarity, on[1].similarity)


@pytest.mark.parametrize("method", ["ambient", "ssdu", "ambientgan"])
def test_a_training_on_the_gpu_resumes_and_its_bundle_samples(method: str, tmp_path: Path) -> None:
    out, device = tmp_path / "run", ["--device", "cuda"]
    for steps in ("3", "5"):
        asked = ["--steps", steps, "--batch-size", "4", "--preset", "tiny", "--method", method]
        assert main(["train", "--data", "brain_demo", "--out", str(out), *asked, *device]) == 0
    assert int(load_file(out / "checkpoint.safetensors")["step"]) == 5
    if method != "ssdu":
        assert main(["sample", str(out / "bundle"), "-n", "2", "--out", str(tmp_path / "drawn"), *device]) == 0
        assert bool(np.isfinite(np.load(tmp_path / "drawn/samples.npy")).all())


def test_scans_are_reconstructed_evaluated_and_a_prior_refined(tmp_path: Path) -> None:
    def run(command: str, *paths: Path) -> None:
        assert main([*command.split(), *map(str, paths)]) == 0

    scans, trained, gpu = tmp_path / "scans", tmp_path / "run", "--device cuda"
    run("data simulate brain_demo --coils 4 --acceleration 4 --noise 0.02 --limit 1 --out", scans)
    run(f"reconstruct {MODEL} --method a-fill {gpu} --out {tmp_path / 'images'}", *sorted(scans.glob("*.h5")))
    few = "--acceleration 4 --methods one-step,cg-sense --limit 2 --tuning-slices 2"
    run(f"evaluate {MODEL} --data brain_demo {few} {gpu}")
    run(f"train --data brain_demo --steps 2 --preset tiny {gpu} --out", trained)
    run(f"refine --data brain_demo --laps 2 --steps 2 --nfe 2 {gpu} --out {tmp_path / 'refined'}", trained / "bundle")
