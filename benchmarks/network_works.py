"""Training, network and reconstruction: ours, and the plain loops that they are held to."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from classical_works import Answer, Works
from torch import Tensor, nn

BATCH, PRESET = 8, "small"


def our_training(given: dict[str, Tensor]) -> Answer:
    """Everything of a step: scans, D, noise, operators, solves, loss, gradient, both optimisers, average."""
    from ambient_mri.data.dataset import open_scans
    from ambient_mri.data.spec import load_spec
    from ambient_mri.prior.feed import Prepared, feed
    from ambient_mri.prior.learner import Learner
    from ambient_mri.prior.network import architecture, build_network, has_bfloat16
    from ambient_mri.prior.steps import Batches

    scans = open_scans(load_spec("brain_demo"), "train", limit=int(given["slices"]))
    for _ in scans:  # made once, as files are read once
        pass
    learner = Learner.start(
        build_network(architecture(PRESET)), torch.bfloat16 if has_bfloat16("cpu") else torch.float32
    )
    batches = feed(Prepared(scans, scans.further(), 0, "ambient"), Batches(len(scans), BATCH, 0), 0, "cpu")

    def run() -> Any:
        with torch.enable_grad():
            learner.update(*next(batches), 0.5)
        return [BATCH, sum(weights.numel() for weights in learner.average.parameters())]

    return run


def plain_training(given: dict[str, Tensor]) -> Answer:
    """The same networks one after another in float32, planes in memory, squared error on a mask, AdamW: no physics."""
    from ambient_mri.prior.network import architecture, build_network

    sizes = architecture(PRESET)
    stages = build_network(sizes).stages
    optimiser = torch.optim.AdamW(stages.parameters(), lr=1e-3, fused=True)
    planes, steps, target, mask = _planes(BATCH, int(given["size"]))
    complex_planes = 2 * sizes.patch**2

    def run() -> Any:
        with torch.enable_grad():
            predicted = torch.zeros_like(target)
            for stage in stages:
                predicted = (
                    predicted + stage(torch.cat([predicted, planes[:, complex_planes:]], 1), steps)[:, :complex_planes]
                )
            optimiser.zero_grad(set_to_none=True)
            (mask * (predicted - target)).square().mean().backward()
            optimiser.step()
        return [BATCH, sum(weights.numel() for weights in stages.parameters())]

    return run


def _planes(count: int, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Planes of a batch, folded as the network wants them, noise levels, a target and a mask."""
    from ambient_mri.prior.network import INPUT_CHANNELS, architecture

    rng, folds = torch.Generator().manual_seed(0), architecture(PRESET).patch
    shape = (size // folds, size // folds)
    planes = torch.randn(count, INPUT_CHANNELS * folds**2, *shape, generator=rng)
    target = torch.randn(count, 2 * folds**2, *shape, generator=rng)
    return planes, torch.full((count,), 500.0), target, (torch.rand(target.shape, generator=rng) < 0.3).float()


def _evaluation(given: dict[str, Tensor], *, plain: bool) -> Answer:
    """One evaluation of the shipped network; plain: in float32 as PyTorch lays tensors out."""
    from ambient_mri.prior.bundle import load_bundle
    from ambient_mri.prior.shipped import located

    prior = load_bundle(located("brain_128")).prior
    assert isinstance(prior.network, nn.Module)
    network, precision = prior.network, prior.precision
    if plain:
        network, precision = network.to(memory_format=torch.contiguous_format), torch.float32
    start = given["x"] / given["x"].abs().square().mean().sqrt()
    mask, steps = given["mask"].float().expand_as(start.real) - 0.5, torch.full((len(start),), 275.0)

    def run() -> Any:
        with torch.inference_mode():
            scale = torch.full((1, 1, 1, 1), 0.05)
            return network(start, mask, steps, lambda predicted, *_: start + predicted, scale, precision)

    return run


def our_one_step(given: dict[str, Tensor]) -> Answer:
    """The evaluation with its solves, and the data-consistency solve after it."""
    from ambient_mri.measurement import Measurement
    from ambient_mri.prior.shipped import located
    from ambient_mri.reconstruction import methods

    run = methods.reconstruction("one-step", methods.load(located("brain_128"), "cpu"))
    count = len(given["y"])
    scan = Measurement(
        given["y"], given["mask"], given["maps"], torch.full((count,), 0.02), torch.ones(count), "kspace",
        ("",) * count,
    )  # fmt: skip
    return lambda: run(scan, None)[:, 0]


def bare_network(given: dict[str, Tensor]) -> Answer:
    """A yardstick: the network's layers and nothing else. The first call answers as ours."""
    return _after(our_one_step(given), _evaluation(given, plain=False))


def _after(first: Answer, then: Answer) -> Answer:
    calls: Iterator[Answer] = itertools.chain([first], itertools.repeat(then))
    return lambda: next(calls)()


def our_volume(given: dict[str, Tensor]) -> Answer:
    """`reconstruct`: from a file in k-space to NIfTI, HDF5 and preview."""
    from ambient_mri.prior.shipped import located
    from ambient_mri.reconstruction.batch import reconstruct

    path = _volume(given)

    def run() -> Any:
        import h5py

        with tempfile.TemporaryDirectory() as out:
            result = reconstruct(located("brain_128"), [path], out, method="one-step", progress=lambda line: None)
            written = next(file for file in result[0].outputs if file.suffix == ".h5")
            with h5py.File(written) as file:
                return np.asarray(file["reconstruction"])

    return run


def looped_volume(given: dict[str, Tensor]) -> Answer:
    """The loop that one would write: each slice read, its maps estimated, one step; nothing is checked or written."""
    from ambient_mri.data.acquired import MeasuredVolume
    from ambient_mri.data.readers.fastmri import open_volume
    from ambient_mri.prior.shipped import located
    from ambient_mri.reconstruction import methods

    one_step = methods.reconstruction("one-step", methods.load(located("brain_128"), "cpu"))
    path = _volume(given)

    def run() -> Any:
        scans = MeasuredVolume(open_volume(path))
        return np.stack([(one_step(scans[i], None) * scans.scale).abs()[0, 0] for i in range(len(scans))])

    return run


def _volume(given: dict[str, Tensor]) -> Path:
    import h5py

    path = Path(tempfile.mkdtemp()) / "scan.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = given["y"].numpy()
        file["mask"] = given["mask"][0, 0, 0].numpy().astype(np.float32)
        file.attrs["noise_std"] = float(given["noise"])
    return path


WORKS: Works = {
    ("ambient-mri", "training"): our_training, ("plain float32", "training"): plain_training,
    ("ambient-mri", "evaluation"): lambda given: _evaluation(given, plain=False),
    ("plain float32", "evaluation"): lambda given: _evaluation(given, plain=True),
    ("ambient-mri", "one-step"): our_one_step, ("network alone", "one-step"): bare_network,
    ("ambient-mri", "volume"): our_volume, ("plain loop", "volume"): looped_volume,
}  # fmt: skip
