"""The cluster's keys as Dask's own ``Security`` object, without a file of the key."""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

from dask_runner.meeting import tls
from dask_runner.meeting.tls import in_memory
from dask_runner.programs.tornado_tls import repair

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distributed import Security


def as_security(certificate: str, key: str) -> Security | None:
    """Return the keys as Dask's own object; None if there are none."""
    if not certificate:
        return None
    from distributed import Security  # noqa: PLC0415  the caller has Dask already

    from dask_runner.programs.comm import backend  # noqa: PLC0415  as above

    backend.install()
    repair()
    keep_in_memory()
    fields = {"tls_ca_file": certificate, "require_encryption": True}
    for role in tls.ROLES:
        fields[f"tls_{role}_cert"] = certificate
        fields[f"tls_{role}_key"] = key
    return Security(**fields)


def keep_in_memory() -> None:
    """Have Dask load PEM text from memory, and note what its contexts trust.

    Python's ``ssl`` loads a key from a file only. Dask writes one below TMPDIR for a
    moment: another account that can rename files there could read the key, or put
    another in its place.
    """
    from distributed import Security  # noqa: PLC0415  the caller has Dask already

    from dask_runner.programs.comm import trust  # noqa: PLC0415  as above

    original = Security._get_tls_context  # noqa: SLF001  nothing public makes one
    if hasattr(original, "__wrapped__") or not hasattr(os, "memfd_create"):
        return

    @functools.wraps(original)
    def get_tls_context(self: Security, tls: Mapping[str, Any], purpose: Any) -> Any:
        with contextlib.ExitStack() as stack:
            texts = {
                name: stack.enter_context(in_memory(tls[name]))
                for name in ("cert", "key")
                if "\n" in (tls.get(name) or "")
            }
            context = original(self, {**tls, **texts}, purpose)
        if context is not None:
            trust.note(context, tls["ca_file"])
        return context

    Security._get_tls_context = get_tls_context  # noqa: SLF001
