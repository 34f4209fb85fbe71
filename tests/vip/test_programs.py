"""Where the program of a resource is found, and how each kind is called: real files and shells."""

from __future__ import annotations

from pathlib import Path

import pytest

from heartbus.model import ScriptResource
from heartbus.resource_programs import NotFound, Program, ProgramKind, find_program
from heartbus_vip.resource import (
    ArgumentError,
    Said,
    ScriptEnd,
    ScriptResult,
    Verb,
    agent_parameters,
)
from heartbus_vip.scripts import Programs, parameter_names
from tests.lab.kernel import CHECKOUT

AGENT = """#!/bin/sh
case $1 in
meta-data) cat <<END
<?xml version="1.0"?>
<resource-agent name="Demo"><parameters>
<parameter name="state" unique="1"/><parameter name="greeting"/>
</parameters></resource-agent>
END
;;
start) echo "$OCF_RESKEY_state|$OCF_RESKEY_greeting|$OCF_RESOURCE_INSTANCE|$OCF_ROOT"; exit 0;;
monitor) exit ${OCF_RESKEY_state:-7};;
*) exit 3;;
esac
"""


def write(path: Path, text: str = "#!/bin/sh\n", *, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


class Machine:
    """A root directory with resource.d and init.d, and what is put there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.directories = tuple(str(root / d) for d in ("etc/ha.d/resource.d", "etc/init.d"))

    def find(self, name: str) -> Program | NotFound:
        return find_program(name, self.directories, root=str(self.root))

    def script(self, directory: str, name: str = "demo", *, mode: int = 0o755) -> str:
        return str(write(self.root / directory / name, mode=mode))

    def unit(self, name: str = "demo.service") -> None:
        (self.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
        write(self.root / "usr/lib/systemd/system" / name, "[Service]\n", mode=0o644)

    def agent(self, provider: str = "heartbeat", name: str = "demo", text: str = AGENT) -> str:
        return str(write(self.root / "usr/lib/ocf/resource.d" / provider / name, text))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_scripts_come_before_units_and_those_before_agents(machine: Machine) -> None:
    agent = machine.agent()
    found = machine.find("demo")
    assert found == Program(
        kind=ProgramKind.AGENT,
        path=agent,
        provider="heartbeat",
        root=str(machine.root / "usr/lib/ocf"),
    )
    machine.unit()
    assert machine.find("demo") == Program(kind=ProgramKind.UNIT, path="demo.service")
    init = machine.script("etc/init.d")
    assert machine.find("demo") == Program(kind=ProgramKind.SCRIPT, path=init)
    own = machine.script("etc/ha.d/resource.d")
    assert machine.find("demo") == Program(kind=ProgramKind.SCRIPT, path=own)


def test_a_prefix_says_which_kind_is_meant(machine: Machine) -> None:
    machine.script("etc/init.d")
    machine.unit()
    mine, theirs = machine.agent("mine"), machine.agent("heartbeat")
    kinds = [machine.find(f"{kind}:demo") for kind in ("lsb", "systemd", "ocf")]
    assert [f.kind for f in kinds if isinstance(f, Program)] == [
        ProgramKind.SCRIPT,
        ProgramKind.UNIT,
        ProgramKind.AGENT,
    ]
    assert [getattr(machine.find(f"ocf:{p}demo"), "path", None) for p in ("mine:", "")] == [
        mine,
        theirs,
    ]


def test_what_is_nowhere_tells_all_that_was_tried(machine: Machine) -> None:
    path = machine.script("etc/init.d", mode=0o644)
    machine.agent(name="other")
    found = machine.find("demo")
    assert isinstance(found, NotFound)
    assert found.tried.split(", ") == [
        f"{machine.directories[0]}/demo (no such file)",
        f"{path} (not executable)",
        "systemd unit demo.service (systemd does not run here)",
        f"{machine.root}/usr/lib/ocf/resource.d/heartbeat/demo (no such file)",
    ]


def test_what_is_built_in_needs_no_file_and_is_not_replaced_by_one(machine: Machine) -> None:
    machine.script("etc/ha.d/resource.d", "MailTo")
    assert machine.find("MailTo") == Program(kind=ProgramKind.BUILT_IN, path="MailTo")


async def call(machine: Machine, name: str, verb: Verb, *arguments: str) -> ScriptResult:
    programs = Programs(machine.directories, root=str(machine.root))
    resource = ScriptResource(script=name, arguments=arguments)
    return await programs.call(resource, verb, timeout_s=10.0)


async def test_an_agent_gets_its_parameters_by_name_or_in_the_order_of_its_meta_data(
    machine: Machine,
) -> None:
    machine.agent()
    root = machine.root / "usr/lib/ocf"
    for arguments in (("state=0", "greeting=a b"), ("0", "a b"), ("greeting=a b", "0")):
        result = await call(machine, "ocf:heartbeat:demo", Verb.START, *arguments)
        assert result.problem is None
        assert result.output.startswith("0|a b|ocf_heartbeat_demo_")
        assert result.output.endswith(f"|{root}\n")


async def test_a_parameter_that_an_agent_does_not_have_is_told(machine: Machine) -> None:
    machine.agent()
    result = await call(machine, "demo", Verb.START, "stat=0")
    assert result.end is ScriptEnd.UNRUNNABLE
    assert "no parameter 'stat'; allowed is state, greeting" in str(result.problem)


@pytest.mark.parametrize(
    ("code", "said"),
    [(0, Said.RUNNING), (8, Said.RUNNING), (7, Said.STOPPED), (1, Said.STOPPED), (5, Said.STOPPED)],
)
async def test_the_exit_code_of_monitor_says_it_all(
    machine: Machine, code: int, said: Said
) -> None:
    machine.agent()
    result = await call(machine, "demo", Verb.STATUS, f"state={code}")
    assert result.said is said


async def test_the_exit_codes_of_agents_are_told_in_words(machine: Machine) -> None:
    machine.agent()
    result = await call(machine, "demo", Verb.STOP)
    assert result.problem == "exit code 3 (not implemented)"


async def test_a_unit_is_started_stopped_and_asked_with_systemctl(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No systemd runs where the tests run: a systemctl of our own writes down how it is called."""
    machine.unit()
    trace = machine.root / "trace"
    systemctl = f"""#!/bin/sh
echo "$@" >> {trace}
[ "$1" != is-active ] || {{ cat {machine.root}/state; [ "$(cat {machine.root}/state)" = active ]; }}
"""
    write(machine.root / "bin/systemctl", systemctl)
    monkeypatch.setenv("PATH", f"{machine.root}/bin:/usr/bin:/bin")
    said = []
    for state in ("active", "inactive", "failed", "activating"):
        (machine.root / "state").write_text(f"{state}\n")
        said.append((await call(machine, "demo", Verb.STATUS)).said)
    assert said == [Said.RUNNING, Said.STOPPED, Said.STOPPED, Said.UNCLEAR]
    assert (await call(machine, "demo", Verb.START)).problem is None
    assert (await call(machine, "demo", Verb.STOP)).problem is None
    assert trace.read_text().splitlines() == [
        *["is-active demo.service"] * 4,
        "start demo.service",
        "stop demo.service",
    ]


async def test_a_unit_takes_no_arguments(machine: Machine) -> None:
    machine.unit()
    result = await call(machine, "demo", Verb.START, "fast")
    assert "takes no arguments" in str(result.problem)


@pytest.mark.parametrize(
    ("agent", "arguments", "expected"),
    [
        (
            "Filesystem",
            ("/dev/a", "/mnt", "ext4"),
            {"device": "/dev/a", "directory": "/mnt", "fstype": "ext4"},
        ),
        (
            "Filesystem",
            ("fstype=xfs", "/dev/a", "/mnt"),
            {"fstype": "xfs", "device": "/dev/a", "directory": "/mnt"},
        ),
        ("any", ("a=b=c",), {"a": "b=c"}),
        ("any", (), {}),
    ],
)
def test_arguments_of_haresources_become_parameters(
    agent: str, arguments: tuple[str, ...], expected: dict[str, str]
) -> None:
    assert agent_parameters(agent, arguments) == expected


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(("value",), "no parameter is left"), (("a=1", "a=2"), "given twice")],
)
def test_arguments_that_fit_nothing_are_refused(arguments: tuple[str, ...], word: str) -> None:
    with pytest.raises(ArgumentError, match=word):
        agent_parameters("any", arguments)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("<resource-agent", ()),
        (
            "a warning\n<resource-agent><parameters><parameter name='x'/></parameters>"
            "</resource-agent>",
            ("x",),
        ),
        ("<resource-agent><parameters><parameter/></parameters></resource-agent>", ()),
    ],
)
def test_meta_data_gives_the_names_of_parameters_or_none(text: str, names: tuple[str, ...]) -> None:
    assert parameter_names(text) == names


@pytest.mark.parametrize(
    ("code", "output", "said"),
    [
        (0, "running", Said.RUNNING),
        (3, "", Said.STOPPED),
        (0, "demo is stopped", Said.STOPPED),
        (1, "demo dead but pid file exists", Said.STOPPED),
        (0, "inactive", Said.STOPPED),
        (1, "usage: demo start|stop", Said.UNCLEAR),
        (0, "", Said.UNCLEAR),
    ],
)
def test_a_script_that_says_nothing_known_is_not_taken_for_stopped(
    code: int, output: str, said: Said
) -> None:
    assert ScriptResult(end=ScriptEnd.EXITED, code=code, output=output).said is said


async def test_an_agent_of_debian_is_started_asked_and_stopped(tmp_path: Path) -> None:
    programs = Programs((), root=str(CHECKOUT / "build" / "lab" / "root"))
    state = tmp_path / "state"
    dummy = ScriptResource(script="ocf:heartbeat:Dummy", arguments=(f"state={state}",))

    async def call(verb: Verb) -> ScriptResult:
        return await programs.call(dummy, verb, timeout_s=20.0)

    assert (await call(Verb.STATUS)).said is Said.STOPPED
    assert (await call(Verb.START)).problem is None
    assert state.exists()
    assert (await call(Verb.STATUS)).said is Said.RUNNING
    assert (await call(Verb.STOP)).problem is None
    assert not state.exists()
    wrong = ScriptResource(script="ocf:heartbeat:Dummy", arguments=("stat=x",))
    refused = await programs.call(wrong, Verb.START, timeout_s=20.0)
    assert "there is no parameter 'stat'; allowed is state, fake" in str(refused.problem)
