"""Every way in which Graft can refuse, as one small tree.

    GraftError
    |- ConfigError      ours: a setting or a call is wrong; the program stops with one sentence
    |  `- RefusedPlan   a plan that must not be carried out; exit status 1
    |- BadSample        theirs: a record from the wire is wrong; it goes to the dead-letter topic and the batch goes on
    |- SnapshotError    a snapshot is damaged, foreign or too large; never loaded, the next older one is tried
    |- OutsideError     broker, disk or incident tool does not answer; exit status 3

Rule: a message names what came, what was wanted, where, and what to do. A traceback shown to a user is a defect.
"""

from __future__ import annotations


class GraftError(Exception):
    """Base of all errors that Graft raises on purpose."""


class ConfigError(GraftError):
    """A setting, an argument or a call that cannot work; the caller's to mend."""


class RefusedPlan(ConfigError):  # noqa: N818 - as the commands say it
    """A plan that was made for other data or by another version, or lends nothing."""


class BadSample(GraftError):  # noqa: N818 - the field speaks of bad samples
    """A record or sample from the wire that cannot be used.

    reason is a short stable word for counters and dead-letter headers, detail a sentence for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class SnapshotError(GraftError):
    """Bytes that are not a snapshot that may be loaded here."""


class OutsideError(GraftError):
    """The world outside (broker, disk, incident tool) does not do its part."""
