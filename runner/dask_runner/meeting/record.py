"""The record: where the hub is, and what proves that one belongs.

A record may be stale (its hub is dead), foreign or half written; none of these is
believed, and each is named when time runs out.
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any


class BadRecordError(Exception):
    """What was found is no record to believe; the text says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """Where the hub is, and what proves that one may speak to it.

    Attributes
    ----------
    key : str
        The World's key: a record of another launch is not for us.
    nonce : str
        New at every start.
    node, host, port
        The hub's node name and TCP address.
    certificate, private_key : str
        In PEM: a process that has them may speak to the hub.
    encrypts : bool
        Whether Dask's own connections use them too.
    address : str
        The Dask scheduler's address; empty until it is known.
    """

    key: str
    nonce: str
    node: str
    host: str
    port: int
    certificate: str
    private_key: str
    encrypts: bool = True
    address: str = ""

    def dump(self) -> str:
        """Write as JSON that is also a Dask scheduler file.

        ``address`` is left out until it is known: Dask's readers retry on a
        file without it (``distributed.Client``, ``scheduler_file``). ``security`` has
        the keywords that a client's ``Security`` needs.
        """
        dask: dict[str, Any] = {
            "type": "Scheduler",
            "id": f"dask-runner-{self.nonce}",
            "workers": {},
        }
        if self.address:
            dask["address"] = self.address
            dask["security"] = self.security()
        return json.dumps({**dask, "runner": asdict(self)}, indent=1)

    @classmethod
    def load(cls, text: str) -> Record:
        """Read what :meth:`dump` wrote.

        Raises
        ------
        BadRecordError
            If the text is anything else.
        """
        try:
            values = json.loads(text)["runner"]
            record = cls(**values)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadRecordError("is half-written or no record of ours") from error
        for field in fields(cls):
            if type(getattr(record, field.name)).__name__ != field.type:
                raise BadRecordError(f"has a wrong value for {field.name!r}")
        if not 0 < record.port < 1 << 16:
            raise BadRecordError(f"names the port {record.port}")
        try:
            ipaddress.ip_address(record.host)
        except ValueError as error:
            raise BadRecordError("has a wrong value for 'host'") from error
        return record

    def security(self) -> dict[str, str | bool]:
        """Return a client's keywords of Dask's ``Security``; empty without TLS."""
        if not self.encrypts:
            return {}
        return {
            "require_encryption": True,
            "tls_ca_file": self.certificate,
            "tls_client_cert": self.certificate,
            "tls_client_key": self.private_key,
        }

    @property
    def for_dask(self) -> tuple[str, str]:
        """Certificate and key of Dask's connections; empty if they are open."""
        return (self.certificate, self.private_key) if self.encrypts else ("", "")


def with_address(record: Record, address: str) -> Record:
    """Return the record, completed with the scheduler's address."""
    return replace(record, address=address)
