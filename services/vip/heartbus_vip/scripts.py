"""Call the programs of resources; ``heartbus.child`` bounds each call in time and output."""

from __future__ import annotations

import xml.etree.ElementTree
from collections.abc import Sequence
from typing import Final

from heartbus.child import OUTPUT_BYTES_MAX as OUTPUT_BYTES_MAX
from heartbus.child import ChildError, run_child
from heartbus.model import ScriptResource
from heartbus.resource_programs import NotFound, Program, ProgramKind, find_program
from heartbus_vip.resource import (
    ArgumentError,
    Command,
    ScriptEnd,
    ScriptResult,
    Verb,
    command,
)

META_DATA_S: Final = 10.0
PARAMETERS_MAX: Final = 200


class Programs:
    """Finds the program of each resource and calls it. ``root``: of units and agents."""

    def __init__(self, directories: Sequence[str], *, root: str = "/") -> None:
        self._directories, self._root = tuple(directories), root
        self._parameters: dict[str, tuple[str, ...]] = {}

    def find(self, name: str) -> Program | NotFound:
        """Return the program of this name as it is now: it may be installed at any time."""
        return find_program(name, self._directories, root=self._root)

    async def call(self, resource: ScriptResource, verb: Verb, *, timeout_s: float) -> ScriptResult:
        """Call a script, a unit or an agent; return how it ended, after about ``timeout_s``.

        Cancelling it ends the program's process group first.
        """
        program = self.find(resource.script)
        if isinstance(program, NotFound):
            return ScriptResult(end=ScriptEnd.MISSING, detail=program.tried)
        try:
            parameters = await self._parameters_of(program, resource)
            called = command(program, resource, verb, timeout_s=timeout_s, parameters=parameters)
        except ArgumentError as error:
            return ScriptResult(end=ScriptEnd.UNRUNNABLE, kind=program.kind, detail=str(error))
        return await run(called, kind=program.kind, timeout_s=timeout_s)

    async def _parameters_of(self, program: Program, resource: ScriptResource) -> tuple[str, ...]:
        """Ask an agent once what parameters it has; nothing if it does not say."""
        if program.kind is not ProgramKind.AGENT or not resource.arguments:
            return ()
        if program.path not in self._parameters:
            asked = Command(
                argv=(program.path, "meta-data"), environment={"OCF_ROOT": program.root}
            )
            result = await run(asked, kind=program.kind, timeout_s=META_DATA_S)
            self._parameters[program.path] = parameter_names(result.output)
        return self._parameters[program.path]


def parameter_names(meta_data: str) -> tuple[str, ...]:
    """Return the names of the parameters in an agent's meta-data; none if it is no XML."""
    start = meta_data.find("<resource-agent")  # some agents print a warning before it
    try:
        tree = xml.etree.ElementTree.fromstring(meta_data[max(start, 0) :])
    except xml.etree.ElementTree.ParseError:
        return ()
    names = [p.get("name", "") for p in tree.iterfind("./parameters/parameter")]
    return tuple(name for name in names[:PARAMETERS_MAX] if name)


async def run(
    called: Command, *, timeout_s: float, kind: ProgramKind = ProgramKind.SCRIPT, text: str = ""
) -> ScriptResult:
    """Run a command, with ``text`` as its input; return after at most about ``timeout_s``.

    Cancelling it ends its process group first.
    """
    argv = called.argv
    try:
        end = await run_child(argv, environment=called.environment, timeout_s=timeout_s, text=text)
    except ChildError as error:
        return ScriptResult(end=ScriptEnd.UNRUNNABLE, kind=kind, detail=str(error))
    if end.code is None:
        detail = f"{argv[0]} {argv[-1]} was ended after {timeout_s:g} s"
        return ScriptResult(end=ScriptEnd.TIMED_OUT, kind=kind, detail=detail, output=end.output)
    return ScriptResult(end=ScriptEnd.EXITED, kind=kind, code=end.code, output=end.output)
