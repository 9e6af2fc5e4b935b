"""Signs of life: how often each end of a connection to the hub sends one."""

from __future__ import annotations

#: The longest time between signs of life, in seconds, and their smallest number within
#: the time of silence (``--silence``) after which the other side counts as lost.
PING_SECONDS = 5.0
PINGS_IN_SILENCE = 6


def between_pings(silence: float) -> float:
    """Return the seconds between signs of life for a time of silence."""
    return min(PING_SECONDS, silence / PINGS_IN_SILENCE)


#: Seconds without a sign of life after which a process outside the launch takes the hub
#: for lost. No option says how long, as it has none of the launch's.
OUTSIDE_SILENCE_SECONDS = 30.0
OUTSIDE_PING_SECONDS = between_pings(OUTSIDE_SILENCE_SECONDS)
