"""Commands of operators: which are carried out, which are refused, and how the answer says why.

Independent of the way they come; ``bus`` brings them over NATS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog

from heartbus.events import (
    COMMAND_CLASSES,
    Command,
    CommandOutcome,
    Event,
    Message,
    OperatorAnswered,
    OperatorCommanded,
)

COMMANDS_MAX: Final = 16
"""Commands that a service carries out at once; one more is refused."""

ARGUMENT_CHARS_MAX: Final = 256

CLOCKS_DIFFER_MAX: Final = 2
"""A command from the future by more than its own validity is of another clock."""

CommandHandler = Callable[[Command, float, str], Awaitable[CommandOutcome]]
"""Carries out a command within so many seconds; the id of the event that told of it is the cause of
what comes of it."""


class CommandDesk:
    """What one service does for operators. ``tell`` publishes an event with its cause."""

    def __init__(
        self,
        *,
        service: str,
        log: structlog.typing.FilteringBoundLogger,
        tell: Callable[[Event, str | None], str],
    ) -> None:
        self._service = service
        self._tell = tell
        self._log = log
        self._handlers: dict[str, CommandHandler] = {}
        self._busy = 0

    def serve(self, command_class: type[Command], handler: CommandHandler) -> None:
        """Carry out commands of one class with ``handler``."""
        self._handlers[command_class.kind] = handler

    @property
    def kinds(self) -> Iterable[str]:
        """Kinds of commands that are served."""
        return self._handlers.keys()

    async def carry_out(self, message: Message, *, wall_s: float) -> CommandOutcome:
        """Return what became of a command; ``wall_s`` is our wall clock. Raises nothing."""
        envelope, command = message.envelope, message.body
        handler = self._handlers.get(envelope.kind)
        if handler is None or not isinstance(command, COMMAND_CLASSES):
            return refused(f"{envelope.kind} is no command of {self._service}")
        left_s = envelope.time_s + envelope.valid_for_s - wall_s
        if not 0 < left_s <= CLOCKS_DIFFER_MAX * envelope.valid_for_s:
            # A request that timed out may still arrive when the network heals.
            return refused(
                f"sent {wall_s - envelope.time_s:.1f} s ago by this director's clock, valid for"
                f" {envelope.valid_for_s:g} s: it came late, or the clocks differ"
            )
        if self._busy >= COMMANDS_MAX:
            return refused(f"{COMMANDS_MAX} commands are being carried out; try again later")
        self._log.info("command", kind=envelope.kind, id=envelope.id, by=envelope.service)
        name = verb(envelope.kind)
        told = OperatorCommanded(command=name, arguments=arguments(command), by=envelope.service)
        cause = self._tell(told, envelope.id)
        self._busy += 1
        try:
            outcome = await handler(command, min(left_s, envelope.valid_for_s), cause)
        except Exception as error:  # the sender must hear of a defect, and the service must live on
            self._log.exception("command.failed", kind=envelope.kind)
            outcome = refused(f"a defect of {self._service}: {error!r}; see its log")
        finally:
            self._busy -= 1
        answered = OperatorAnswered(command=name, done=outcome.done, message=outcome.message)
        self._tell(answered, cause)
        return outcome


def arguments(command: Command) -> str:
    """Return what a command was given, as ``name=value`` words; what is as always is left out.

    A long value is cut: a whole configuration may be pushed.
    """
    return " ".join(
        f"{field.name}={str(getattr(command, field.name))[:ARGUMENT_CHARS_MAX]}"
        for field in dataclasses.fields(command)
        if getattr(command, field.name) != field.default
    )


def verb(kind: str) -> str:
    """Return the last token of its subject: ``standby`` of ``command.standby``."""
    return kind.rpartition(".")[2]


def refused(why: str) -> CommandOutcome:
    """Return the answer to a command that changes nothing."""
    return CommandOutcome(done=False, message=f"refused: {why}")
