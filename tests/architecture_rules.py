"""The lines of the house that a machine can hold: functions from source text to complaints.

Each rule takes the path of a module inside the repository and its source, and returns one line for every breach.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

# A room imports from itself and from those before it.
ROOMS = (
    "errors", "files", "randomness", "fourier", "operators", "solvers", "patterns", "corruption", "coils",
    "measurement", "pictures", "data", "prior", "sampling", "reconstruction", "evaluation", "pacs", "generation",
    "audit", "report", "doctor", "cli", "__main__",
)  # fmt: skip
HEAVY = (
    "dask_jobqueue", "dicomweb_client", "distributed", "faiss", "h5py", "ignite", "matplotlib", "monai", "nibabel",
    "numpy", "pydantic", "pydicom", "pynetdicom", "requests", "safetensors", "scipy", "sigpy", "skimage", "tensorboard",
    "torch", "yaml",
)  # fmt: skip
EXECUTES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "joblib", "marshal"}
LIGHT = ("__init__", "__main__", "cli", "doctor")
LEADS_TO_TRUTH = {
    "open_evaluation", "EvaluationScans", "magnitude_image", "simulated", "simulate_scan", "SimulatedScan",
    "sample_everything", "FullSamples", "root_sum_of_squares",
}  # fmt: skip
CLEAN_WORDS = {"clean", "truth", "target", "targets", "reference", "groundtruth"}
GLOBAL_DRAWS = {"randn", "rand", "randint", "randperm", "bernoulli", "normal", "multinomial"}


def _at(path: str, node: ast.AST, complaint: str) -> str:
    return f"{path}:{getattr(node, 'lineno', 1)}: {complaint}"


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of nested attributes, with "?" where the root is not a name."""
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def _imported(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Every imported dotted name, `from a import b` as "a.b"."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            prefix = "." * node.level + (node.module or "")
            yield from ((node, f"{prefix}.{alias.name}") for alias in node.names)


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    yield from ((node, _dotted(node.func)) for node in ast.walk(tree) if isinstance(node, ast.Call))


def fft_only_in_fourier(path: str, source: str) -> list[str]:
    """Shifts and norms live in one module."""
    if path == "ambient_mri/fourier.py":
        return []
    tree, transform = ast.parse(source), re.compile(r"(i?r?h?fft[n2]?|i?fftshift|fftfreq)$")
    found = [_at(path, n, f"{n.attr} belongs in fourier.py") for n in ast.walk(tree)
             if isinstance(n, ast.Attribute) and transform.match(n.attr)]  # fmt: skip
    for node, name in _imported(tree):
        if not name.startswith("ambient_mri.") and any(transform.match(part) for part in name.split(".")):
            found.append(_at(path, node, f"import of {name}: transforms belong in fourier.py"))
    return found


def imports_point_upward(path: str, source: str) -> list[str]:
    """A room imports only itself and rooms before it; pipelines are imported by nobody."""
    parts = PurePosixPath(path).with_suffix("").parts
    if parts[0] != "ambient_mri" or parts[1] == "__init__":
        return []
    here, found = ROOMS.index(parts[1]), []
    for node, name in _imported(ast.parse(source)):
        root, _, rest = name.partition(".")
        if root == "":
            found.append(_at(path, node, "relative import: write the full name"))
        elif root in {"pipelines", "tests", "benchmarks"}:
            found.append(_at(path, node, f"the library must not import {root}"))
        elif root == "ambient_mri" and rest.split(".")[0] in ROOMS and ROOMS.index(rest.split(".")[0]) > here:
            found.append(_at(path, node, f"{parts[1]} must not import {rest.split('.')[0]}, which comes after it"))
    return found


def no_print(path: str, source: str) -> list[str]:
    """Only the command line speaks."""
    if path.startswith("ambient_mri/cli/") or not path.startswith("ambient_mri/"):
        return []
    return [_at(path, node, f"{name} outside cli/: log or return it") for node, name in _calls(ast.parse(source))
            if name == "print" or name.startswith(("sys.stdout.", "sys.stderr."))]  # fmt: skip


def no_catch_all_module(path: str, source: str) -> list[str]:
    """A module is named after what it holds."""
    names = {part.removesuffix(".py").strip("_") for part in PurePosixPath(path).parts}
    bad = names & {"util", "utils", "common", "helper", "helpers", "misc", "tools"}
    return [f"{path}:1: no module named {name}" for name in sorted(bad)]


def nothing_that_executes(path: str, source: str) -> list[str]:
    """No pickle, no evaluation of strings, no loader that runs code."""
    tree = ast.parse(source)
    found = [_at(path, node, f"import of {name}") for node, name in _imported(tree)
             if name.split(".")[0] in EXECUTES]  # fmt: skip
    for node, name in _calls(tree):
        given = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        last = name.rsplit(".", 1)[-1]
        if name in {"eval", "exec", "compile", "__import__"}:
            found.append(_at(path, node, f"{name} of a string"))
        elif last in {"unsafe_load", "full_load"} or name in {"yaml.load", "yaml.load_all"}:
            found.append(_at(path, node, f"{name}: use yaml.safe_load"))
        elif name == "torch.load" and given.get("weights_only") is not True:
            found.append(_at(path, node, "torch.load without weights_only=True"))
        elif last in {"load", "save"} and given.get("allow_pickle") is True:
            found.append(_at(path, node, f"{name} with allow_pickle"))
    return found


def no_cuda_call(path: str, source: str) -> list[str]:
    """The device is an argument: `.to(device)`."""
    return [_at(path, node, ".cuda(): use .to(device)") for node, _ in _calls(ast.parse(source))
            if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda"]  # fmt: skip


def no_keyword_tunnel(path: str, source: str) -> list[str]:
    """A function says which arguments it takes instead of passing `**kwargs` on."""
    found = []
    for function in ast.walk(ast.parse(source)):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.args.kwarg:
            tunnel = function.args.kwarg.arg
            passed = any(isinstance(node, ast.keyword) and node.arg is None and _dotted(node.value) == tunnel
                         for node in ast.walk(function))  # fmt: skip
            if passed:
                found.append(_at(path, function, f"{function.name} passes **{tunnel} on: name the arguments"))
    return found


def no_clean_image_in_training(path: str, source: str) -> list[str]:
    """Neither a parameter nor a field through which a clean image could enter training."""
    rooms = ("ambient_mri/prior/", "ambient_mri/coils/", "ambient_mri/measurement.py", "ambient_mri/corruption.py")
    if not path.startswith(rooms):
        return []
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            every = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [argument.arg for argument in every]
        elif isinstance(node, ast.ClassDef):
            names = [n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
        for name in names:
            if CLEAN_WORDS & set(name.lower().replace("ground_truth", "groundtruth").split("_")):
                found.append(_at(path, node, f"{name}: no clean image may enter training"))
    return found


def truth_stays_in_evaluation(path: str, source: str) -> list[str]:
    """What leads to the image behind a scan is imported by the data that simulate it, and where figures are made."""
    rooms = tuple(f"ambient_mri/{room}/" for room in ("data", "evaluation", "generation", "audit"))
    if not path.startswith("ambient_mri/") or path.startswith(rooms):
        return []
    return [_at(path, node, f"{name} leads to a truth: only data, evaluation, generation and audit may import it")
            for node, name in _imported(ast.parse(source)) if name.rsplit(".", 1)[-1] in LEADS_TO_TRUTH]  # fmt: skip


def randomness_is_an_argument(path: str, source: str) -> list[str]:
    """Draws take a generator; the global state is touched only inside `fork_rng`, which restores it."""
    tree = ast.parse(source)
    forked = {id(inner) for node in ast.walk(tree) if isinstance(node, ast.With)
              if any("fork_rng" in ast.unparse(item.context_expr) for item in node.items)
              for inner in ast.walk(node)}  # fmt: skip
    found = []
    for node, name in _calls(tree):
        seeds = name in {"torch.manual_seed", "np.random.seed", "numpy.random.seed", "random.seed", "set_determinism"}
        legacy = re.match(r"(np|numpy)\.random\.(?!default_rng|Generator|SeedSequence|PCG64|RandomState)", name)
        draws = name.startswith("torch.") and name.rsplit(".", 1)[-1] in GLOBAL_DRAWS and name.count(".") == 1
        without = draws and not any(keyword.arg == "generator" for keyword in node.keywords)
        if (seeds or legacy or without) and id(node) not in forked:
            found.append(_at(path, node, f"{name} uses the global random state: pass a generator"))
    return found


def light_at_import(path: str, source: str) -> list[str]:
    """The package, its command line and the doctor import nothing heavy at module level."""
    light = ("ambient_mri/__init__.py", "ambient_mri/__main__.py", "ambient_mri/doctor.py")
    if path not in light and not path.startswith("ambient_mri/cli/"):
        return []
    tree, found = ast.parse(source), []
    for node in tree.body:  # not inside functions, nor under `if TYPE_CHECKING`
        for where, name in _imported(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            parts = name.split(".")
            own = parts[0] == "ambient_mri" and len(parts) > 1 and parts[1] not in ("errors", "files", "cli", "doctor")
            if parts[0] in HEAVY or (own and parts[1] in ROOMS):
                found.append(_at(path, where, f"import of {name} at module level: move it into the function"))
    return found


def pipelines_are_short(path: str, source: str) -> list[str]:
    """A pipeline is a composition of at most 80 lines."""
    length = len(source.splitlines())
    return [f"{path}:1: {length} lines, at most 80"] if path.startswith("pipelines/") and length > 80 else []


RULES = (
    fft_only_in_fourier, imports_point_upward, no_print, no_catch_all_module, nothing_that_executes, no_cuda_call,
    no_keyword_tunnel, no_clean_image_in_training, truth_stays_in_evaluation, randomness_is_an_argument,
    light_at_import, pipelines_are_short,
)  # fmt: skip
