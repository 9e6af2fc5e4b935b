"""uv, which finds packages and installs them; and its errors in our words."""

from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dask_runner import linux
from dask_runner.errors import AssemblyError, ConfigError, RunnerError, UnavailableError
from dask_runner.launch.signals import FOR_THE_TOP
from dask_runner.packages import settings
from dask_runner.packages.installed import OURS, normalized, stand_in

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dask_runner.launch.settings import Requested
    from dask_runner.packages.installed import Installed

#: Seconds for a resolution, downloads and builds included.
SECONDS = 900.0

#: Lines of uv's reason that an error shows, and letters of each.
_LINES, _LETTERS = 4, 300

#: What uv says where no index answers, and where a disk is full.
_UNREACHABLE = re.compile(
    r"error sending request|request failed|failed to fetch|dns error|timed out"
    r"|network|connect error",
    re.IGNORECASE,
)
_FULL = re.compile(r"no space left on device|disk quota exceeded", re.IGNORECASE)
#: A page that is not there is a package that is not there.
_NOT_THERE = re.compile(r"404 not found|401 unauthorized|403 forbidden", re.IGNORECASE)

_BEGINS = re.compile(r"\s*(error:|[^\x00-\x7f])")
_MARK = re.compile(r"^\W*(?:(?:error|cause|Caused by|hint):\W*)?")

_ALSO = (
    "put the packages into an image (make sif REQUIREMENTS=FILE, recipes/derive.def)"
)


@dataclass(frozen=True, slots=True)
class Resolver:
    """uv, as it was found here.

    Attributes
    ----------
    command : str
    variables : mapping
        Its environment.
    """

    command: str
    variables: Mapping[str, str]

    def install(
        self,
        requested: Requested,
        image: tuple[Installed, ...],
        scratch: Path,
    ) -> tuple[Path, dict[str, str]]:
        """Install packages beside those of the image, which stay as they are.

        Parameters
        ----------
        requested : Requested
        image : tuple of Installed
        scratch : Path
            A directory for what is needed meanwhile.

        Returns
        -------
        Path
            The directory of the packages.
        dict of str to str
            Their versions.

        Raises
        ------
        RunnerError
            If that is not possible.
        """
        target = scratch / "target"
        target.mkdir()
        stand_in(image, target)
        pins = scratch / "image.txt"
        pins.write_text("".join(f"{one.pinned}\n" for one in image))
        lines = scratch / "with.txt"
        lines.write_text("".join(f"{line}\n" for line in requested.lines))
        files = [str(lines)] if requested.lines else []
        words = [word for file in (*files, *requested.files) for word in ("-r", file)]
        where = ["--target", str(target), "-c", str(pins)]
        if settings.no_index(self.variables):
            where.append("--no-index")
        self._run([*where, *words], requested, image, scratch)
        return target, without_the_image(target, image)

    def _run(
        self,
        words: Sequence[str],
        requested: Requested,
        image: tuple[Installed, ...],
        scratch: Path,
    ) -> None:
        start = [self.command, "pip", "install", "--python", sys.executable]
        more = {
            "UV_CACHE_DIR": str(scratch / "uv"),
            "UV_COMPILE_BYTECODE": "1",
            # As in the image: a time may change on the way to a node.
            "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",
            "UV_NO_PROGRESS": "1",
            "UV_PYTHON_DOWNLOADS": "never",
            "NO_COLOR": "1",
        }
        # The archive has files, and no links to what is removed.
        own = {"UV_LINK_MODE": "hardlink"}
        if not credentials(self.variables).exists():
            # It would leave a lock there.
            own["UV_CREDENTIALS_DIR"] = str(scratch / "credentials")
        try:
            done = subprocess.run(
                [*start, *words],
                env={**more, **self.variables, **own},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=SECONDS,
                check=False,
                preexec_fn=_be_a_part_of_it,
            )
        except subprocess.TimeoutExpired as error:
            raise AssemblyError(
                f"{in_words(requested)} was not installed within {SECONDS:g} s",
                "an index that answers, and packages that need no long build",
                "see that wheels are there for this Python (uv pip install says what "
                f"it builds), or {_ALSO}",
            ) from error
        if done.returncode < 0:
            name = signal.Signals(-done.returncode).name
            raise UnavailableError(
                f"uv was killed by {name} while it installed {in_words(requested)}",
                "memory and time for a resolution",
                "look for what kills it; give rank 0 more memory",
            )
        if done.returncode:
            raise explained(done.stderr, requested, image)


def _be_a_part_of_it() -> None:
    """End with this process, however it ends, and by no signal to all of a job."""
    linux.die_with_parent(signal.SIGKILL)
    signal.pthread_sigmask(signal.SIG_BLOCK, FOR_THE_TOP)


def credentials(environ: Mapping[str, str]) -> Path:
    """Return where uv keeps what the user has told it of indexes (``uv auth``)."""
    home = Path(environ.get("HOME", "/"), ".local", "share")
    data = Path(environ.get("XDG_DATA_HOME") or home)
    place = environ.get("UV_CREDENTIALS_DIR") or data / "uv" / "credentials"
    return Path(place, "credentials.toml")


def find(environ: Mapping[str, str], variables: Mapping[str, str]) -> Resolver:
    """Return uv: this Python's, or the one that is on the path.

    Raises
    ------
    ConfigError
        If there is none.
    """
    command = beside_python() or shutil.which("uv", path=environ.get("PATH"))
    if command is None:
        raise ConfigError(
            "--with and --with-requirements, and no uv here",
            "uv, which finds and installs packages; the images have it",
            "install it beside dask-runner: pip install dask-runner[packages]",
        )
    return Resolver(command, variables)


def beside_python() -> str | None:
    """Return the uv that is installed for this Python."""
    if importlib.util.find_spec("uv") is None:
        return None
    from uv import find_uv_bin  # noqa: PLC0415  few need it

    try:
        return str(find_uv_bin())
    except FileNotFoundError:
        return None


def without_the_image(target: Path, image: tuple[Installed, ...]) -> dict[str, str]:
    """Remove what stood for the image's packages; return the others' versions."""
    names = {one.name for one in image}
    found: dict[str, str] = {}
    for place in target.glob("*.dist-info"):
        name, _, version = place.name.removesuffix(".dist-info").partition("-")
        installer = linux.read(place / "INSTALLER")
        if installer == OURS:
            shutil.rmtree(place)
        elif normalized(name) in names:
            raise _replaced(normalized(name), version)
        else:
            found[normalized(name)] = version
    (target / ".lock").unlink(missing_ok=True)
    return dict(sorted(found.items()))


def _replaced(name: str, version: str) -> ConfigError:
    return ConfigError(
        f"the packages asked for would replace {name} of the image by {version}",
        "packages beside those of the image, which Dask's processes use",
        f"leave out {name}, or {_ALSO}",
    )


def in_words(requested: Requested) -> str:
    """Return what was asked for."""
    return ", ".join([*requested.lines, *requested.files])


def explained(
    told: str, requested: Requested, image: Sequence[Installed]
) -> RunnerError:
    """Return uv's error in our words.

    Parameters
    ----------
    told : str
        What uv has printed.
    requested : Requested
    image : sequence of Installed
    """
    what, reason = in_words(requested), reason_of(told)
    if _FULL.search(told):
        return ConfigError(
            f"{what} cannot be installed: {reason}",
            "room for packages on rank 0's node",
            "name a larger disk with --local-directory DIR",
        )
    if _UNREACHABLE.search(told) and not _NOT_THERE.search(told):
        return UnavailableError(
            f"the index of packages cannot be reached for {what}: {reason}",
            "an index or a proxy that rank 0's node reaches (UV_DEFAULT_INDEX or "
            "PIP_INDEX_URL, https_proxy, SSL_CERT_FILE), or a directory of wheels "
            "(UV_FIND_LINKS with UV_NO_INDEX=1)",
            "run it once where the index is reached, such as the login node, with -c "
            "pass for the script: later jobs find the packages in the cache",
        )
    stays = [one for one in image if _mentions(one, reason)]
    if stays:
        names = ", ".join(f"{one.name} {one.version}" for one in stays)
        return ConfigError(
            f"{what} does not go with the image: {reason}",
            f"packages that go with what the image has and keeps: {names}",
            f"ask for other versions, leave {stays[0].name} out, or {_ALSO}",
        )
    return ConfigError(
        f"{what} cannot be installed: {reason}",
        "packages that the index has for this Python and platform",
        f"correct the names and versions, or {_ALSO}",
    )


def _mentions(one: Installed, reason: str) -> bool:
    pattern = rf"(?<![\w.-]){re.escape(one.pinned)}(?![\w.])"
    return re.search(pattern, reason) is not None


def reason_of(told: str) -> str:
    """Return the reason in what uv has printed, in short."""
    # An error, and its causes on lines of their own. Earlier versions mark them by
    # pictures, and other lines by nothing.
    lines = told.splitlines()
    begins = (at for at, line in enumerate(lines) if _BEGINS.match(line))
    found = [_MARK.sub("", line).strip() for line in lines[next(begins, 0) :]]
    short = [line[:_LETTERS] for line in found if line][:_LINES]
    return "; ".join(short) or "it said nothing"
