"""One failure: what, to whom, when, and under what."""

from dataclasses import astuple, dataclass

CAUSES = (
    "return",  # the script's last line, while its tasks run
    "raise",
    "exit3",  # sys.exit(3)
    "_exit4",  # os._exit(4)
    "abort",  # os.abort()
    "sigint",
    "sigterm",
    "sigkill",  # of a node: it loses power
    "segv",  # a signal that a program sends itself by mistake
    "rt",  # one that has no name
    "memory",  # a limit is reached
    "sigstop",  # and never continued; of a node: it is frozen
    "cut",  # the cable of a node
)

WHO = (
    "script",
    "scheduler",
    "worker",  # the last rank's
    "agent",  # the process in which the last rank's nannies are
    "forkserver",  # whose children its workers are
    "tracker",  # the resource tracker of multiprocessing, which removes semaphores
    "hub",  # rank 0's top process
    "top",  # the last rank's
    "node",  # the last rank's
    "node0",  # rank 0's
    "network",  # of the last rank's node
    "launcher",  # Ctrl-C at it, scancel
)

WHEN = (
    "before",  # who is hit has begun, and has not joined
    "joining",  # workers are starting; the script has not begun
    "running",  # tasks are running
    "moving",  # two workers of a node are in the middle of frames to each other
    "closing",  # the script has ended, workers are closing
)

LAUNCHERS = (
    *("local", "hydra", "prrte", "srun"),
    "handed",  # a loop of processes, which get their ranks from the first
    "hosts",  # dask-runner --hosts
)
LAYOUTS = ("shared", "dedicated")
WAYS = ("cli", "with", "initialize")

OF_A_SCRIPT = frozenset({"return", "raise", "exit3", "_exit4", "abort"})
UNSEEN = frozenset({"forkserver", "tracker"})
BELOW = frozenset({"scheduler", "worker", "agent", *UNSEEN})
BY_A_PROGRAM = frozenset({"segv", "rt"})
TOPS = frozenset({"hub", "top"})
NODES = frozenset({"node", "node0", "network"})
BY_MPI = frozenset({"hydra", "prrte"})
BY_US = frozenset({"local", "hosts"})  # whose status is rank 0's
AT_A_DESK = frozenset({"handed", "hosts"})


@dataclass(frozen=True, slots=True)
class Cell:
    """One failure."""

    cause: str
    who: str
    when: str
    launcher: str
    layout: str
    way: str

    @property
    def name(self) -> str:
        """As the table and pytest name it."""
        return "-".join(astuple(self))

    @property
    def ranks(self) -> int:
        """How many it needs: with the last one lost, a worker is left."""
        if self.way == "with" and self.launcher == "local":
            return 1
        return 2 if self.layout == "shared" else 4

    @property
    def asks_before(self) -> bool:
        """Whether a rank is asked to end while it waits for another."""
        asks = self.cause in {"sigint", "sigterm"}
        return asks and self.who in TOPS and self.when == "before"

    @property
    def client_rank(self) -> int:
        """The rank that runs the script."""
        return 0 if self.layout == "shared" else 1
