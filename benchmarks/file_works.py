"""Reading files and searching neighbours: ours and the programs beside it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from classical_works import Answer, Works
from torch import Tensor


def _kspace(given: dict[str, Tensor]) -> Path:
    """A fastMRI file of one complex64 block, as it should be written."""
    import h5py

    path = Path(tempfile.mkdtemp()) / "scan.h5"
    with h5py.File(path, "w") as file:
        file["kspace"] = given["kspace"].numpy()
    return path


def our_slices(given: dict[str, Tensor]) -> Answer:
    """`Volume.read`: measured samples, checked to be finite, and zeros."""
    from ambient_mri.data.readers.fastmri import open_volume

    volume, mask = open_volume(_kspace(given)), given["mask"]
    return lambda: [volume.read(index, mask).numpy() for index in range(len(volume))]


def h5py_slices(given: dict[str, Tensor]) -> Answer:
    """A file kept open, a slice at a time, masked by a product: what fastMRI's loader and transform do."""
    import h5py

    file, mask = h5py.File(_kspace(given)), given["mask"].numpy().astype(np.float32)
    return lambda: [file["kspace"][index] * mask for index in range(len(file["kspace"]))]


def _series(given: dict[str, Tensor]) -> list[Path]:
    """An MR series, its files in the order of their names."""
    from ambient_mri.reconstruction.export.dicom import Derivation, write_mr_series
    from ambient_mri.reconstruction.export.dicom_source import Source, planes_of

    image, folder = given["image"].numpy(), Path(tempfile.mkdtemp()) / "series"
    source = Source(
        {"PatientID": "1", "StudyInstanceUID": "1.2.3"}, planes_of(np.diag([1.0, 1.0, 2.0, 1.0]), len(image))
    )
    write_mr_series(folder, image, source, Derivation("made", "benchmark", input_sha256="0" * 64))
    return sorted(folder.iterdir())


def our_series(given: dict[str, Tensor]) -> Answer:
    """Found by content, sorted by position, gaps and repeats looked for, rescaled."""
    from ambient_mri.data.readers.dicom import open_volumes
    from ambient_mri.data.readers.dicom_files import find_files

    folder = _series(given)[0].parent

    def run() -> Any:
        volumes, _ = open_volumes(find_files(folder))
        return np.stack([volumes[0].read(index) for index in range(len(volumes[0]))])

    return run


def pydicom_series(given: dict[str, Tensor]) -> Answer:
    """The loop of every tutorial: read all, sort by position, stack the rescaled pixels."""
    import pydicom

    folder = _series(given)[0].parent

    def run() -> Any:
        files = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
        rescaled = [
            file.pixel_array * float(file.get("RescaleSlope", 1)) + float(file.get("RescaleIntercept", 0))
            for file in files
        ]
        return np.stack(rescaled).astype(np.float32)

    return run


def our_search(given: dict[str, Tensor]) -> Answer:
    """Exact, the nearest ranked again in float64."""
    from ambient_mri.audit.search import nearest

    queries, base = _features(given)
    return lambda: nearest(queries, base, int(given["k"])).index[:, :1]


def faiss_search(given: dict[str, Tensor]) -> Answer:
    """`IndexFlatIP`, float32, as it comes."""
    import faiss

    faiss.omp_set_num_threads(1)
    queries, base = _features(given)

    def run() -> Any:
        index: Any = faiss.IndexFlatIP(base.shape[1])
        index.add(base)
        return np.asarray(index.search(queries, int(given["k"]))[1])[:, :1]

    return run


def scikit_learn_search(given: dict[str, Tensor]) -> Answer:
    """Brute force on Euclidean distances, the same order on unit vectors."""
    from sklearn.neighbors import NearestNeighbors

    queries, base = _features(given)
    return lambda: np.asarray(
        NearestNeighbors(n_neighbors=int(given["k"]), algorithm="brute").fit(base).kneighbors(queries)[1]
    )[:, :1]


def _features(given: dict[str, Tensor]) -> tuple[Any, Any]:
    """Unit features in clusters of 30, as the slices of patients are."""
    from ambient_mri.audit.search import unit

    rng = np.random.default_rng(0)

    def clustered(rows: int) -> Any:
        centres = rng.standard_normal((-(-rows // 30), 128)).repeat(30, 0)[:rows]
        return unit(centres + 0.6 * rng.standard_normal((rows, 128)))

    return clustered(int(given["queries"])), clustered(int(given["base"]))


WORKS: Works = {
    ("ambient-mri", "slices"): our_slices, ("h5py", "slices"): h5py_slices,
    ("ambient-mri", "series"): our_series, ("pydicom", "series"): pydicom_series,
    ("ambient-mri", "search"): our_search, ("faiss", "search"): faiss_search,
    ("scikit-learn", "search"): scikit_learn_search,
}  # fmt: skip
