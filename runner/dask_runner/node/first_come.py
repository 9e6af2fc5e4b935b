"""How processes of a launch agree on the first: by a claim, or by an address."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
from typing import TYPE_CHECKING, Protocol

from dask_runner.errors import ConfigError
from dask_runner.hub.ask import SilentError, connected
from dask_runner.hub.listener import BACKLOG
from dask_runner.meeting import secret, tls
from dask_runner.meeting.addresses import own_address
from dask_runner.meeting.claims import REFRESH_SECONDS, Claims, place
from dask_runner.meeting.record import BadRecordError, Record
from dask_runner.wire import mutual_tls
from dask_runner.wire.threads import in_thread

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from dask_runner.launch.settings import Settings
    from dask_runner.launch.world import World
    from dask_runner.node.desk import Desk
    from dask_runner.wire.channel import Channel

#: Seconds to connect to an address; a host that is busy is asked again.
CONNECT_SECONDS = 10.0
#: What TLS says of one who has another key, or speaks something else.
_OF_A_STRANGER = (
    "certificate verify failed",
    "wrong version number",
    "record layer failure",
)


class FirstCome(Protocol):
    """A way for processes to agree on the first, at whose desk the others ask."""

    @property
    def trouble(self) -> str:
        """What was seen last instead of a desk that answers."""

    @property
    def own(self) -> ssl.SSLContext:
        """What the desk proves itself with, if this process is the first."""

    async def look(self) -> Record | None:
        """Return where the desk is; None if this process may be the first."""

    async def claim(self, desk: Desk) -> bool:
        """Open the desk; return whether this process is the first."""

    async def reach(self, found: Record) -> Channel | None:
        """Connect to the desk that the last look has found; None if it is silent."""

    async def keep(self) -> None:
        """Keep the claim of this process, until it is cancelled."""

    def withdraw(self) -> None:
        """Take the claim of this process back."""

    def adopt(self) -> None:
        """Answer for the claim of the first, which was killed."""


class ByClaim:
    """The first is the one whose claim counts, in a directory that all share.

    Parameters
    ----------
    key : str
        What the processes have in common.
    nonce : str
        This process's.
    world : World
        As far as it is known.
    settings : Settings
    environ : mapping
    """

    def __init__(
        self,
        key: str,
        nonce: str,
        world: World,
        settings: Settings,
        environ: Mapping[str, str],
    ) -> None:
        self._key = key
        self._nonce = nonce
        self._world = world
        self._interface = settings.interface
        self._ports = settings.ports
        self._claims = Claims(place(environ, settings.scheduler_file), key)
        self._material = ("", "")

    @property
    def trouble(self) -> str:
        """What was seen last instead of a desk that answers."""
        return self._claims.trouble

    @property
    def own(self) -> ssl.SSLContext:
        """What the desk proves itself with: new, and told by the claim."""
        self._material = tls.material()
        return mutual_tls.context(*self._material, server=True)

    async def look(self) -> Record | None:
        """Return the claim that counts; None if there is none.

        Raises
        ------
        ConfigError
            If the directory cannot be used.
        """
        try:
            return self._claims.look()
        except (OSError, BadRecordError) as error:
            raise self._unusable(error) from error

    async def claim(self, desk: Desk) -> bool:
        """Open the desk, and lay a claim.

        Raises
        ------
        ConfigError
            If it cannot be laid.
        """
        host = own_address(self._world, self._interface)
        port = await desk.open(host, among=self._ports)
        where = self._key, self._nonce, socket.gethostname(), host, port
        try:
            return self._claims.lay(Record(*where, *self._material))
        except (OSError, BadRecordError) as error:
            raise self._unusable(error) from error

    async def reach(self, found: Record) -> Channel | None:
        """Connect to the desk of a claim; take it for dead if it is silent and old."""
        try:
            return await connected(found)
        except SilentError as why:
            self._claims.is_over(gone=why.gone)
            return None

    async def keep(self) -> None:
        """Refresh the claim's time."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            # Somebody has removed it: who comes now begins a launch of its own.
            with contextlib.suppress(OSError, BadRecordError):
                await in_thread(self._claims.refresh)

    def withdraw(self) -> None:
        """Remove the claim."""
        self._claims.withdraw()

    def adopt(self) -> None:
        """Have the claim of the first removed at the end."""
        self._claims.adopt()

    def _unusable(self, error: Exception) -> ConfigError:
        saw = getattr(error, "strerror", None) or error
        return ConfigError(
            f"the processes cannot meet in {self._claims.directory}: {saw}",
            "a directory that all nodes share, and that only you can write",
            "name one with --scheduler-file DIR/scheduler.json",
        )


class ByAddress:
    """The first is the one that can listen at an address; all know a secret.

    Parameters
    ----------
    address : (str, int)
        Host and port.
    material : (str, str)
        What is derived from the secret (:func:`dask_runner.meeting.secret.material`).
    rank : int
        This process's number where its launcher has given it one; otherwise -1.
    """

    def __init__(
        self, address: tuple[str, int], material: tuple[str, str], rank: int
    ) -> None:
        self._host, self._port = address
        self._material = material
        self._rank = rank
        self._bound: socket.socket | None = None
        self._name = f"{self._host}:{self._port}"
        self.trouble = f"nobody has come to {self._name}"

    @property
    def own(self) -> ssl.SSLContext:
        """What the desk proves itself with: the same as the others."""
        return mutual_tls.context(*self._material, server=True)

    async def look(self) -> Record | None:
        """Return the address, unless this process can listen there.

        Raises
        ------
        ConfigError
            If the system does not let this process listen there.
        """
        hosts = await self._resolved()
        if self._rank <= 0 and self._bind(hosts):
            return None
        host = hosts[0] if hosts else "0.0.0.0"  # noqa: S104  which nobody answers
        return Record("", "", self._host, host, self._port, *self._material)

    async def _resolved(self) -> list[str]:
        """Return the addresses of the host, which may have no name yet."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._host, self._port, type=socket.SOCK_STREAM
            )
        except OSError as error:
            self.trouble = f"{self._host}: {error.strerror}"
            return []
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _bind(self, hosts: list[str]) -> bool:
        """Listen at one of the addresses, if it is this host's; return whether."""
        if self._bound is not None:
            return True
        for host in hosts:
            # Debian has the host's own name at 127.0.1.1, where nobody else comes.
            everywhere = _is_loopback(host) and not _is_loopback(self._host)
            if self._listen("" if everywhere else host):
                return True
        # Others may know this host by an address that it does not have itself.
        return self._rank == 0 and self._listen("")

    def _listen(self, host: str) -> bool:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            self._bound = socket.create_server(
                (host, self._port), family=family, backlog=BACKLOG
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                self.trouble = f"another program of this host listens at {self._name}"
            elif error.errno != errno.EADDRNOTAVAIL:
                raise ConfigError(
                    f"rank 0 cannot listen at {self._name}: {error.strerror}",
                    "a port that this account may use",
                    "choose one above 1023",
                ) from error
            return False
        return True

    async def claim(self, desk: Desk) -> bool:
        """Open the desk at the address, which is this process's since the last look."""
        await desk.open(self._host, self._bound)
        return True

    async def reach(self, found: Record) -> Channel | None:
        """Connect to the address.

        Raises
        ------
        ConfigError
            If a stranger listens there.
        """
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                return await mutual_tls.connect(found, CONNECT_SECONDS)
        except TimeoutError:
            self.trouble = f"{self._name} does not answer"
        except OSError as error:
            how = error.strerror or str(error) or "the connection breaks off"
            self.trouble = f"{self._name}: {how}"
        except mutual_tls.StrangerError as why:
            self.trouble = f"{self._name}: {why}"
            if any(words in str(why) for words in _OF_A_STRANGER):
                raise self._taken(why) from why
        return None

    def _taken(self, why: Exception) -> ConfigError:
        return ConfigError(
            f"a stranger listens at {self._name}: another program, or a launch with "
            f"another secret ({why})",
            "a process of this launch there, with the same secret",
            "choose another port; give all processes the same secret; look for what "
            "listens there with ss -ltnp",
        )

    async def keep(self) -> None:
        """Do nothing: the system keeps the address."""

    def withdraw(self) -> None:
        """Do nothing: the desk closes the socket."""

    def adopt(self) -> None:
        """Do nothing: the address is free."""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def by_secret(settings: Settings, environ: Mapping[str, str], rank: int) -> ByAddress:
    """Return the way by an address, with the secret that the user has given.

    Raises
    ------
    ConfigError
        If there is no secret, or the variable that holds the host is not set.
    """
    told = secret.read(settings.secret_file, environ)
    host, port = settings.meet
    if host.startswith("$"):
        host = _held(host.removeprefix("$"), environ, rank)
    return ByAddress((host, port), secret.material(told), rank)


def _held(name: str, environ: Mapping[str, str], rank: int) -> str:
    """Return the host that a variable holds; rank 0 needs none, as it is that host."""
    # AWS Batch does not set it on the main node.
    if not (host := environ.get(name) or (rank == 0 and socket.gethostname())):
        raise ConfigError(
            f"--meet names the variable {name}, which is not set",
            "the host of rank 0 in this variable",
            "name a variable that the system sets on all nodes but the first",
        )
    return host
