"""Which certificates Dask's TLS contexts trust: those of one cluster.

Python's ``ssl`` does not tell what a context has loaded.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    import ssl

#: Hexadecimal digits that tell the clusters of one user on one node from each other.
_DIGITS = 16

_DIGESTS: WeakKeyDictionary[ssl.SSLContext, str] = WeakKeyDictionary()


def note(context: ssl.SSLContext, certificates: str) -> None:
    """Note what a context trusts: certificates in PEM, or the path of their file."""
    text = certificates
    if "\n" not in certificates:
        text = Path(certificates).read_text()
    _DIGESTS[context] = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


def digest(context: ssl.SSLContext | None) -> str:
    """Return a digest of what a context trusts; empty if that was not noted."""
    return "" if context is None else _DIGESTS.get(context, "")
