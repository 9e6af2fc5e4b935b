"""Runs at the start of every Python below ``dask-runner -- COMMAND``.

``dask_runner.programs.command`` puts this directory first on PYTHONPATH, so any
Python of any version may come by here, also one that has never heard of Dask: the
syntax is what all of them know, nothing is imported, and nothing happens until
Dask is. Then ``standing.py`` lets a program that makes no client use the cluster.

The next ``sitecustomize`` on the path (a distribution's, a user's) runs as if
this one were not there, and this directory leaves ``sys.path``.
"""

import os
import sys

_HERE = os.path.dirname(__file__)


class Finder(object):
    """Finds no module itself; sees to it that *HOOKED* are patched when imported."""

    HOOKED = ("dask.array.rechunk", "dask.base", "dask.utils", "distributed.client")

    def __init__(self):
        self._asked = set()

    def find_spec(self, name, path=None, target=None):
        """Return what the other finders find, to be patched once it has run."""
        # Another such finder may ask all finders, this one included.
        if name not in self.HOOKED or name in self._asked:
            return None
        self._asked.add(name)
        try:
            for finder in sys.meta_path:
                find = getattr(finder, "find_spec", None)
                spec = find(name, path, target) if find else None
                if spec is not None:
                    _patch_after(spec.loader, name)
                    return spec
        finally:
            self._asked.discard(name)
        return None


def _patch_after(loader, name):
    """Let a module's own loader, which stays its loader, patch it at the end."""
    run = getattr(loader, "exec_module", None)
    if run is None or not hasattr(loader, "__dict__") or isinstance(loader, type):
        return

    def exec_module(module):
        vars(loader).pop("exec_module", None)
        run(module)
        # A loader of an archive loads other modules as well.
        if module.__name__ == name:
            _patch(module)

    loader.exec_module = exec_module


def _patch(module):
    try:
        _standing().patch(module)
    except Exception:  # noqa: BLE001  this Python is a stranger's
        kind, error = sys.exc_info()[:2]
        sys.stderr.write(
            "dask-runner: warning: %s computes alone without a client: %s: %s\n"
            % (sys.executable, kind.__name__, error)
        )


def _standing():
    """Return standing.py, which is not on this Python's path."""
    name = "_dask_runner_standing"
    if name not in sys.modules:
        from importlib import util  # noqa: PLC0415  Dask has it

        spec = util.spec_from_file_location(name, os.path.join(_HERE, "standing.py"))
        sys.modules[name] = util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


# PYTHONPATH is inherited by what is no business of this cluster any more (another
# dask-runner's processes); the other variable is not.
if os.environ.get("DASKRUNNER_SITEHOOK") == _HERE and sys.version_info >= (3, 8):
    sys.meta_path.insert(0, Finder())

# Python 2 empties a module that nothing refers to.
_self = sys.modules.pop("sitecustomize", None)
sys.path[:] = [place for place in sys.path if place != _HERE]
# If there is no other, Python is told so, as it would be without this one.
import sitecustomize  # noqa: E402, F401
