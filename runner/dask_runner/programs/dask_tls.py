"""The cluster's keys as Dask takes them: an object of its own, and never a file."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

from dask_runner.meeting import tls
from dask_runner.programs.openssl import repair

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from distributed import Security

#: The name of a file without a directory, as /proc shows it.
_FILE = "dask-runner"


def as_security(certificate: str, key: str) -> Security | None:
    """Return the material as Dask's own object; None if there is none."""
    if not certificate:
        return None
    from distributed import Security  # noqa: PLC0415  the caller has Dask already

    repair()
    keep_in_memory()
    fields = {"tls_ca_file": certificate, "require_encryption": True}
    for role in tls.ROLES:
        fields[f"tls_{role}_cert"] = certificate
        fields[f"tls_{role}_key"] = key
    return Security(**fields)


def keep_in_memory() -> None:
    """Let Dask load PEM text without writing it into a file.

    Python's ``ssl`` loads a key from a file only. Dask makes one for the moment, below
    TMPDIR; whoever may rename what lies there can have it, or give us another.
    """
    from distributed import Security  # noqa: PLC0415  the caller has Dask already

    original = Security._get_tls_context  # noqa: SLF001  nothing public makes one
    if hasattr(original, "__wrapped__") or not hasattr(os, "memfd_create"):
        return

    @functools.wraps(original)
    def get_tls_context(self: Security, tls: Mapping[str, Any], purpose: Any) -> Any:
        with contextlib.ExitStack() as stack:
            texts = {
                name: stack.enter_context(_in_memory(tls[name]))
                for name in ("cert", "key")
                if "\n" in (tls.get(name) or "")
            }
            return original(self, {**tls, **texts}, purpose)

    Security._get_tls_context = get_tls_context  # noqa: SLF001


@contextlib.contextmanager
def _in_memory(text: str) -> Iterator[str]:
    """Make a file that has no directory; yield a name that this process has for it."""
    with os.fdopen(os.memfd_create(_FILE), "w") as file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
