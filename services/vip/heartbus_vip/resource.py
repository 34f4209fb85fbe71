"""How the programs of resources are called, and what their answers mean.

Sans-I/O. Scripts: words and rules of Heartbeat 3 (inventory: stdout of ``status`` decides, its exit
status does not; ``start`` and ``stop`` are judged by theirs). Units: systemctl(1). Agents: the OCF
resource agent API 1.1, whose exit codes say all.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from heartbus.model import ScriptResource
from heartbus.resource_programs import Program, ProgramKind

_NOT_RUNNING: Final = re.compile(r"[Nn]ot [Rr]unning")
_HELD_WORDS: Final = ("running", "OK")
_STOPPED_WORDS: Final = re.compile(r"\b(stopped|dead|inactive|unused)\b", re.IGNORECASE)
LSB_NOT_RUNNING: Final = 3
REASON_CHARS_MAX: Final = 200

OCF_WORDS: Final = {
    1: "generic error",
    2: "invalid arguments",
    3: "not implemented",
    4: "not enough rights",
    5: "not installed",
    6: "not configured",
    7: "not running",
    8: "running as promoted",
    9: "failed as promoted",
}
OCF_RUNNING: Final = (0, 8)
OCF_NOT_RUNNING: Final = 7
UNIT_NOT_LOADED: Final = 5
"""What systemctl stop answers where there is no such unit: then it does not run."""

POSITIONAL: Final = {
    "Filesystem": ("device", "directory", "fstype", "options"),
    "LVM": ("volgrpname",),
    "Raid1": ("raidconf", "raiddev"),
    "apache": ("configfile",),
    "portblock": ("protocol", "portno", "action"),
}
"""What Heartbeat's scripts of these names made of their arguments in haresources."""


TELLS_NO_STATUS: Final = frozenset({"Delay", "MailTo", "SendArp"})
"""Built in; they do something once, and there is nothing to watch while the group is held."""


class Verb(enum.StrEnum):
    """The last argument of a resource script; an agent is asked ``monitor`` for ``status``."""

    STATUS = "status"
    START = "start"
    STOP = "stop"


class ScriptEnd(enum.Enum):
    """How a call ended. ``missing``: no such program anywhere, nothing was called."""

    EXITED = "exited"
    TIMED_OUT = "timed out"
    UNRUNNABLE = "unrunnable"
    MISSING = "missing"


class Said(enum.Enum):
    """What an answer to ``status`` means. ``unclear``: nothing that can be relied on."""

    RUNNING = "running"
    STOPPED = "stopped"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptResult:
    """Outcome of one call. ``code`` is an exit code, or minus the number of a signal.

    ``output`` holds both streams of the program, cut to a bound; ``detail`` says what was tried
    where there is more to say than a code.
    """

    end: ScriptEnd
    kind: ProgramKind = ProgramKind.SCRIPT
    code: int = 0
    output: str = ""
    detail: str = ""

    @property
    def says_held(self) -> bool:
        """Whether a ``status`` call says that the resource runs."""
        return self.said is Said.RUNNING

    @property
    def said(self) -> Said:
        """What a ``status`` call says."""
        if self.end is not ScriptEnd.EXITED:
            return Said.UNCLEAR
        if self.kind is ProgramKind.AGENT:
            return Said.RUNNING if self.code in OCF_RUNNING else Said.STOPPED
        if self.kind is ProgramKind.UNIT:
            if self.code == 0:
                return Said.RUNNING
            passing = ("activating", "deactivating", "reloading")
            return Said.UNCLEAR if self.output.strip() in passing else Said.STOPPED
        if _NOT_RUNNING.search(self.output):
            return Said.STOPPED
        if any(word in self.output for word in _HELD_WORDS):
            return Said.RUNNING
        stopped = self.code == LSB_NOT_RUNNING or _STOPPED_WORDS.search(self.output)
        return Said.STOPPED if stopped else Said.UNCLEAR

    @property
    def trouble(self) -> str | None:
        """Why an answer to ``status`` counts against a resource that should run, or None."""
        if self.end is ScriptEnd.EXITED:
            return self._words() if self.said is Said.STOPPED else None
        return self.problem

    @property
    def problem(self) -> str | None:
        """Why a ``start`` or ``stop`` failed, or None; a missing program is no failure."""
        if self.end is ScriptEnd.MISSING or (self.end is ScriptEnd.EXITED and self.code == 0):
            return None
        return self._words()

    def _words(self) -> str:
        if self.end is not ScriptEnd.EXITED:
            said = self.end.value if not self.detail else f"{self.end.value}: {self.detail}"
        elif self.code < 0:
            said = f"killed by signal {-self.code}"
        elif self.kind is ProgramKind.AGENT and self.code in OCF_WORDS:
            said = f"exit code {self.code} ({OCF_WORDS[self.code]})"
        else:
            said = f"exit code {self.code}"
        last = self.output.strip().rpartition("\n")[2].strip()
        return f"{said}; it said: {last[:REASON_CHARS_MAX]}" if last else said


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run: the program with its arguments, and what it finds in its environment."""

    argv: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


class ArgumentError(ValueError):
    """The arguments of a resource do not fit its program; the text says what is allowed."""


def command(
    program: Program,
    resource: ScriptResource,
    verb: Verb,
    *,
    timeout_s: float,
    parameters: Sequence[str] = (),
) -> Command:
    """Return the call of a script, a unit or an agent (not of what is built in).

    ``parameters``: names of an agent's parameters in the order of its meta-data, if known.

    Raises:
        ArgumentError: arguments that an agent or a unit cannot be given.

    """
    if program.kind is ProgramKind.UNIT:
        if resource.arguments:
            raise ArgumentError(f"a systemd unit takes no arguments, {resource.name} has some")
        words = {Verb.STATUS: "is-active", Verb.START: "start", Verb.STOP: "stop"}
        return Command(argv=("systemctl", words[verb], program.path))
    if program.kind is ProgramKind.SCRIPT:
        return Command(argv=(program.path, *resource.arguments, str(verb)))
    name = program.path.rpartition("/")[2]
    reskeys = agent_parameters(name, resource.arguments, parameters)
    return Command(
        argv=(program.path, "monitor" if verb is Verb.STATUS else str(verb)),
        environment={
            "OCF_ROOT": program.root,
            "OCF_RA_VERSION_MAJOR": "1",
            "OCF_RA_VERSION_MINOR": "1",
            "OCF_RESOURCE_TYPE": name,
            "OCF_RESOURCE_PROVIDER": program.provider,
            "OCF_RESOURCE_INSTANCE": instance_name(resource),
            "OCF_RESKEY_CRM_meta_timeout": str(round(timeout_s * 1000)),
            **{f"OCF_RESKEY_{key}": value for key, value in reskeys.items()},
        },
    )


def instance_name(resource: ScriptResource) -> str:
    """Return what names this use of an agent in its state files: letters, digits, ``-``, ``_``."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", resource.name)


def agent_parameters(
    agent: str, arguments: Sequence[str], known: Sequence[str] = ()
) -> dict[str, str]:
    """Return the parameters of an agent: ``key=value``, or values in their order.

    Raises:
        ArgumentError: a value too many, a name that the agent does not know, or one given twice.

    """
    order = list(POSITIONAL.get(agent, known))
    found: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            if not order:
                raise ArgumentError(
                    f"{agent}: no parameter is left for {argument!r}; allowed is key=value"
                    + (f" with {', '.join(known)}" if known else "")
                )
            key, value = order[0], argument
        elif known and key not in known:
            raise ArgumentError(
                f"{agent}: there is no parameter {key!r}; allowed is {', '.join(known)}"
            )
        if key in found:
            raise ArgumentError(f"{agent}: {key} is given twice")
        if key in order:
            order.remove(key)
        found[key] = value
    return found
