"""Commands: served, refused with the reason, bounded; late ones are never carried out."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from heartbus import log
from heartbus.commands import COMMANDS_MAX, CommandDesk, arguments
from heartbus.events import (
    Command,
    CommandOutcome,
    Event,
    FailBack,
    GroupScope,
    Message,
    NodeLeft,
    OperatorAnswered,
    OperatorCommanded,
    PushConfig,
    PushStep,
    Standby,
)
from tests.common.samples import sample_envelope

DONE = CommandOutcome(done=True, message="done")


def message(command: Command | NodeLeft, *, sent_s: float = 1000.0) -> Message:
    envelope = sample_envelope(command.kind)
    return Message(envelope=replace(envelope, time_s=sent_s, valid_for_s=10.0), body=command)


class Told:
    """What a desk publishes: events with their causes; the ids are their numbers."""

    def __init__(self) -> None:
        self.events: list[tuple[Event, str | None]] = []

    def __call__(self, event: Event, cause: str | None) -> str:
        self.events.append((event, cause))
        return f"event-{len(self.events)}"


def desk(told: Told | None = None) -> tuple[CommandDesk, list[tuple[Command, float]]]:
    carried_out: list[tuple[Command, float]] = []

    async def handler(command: Command, within_s: float, _cause: str) -> CommandOutcome:
        carried_out.append((command, within_s))
        return DONE

    made = CommandDesk(service="membership", log=log.logger(node="a"), tell=told or Told())
    made.serve(Standby, handler)
    return made, carried_out


async def test_a_command_is_carried_out_within_what_is_left_of_its_time() -> None:
    made, carried_out = desk()
    assert await made.carry_out(message(Standby()), wall_s=1004.0) == DONE
    assert carried_out == [(Standby(), 6.0)]


@pytest.mark.parametrize("wall_s", [1010.0, 1500.0, 989.9, 0.0])
async def test_a_late_command_or_one_of_another_clock_is_refused(wall_s: float) -> None:
    made, carried_out = desk()
    outcome = await made.carry_out(message(Standby()), wall_s=wall_s)
    assert not outcome.done
    assert "it came late, or the clocks differ" in outcome.message
    assert carried_out == []


async def test_a_clock_that_is_a_little_behind_gives_no_more_time() -> None:
    made, carried_out = desk()
    await made.carry_out(message(Standby()), wall_s=998.0)
    assert carried_out == [(Standby(), 10.0)]


@pytest.mark.parametrize("what", [FailBack(), NodeLeft(director="b")])
async def test_what_is_no_command_of_this_service_is_refused(what: Command | NodeLeft) -> None:
    made, _ = desk()
    outcome = await made.carry_out(message(what), wall_s=1000.0)
    assert outcome.message == f"refused: {what.kind} is no command of membership"


async def test_a_defect_is_an_answer_and_no_end() -> None:
    made, _ = desk()

    async def broken(_command: Command, _within_s: float, _cause: str) -> CommandOutcome:
        raise ZeroDivisionError("no")

    made.serve(Standby, broken)
    outcome = await made.carry_out(message(Standby()), wall_s=1000.0)
    assert outcome.message.startswith("refused: a defect of membership: ZeroDivisionError")


async def test_too_many_at_once_are_refused() -> None:
    made, _ = desk()
    go = asyncio.Event()

    async def slow(_command: Command, _within_s: float, _cause: str) -> CommandOutcome:
        await go.wait()
        return DONE

    made.serve(Standby, slow)
    running = [
        asyncio.create_task(made.carry_out(message(Standby()), wall_s=1000.0))
        for _ in range(COMMANDS_MAX)
    ]
    await asyncio.sleep(0)
    refused = await made.carry_out(message(Standby()), wall_s=1000.0)
    assert "try again later" in refused.message
    go.set()
    assert await asyncio.gather(*running) == [DONE] * COMMANDS_MAX
    assert (await made.carry_out(message(Standby()), wall_s=1000.0)).done


async def test_a_command_and_its_outcome_are_told_and_are_the_cause_of_what_follows() -> None:
    told = Told()
    made, _ = desk(told)
    causes: list[str] = []

    async def handler(_command: Command, _within_s: float, cause: str) -> CommandOutcome:
        causes.append(cause)
        return DONE

    made.serve(Standby, handler)
    sent = message(Standby(scope=GroupScope.LOCAL))
    await made.carry_out(sent, wall_s=1000.0)
    begun = OperatorCommanded(command="standby", arguments="scope=local", by="vip")
    ended = OperatorAnswered(command="standby", done=True, message="done")
    assert told.events == [(begun, sent.envelope.id), (ended, "event-1")]
    assert causes == ["event-1"]


async def test_a_command_that_is_refused_at_the_door_is_not_told() -> None:
    told = Told()
    made, _ = desk(told)
    await made.carry_out(message(Standby()), wall_s=1500.0)
    assert told.events == []


def test_a_long_value_of_a_command_is_cut_where_it_is_told() -> None:
    """A whole configuration may be pushed: its parts are no news for observers."""
    part = PushConfig(push="a", step=PushStep.STAGE, sent_s=1.0, text="x" * 10_000, parts=1)
    assert len(arguments(part)) < 600
