"""Runs at the start of every Python below ``dask-runner -- COMMAND``.

``dask_runner.programs.command`` puts this directory first on PYTHONPATH, so any
Python of any version may come by here, also one that has never heard of Dask: the
syntax is what all of them know, and nothing is imported. It prints line by line, and
nothing else happens until Dask's client is imported. Then ``for_client.py`` tells it
what the variables cannot.

The next ``sitecustomize`` on the path (a distribution's, a user's) runs as if
this one were not there, and this directory leaves ``sys.path``.
"""

import os
import sys

_HERE = os.path.dirname(__file__)

_CLIENT = "distributed.client"


class Finder(object):
    """Finds no module itself; runs ``for_client.py`` once Dask's client has run."""

    def __init__(self):
        self._asking = False

    def find_spec(self, name, path=None, target=None):
        """Return what the other finders find for Dask's client; None for all else."""
        # Another such finder may ask all finders, this one included.
        if name != _CLIENT or self._asking:
            return None
        self._asking = True
        try:
            for finder in sys.meta_path:
                find = getattr(finder, "find_spec", None)
                spec = find(name, path, target) if find else None
                if spec is not None:
                    _prepare_after(spec.loader)
                    return spec
        finally:
            self._asking = False
        return None


def _prepare_after(loader):
    """Have the module's own loader, which stays its loader, prepare it at the end."""
    run = getattr(loader, "exec_module", None)
    if run is None or not hasattr(loader, "__dict__") or isinstance(loader, type):
        return

    def exec_module(module):
        vars(loader).pop("exec_module", None)
        run(module)
        # A loader of an archive loads other modules as well.
        if module.__name__ == _CLIENT:
            _prepare()

    loader.exec_module = exec_module


def _prepare():
    try:
        from importlib import util  # noqa: PLC0415  Dask has it

        # It is not on this Python's path.
        place = os.path.join(_HERE, "for_client.py")
        spec = util.spec_from_file_location("_dask_runner_for_client", place)
        module = util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.prepare()
    except Exception:  # noqa: BLE001  this Python is a stranger's
        kind, error = sys.exc_info()[:2]
        sys.stderr.write(
            "dask-runner: warning: Dask's client in %s is as without us: %s: %s\n"
            % (sys.executable, kind.__name__, error)
        )


def _packages():
    """Look in the packages that the cluster adds, if they are for this Python."""
    place = os.environ.get("DASKRUNNER_PACKAGES")
    tag = getattr(getattr(sys, "implementation", None), "cache_tag", None)
    if place and os.environ.get("DASKRUNNER_PACKAGES_FOR") == "%s %s" % (
        tag,
        sys.prefix,
    ):
        import site  # noqa: PLC0415  it is what runs this

        site.addsitedir(place)


def _print_by_lines():
    """Have each line that is printed written at its end, also to a file or a pipe."""
    # What it prints would be lost where the job is killed. PYTHONUNBUFFERED would cost
    # more, and write a line in several pieces.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)


# PYTHONPATH is inherited by what is no business of this cluster any more (another
# dask-runner's processes); the other variable is not.
if os.environ.get("DASKRUNNER_SITEHOOK") == _HERE and sys.version_info >= (3, 8):
    sys.meta_path.insert(0, Finder())
    _print_by_lines()
    _packages()

# Python 2 empties a module that nothing refers to.
_self = sys.modules.pop("sitecustomize", None)
sys.path[:] = [place for place in sys.path if place != _HERE]
# If there is no other, Python is told so, as it would be without this one.
import sitecustomize  # noqa: E402, F401
