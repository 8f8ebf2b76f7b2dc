"""Stands in for torchvision, which nothing that is timed here needs: every name exists and cannot be called."""
import sys, types, importlib.abc, importlib.machinery
class _Missing:
    def __init__(self, *a, **k): raise RuntimeError("torchvision is a stub here")
class _Module(types.ModuleType):
    __path__ = []; __version__ = "0"
    def __getattr__(self, name):
        if name.startswith("__"): raise AttributeError(name)
        return type(name, (_Missing,), {})
class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in ("torchvision", "cufinufft") and name != "torchvision" else None
    def create_module(self, spec): return _Module(spec.name)
    def exec_module(self, module): pass
sys.meta_path.insert(0, _Finder())
sys.modules[__name__].__class__ = _Module
