"""What ``--json`` prints, command by command: the keys that scripts may rely on.

A key stays what it is within a major version; new ones may come. Tests compare with what is
printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

Form = tuple[tuple[str, str], ...]

LINES: Final = "(each line)"
"""In place of a key: one document for each line, not one in all."""

_MESSAGE: Final[Form] = (
    (LINES, "one event, as docs/asyncapi.yaml describes it"),
    ("schema", "version of the form"),
    ("kind", "what happened: its subject"),
    ("id", "its id"),
    ("time_s", "clock of its sender, Unix epoch"),
    ("uptime_s", "monotonic clock of its sender"),
    ("node", "who sent it"),
    ("service", "which of its services"),
    ("incarnation", "grows when that process starts"),
    ("sequence", "number among what this process sent"),
    ("valid_for_s", "how long it is good for"),
    ("cause", "id of what led to it, or null"),
    ("previous", "id of the event that this process published before, or null"),
    ("data", "what it says, by its kind"),
)
_OUTCOME: Final[Form] = (
    ("done", "whether what was asked for is so now"),
    ("message", "what is"),
    ("holders", "group to the director that holds it, empty text for nobody"),
    ("took_s", "how long it took"),
    ("details", "more about it, a list of lines"),
    ("digest", "version of the configuration that runs, where that matters"),
)
_OVERRIDE: Final[Form] = (
    ("(each director)", "its name: done, message, … as of standby; null if it did not answer"),
)
_WHY: Final[Form] = (
    ("subject", "what was asked about"),
    ("answer", "one sentence"),
    ("known", "whether the chain has an end"),
    ("unknown", "why it has none, or null"),
    ("steps", "the chain: time_s, node, kind, text, id, evidence"),
    ("remarks", "what else to know"),
    ("source", "whose history it is"),
)
_REALSERVER: Final[Form] = (
    ("done", "what was changed, a list of lines"),
    ("problems", "what keeps this machine from serving"),
)

JSON_FORMS: Final[Mapping[str, Form]] = {
    "config check": (
        ("usable", "whether a director can run with it"),
        ("digest", "its version (only if usable)"),
        ("remarks", "file, line, level and text of each"),
    ),
    "config diff": (("(a list)", "one for each difference; empty if they mean the same"),),
    "config push": (
        ("verdict", "what became of it, in a word"),
        ("version", "of what was pushed"),
        ("problems", "what kept it from all directors"),
        ("directors", "by name: digest, notes, and what each service would change"),
    ),
    "config show": (("(the model)", "the whole configuration as heartbus understood it"),),
    "disable": _OVERRIDE,
    "drain": _OVERRIDE,
    "enable": _OVERRIDE,
    "failback": _OUTCOME,
    "history": (*_MESSAGE, ("missing_before", "whether events before it are missing here")),
    "maintenance": _OVERRIDE,
    "probe": (("(a list)", "one for each check: target, passed, reason, steps, took_s, weight"),),
    "realserver check": _REALSERVER,
    "realserver remove": (("(a list)", "what was undone, a line each"),),
    "realserver setup": _REALSERVER,
    "reload": (("node", "which director"), ("services", "service to done, message, …")),
    "simulate": (
        ("sentence", "what was played"),
        ("state", "from which state"),
        ("parts", "each way it was played: title, groups or news, story"),
        ("remarks", "what was left out or taken for granted"),
    ),
    "standby": _OUTCOME,
    "status": (
        ("sources", "each snapshot by director and service: subject, age_s, fresh"),
        ("alarms", "what is wrong though everything works"),
        ("directors", "name, who calls it alive, age of what it says, what it holds"),
        ("ping_nodes", "each as each director reaches it"),
        ("links", "each heartbeat link of each director"),
        ("groups", "each resource group: holder, epoch, state, age"),
        ("virtual_services", "each with the table of each director"),
    ),
    "takeover": _OUTCOME,
    "watch": _MESSAGE,
    "weight": _OVERRIDE,
    "why node": _WHY,
    "why realserver": _WHY,
    "why vip": _WHY,
}
