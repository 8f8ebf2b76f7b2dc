"""Posterior samplers by the names that users give them: the right prior, stated evaluations, budgets, outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ambient_mri.cli import main
from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.facts import SymmetryFacts
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.evaluation.evaluate import evaluate
from ambient_mri.fourier import fft2c
from ambient_mri.measurement import Measurement
from ambient_mri.prior.bundle import Bundle, load_bundle
from ambient_mri.reconstruction import methods
from ambient_mri.reconstruction.posterior import KINDS, Posterior, Sampling
from ambient_mri.sampling.proper import is_proper


@pytest.fixture(scope="module")
def ambient(tiny_bundle: Path) -> Bundle:
    bundle = load_bundle(tiny_bundle)
    return replace(bundle, card=bundle.card.model_copy(update={"symmetry": SymmetryFacts(mirror=True, shift=1)}))


@pytest.fixture(scope="module")
def proper(ambient: Bundle) -> Bundle:
    """The same network with the card of one that was trained on fully sampled scans without further corruption."""
    facts = ambient.card.acquisition
    whole = facts.model_copy(
        update={
            "pattern": facts.pattern.model_construct(kind="fully_sampled"),
            "further": facts.further.model_copy(update={"pattern": facts.pattern}),
        }
    )
    return replace(ambient, card=ambient.card.model_copy(update={"acquisition": whole, "method": "naive"}))


@pytest.fixture(scope="module")
def scan() -> Measurement:
    return open_evaluation(load_spec("brain_demo"), "test", limit=1)[0][0]


def test_which_cards_are_proper(ambient: Bundle, proper: Bundle) -> None:
    assert not is_proper(ambient.card)
    assert is_proper(proper.card)
    assert not is_proper(proper.card.model_copy(update={"method": "ambient"}))
    assert not is_proper(ambient.card.model_copy(update={"method": "naive"}))
    assert is_proper(ambient.card.model_copy(update={"method": "refined"}))


@pytest.mark.parametrize("method", [name for name, kind in KINDS.items() if not kind.ambient])
def test_an_ambient_bundle_is_refused(method: str, ambient: Bundle) -> None:
    with pytest.raises(InputError, match=r"ambient prior.*needs E\[x \| x_t\].*a-fill.*refine"):
        methods.reconstruction(method, ambient)


@pytest.mark.parametrize("method", KINDS)
def test_every_method_draws(method: str, ambient: Bundle, proper: Bundle, scan: Measurement) -> None:
    calls = []

    class Counted:
        def __init__(self, bundle: Bundle) -> None:
            self.inner = bundle.prior

        def denoise(self, *arguments: object) -> torch.Tensor:
            calls.append(1)
            image: torch.Tensor = self.inner.denoise(*arguments)  # type: ignore[arg-type]
            return image

    bundle = ambient if KINDS[method].ambient else proper
    counted = replace(bundle, prior=Counted(bundle))  # type: ignore[arg-type]
    run = methods.reconstruction(method, counted, Sampling(samples=2, nfe=4))
    assert isinstance(run, Posterior)
    image = run(scan, None)
    assert image.shape == (1, 1, 64, 64)
    assert bool(image.isfinite().all())
    assert len(calls) == 4  # both samples in one batch
    assert run.evaluations == 8
    assert torch.allclose(run(scan, None), image)
    assert methods.needs_network(method)


@pytest.mark.parametrize("method", [name for name in methods.METHODS if methods.applies(name, "kspace")]
                         + [*methods.ITERATED, *methods.POSTERIOR])  # fmt: skip
def test_padding_stays_empty(method: str, ambient: Bundle, proper: Bundle, scan: Measurement) -> None:
    """Lines that no scan of this kind ever measured: whatever a method puts there, images do not hold it."""
    acquired = ((torch.arange(64) - 32).abs() <= 20)[None, None, None]
    padded = replace(scan, mask=scan.mask & acquired, acquired=acquired)
    bundle = proper if method in KINDS and not KINDS[method].ambient else ambient
    run = methods.reconstruction(method, bundle, Sampling(samples=2, nfe=3) if method in KINDS else None)
    images = run.draw(padded, None).samples if isinstance(run, Posterior) else run(padded, None)
    beyond, everything = (fft2c(images).mul(part).abs().square().sum() for part in (~acquired, 1))
    assert float(beyond / everything) < 1e-10


def test_a_time_budget_settles_at_the_first_batch(
    ambient: Bundle, scan: Measurement, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock on which an evaluation takes a hundredth of a second, and nothing else any time."""
    evaluations = 0

    def counted(*_: object) -> None:
        nonlocal evaluations
        evaluations += 1

    monkeypatch.setattr("ambient_mri.sampling.annealing.time.perf_counter", lambda: evaluations / 100)
    with ambient.prior.network.register_forward_hook(counted):
        run = Posterior("a-fill", ambient, Sampling(samples=2, seconds=0.001))
        run(scan, None)
        assert run.nfe == 2
        longer = Posterior("a-fill", ambient, Sampling(samples=1, seconds=0.2))
        longer(scan, None)
        assert longer.nfe == pytest.approx(20, abs=1)
        settled, evaluations = longer.nfe, 0
        longer(scan, None)
        assert evaluations == longer.nfe == settled


def test_too_few_evaluations_are_refused(ambient: Bundle) -> None:
    with pytest.raises(InputError, match="at least 2 network evaluations"):
        Posterior("a-fill", ambient, Sampling(nfe=1))


@pytest.mark.parametrize("method", ["a-fill", "a-dps"])
def test_a_model_that_knows_one_noise_level_draws_no_samples(ambient: Bundle, method: str) -> None:
    unrolled = replace(ambient, card=ambient.card.model_copy(update={"method": "ssdu"}))
    with pytest.raises(InputError, match="knows only σ_y"):
        Posterior(method, unrolled, Sampling())


def test_evaluation_states_nfe_and_repeats(tiny_bundle: Path) -> None:
    def once() -> object:
        return evaluate(
            tiny_bundle, load_spec("brain_demo"), methods=("a-fill", "zero-filled"), limit=1, tuning_slices=1,
            sampling=Sampling(samples=2, nfe=3),
        )  # fmt: skip

    found = once()
    rows = {row.method: row for row in found.rows}  # type: ignore[attr-defined]
    assert rows["a-fill"].nfe == 6
    assert rows["a-fill"].strength is not None
    assert "--samples 2 --nfe 3" in found.command  # type: ignore[attr-defined]
    again = {row.method: row for row in once().rows}  # type: ignore[attr-defined]
    assert again["a-fill"].psnr == rows["a-fill"].psnr


def test_files_get_a_standard_deviation(tiny_bundle: Path, tmp_path: Path) -> None:
    import nibabel as nib
    import numpy as np

    assert main(["data", "simulate", "brain_demo", "--limit", "1", "--out", str(tmp_path / "scans")]) == 0
    scans = [str(path) for path in sorted((tmp_path / "scans").glob("*.h5"))]
    command = ["reconstruct", str(tiny_bundle), *scans, "--out", str(tmp_path / "out"), "--method", "a-fill"]
    assert main([*command, "--samples", "2", "--nfe", "3"]) == 0
    (deviation,) = (tmp_path / "out").glob("*_deviation.nii.gz")
    values = np.asarray(nib.load(deviation).dataobj)
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() > 0
    assert main([*command[:-1], "mmps"]) == 2


def test_quick_sampling_takes_its_share_of_the_time() -> None:
    assert (Sampling(8, seconds=8).quick().samples, Sampling(8, seconds=8).quick().seconds) == (2, 2)
    assert (Sampling(1, seconds=8).quick().samples, Sampling(1, seconds=8).quick().seconds) == (1, 8)
    assert Sampling(8).quick().seconds is None
