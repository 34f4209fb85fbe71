"""``heartbus``: one word for each thing an administrator wants of a cluster."""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

import click
from click.shell_completion import CompletionItem

from heartbus import __version__
from heartbus.exits import EXIT_MACHINE, KeyFileError

# Loaded when used: a mistyped word should not cost the import of everything. A command that needs
# the code of a service is named here and lives there: nothing here imports it.
COMMANDS: Final = {
    "bus": ("heartbus.cli.bus", "bus", "Prepare the nats-server beside a director."),
    "config": ("heartbus.cli.config", "config", "Check and show a configuration."),
    "disable": ("heartbus.cli.drain", "disable", "Take a real server out of the table."),
    "drain": ("heartbus.cli.drain", "drain", "Give a real server no new connections."),
    "enable": ("heartbus.cli.drain", "enable", "Treat a real server as configured again."),
    "failback": ("heartbus.cli.move", "failback", "Give groups back to the director they prefer."),
    "history": ("heartbus.cli.history", "history", "Show what happened, as a director remembers."),
    "maintenance": ("heartbus.cli.drain", "maintenance", "Take a real server out to work on it."),
    "metrics": ("heartbus.cli.metrics", "metrics", "Give IPVS tables to Prometheus."),
    "probe": ("heartbus_checker.probe_command", "probe", "Run one check now and show each step."),
    "reload": ("heartbus.cli.reload", "reload", "Make a director read its files anew."),
    "realserver": (
        "heartbus.cli.realserver",
        "realserver",
        "Make this machine a real server behind gate or ipip.",
    ),
    "simulate": (
        "heartbus_simulator.simulate_command",
        "simulate",
        "Say what would happen if …",
    ),
    "standby": ("heartbus.cli.move", "standby", "Give a director's groups to the others."),
    "status": ("heartbus.cli.status", "status", "Show directors, VIP owners and real servers."),
    "takeover": ("heartbus.cli.move", "takeover", "Make a director take groups over."),
    "up": ("heartbus.cli.up", "up", "Run one whole director in the foreground."),
    "weight": ("heartbus.cli.drain", "weight", "Give a real server another weight."),
    "watch": ("heartbus.cli.watch", "watch", "Print events as they happen."),
    "why": ("heartbus.cli.why", "why", "Say why something is as it is."),
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name, _help = COMMANDS[cmd_name]
        command: Any = getattr(importlib.import_module(module), name)
        return command if isinstance(command, click.Command) else None

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the names without loading a command; options as any command."""
        named = [
            CompletionItem(name, help=COMMANDS[name][2])
            for name in sorted(COMMANDS)
            if name.startswith(incomplete)
        ]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in sorted(COMMANDS)])


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: heartbus config check /etc/ha.d",
)
@click.version_option(__version__, prog_name="heartbus")
def heartbus() -> None:
    """Highly available Linux load balancing: virtual IPs, IPVS and checked real servers."""


def main() -> int:
    """Run the command line; click exits with its code, 2 for wrong words."""
    try:
        heartbus.main()
    except KeyFileError as error:
        print(f"heartbus: {error}", file=sys.stderr)
        return EXIT_MACHINE
    except OSError as error:
        print(f"heartbus: cannot write the output: {error.strerror or error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
