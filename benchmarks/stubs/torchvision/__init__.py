"""Stands in for torchvision, which nothing that is timed here needs: every name exists and cannot be called.

cufinufft, which needs a GPU to be imported, is stood in for as well.
"""

import importlib.abc
import importlib.machinery
import sys
import types
from typing import ClassVar


class _Missing:
    def __init__(self, *_arguments: object) -> None:
        raise RuntimeError("torchvision and cufinufft are stubs here")


class _Module(types.ModuleType):
    __path__: ClassVar[list[str]] = []
    __version__ = "0"

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (_Missing,), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name: str, path: object, target: object = None) -> importlib.machinery.ModuleSpec | None:
        stub = name.split(".")[0] in ("torchvision", "cufinufft")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if stub else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


sys.meta_path.insert(0, _Finder())
sys.modules[__name__].__class__ = _Module
