"""Reads the resources of a group of the TOML form: text as in haresources, or a table each.

Sans-I/O.
"""

from __future__ import annotations

from functools import partial

from heartbus.config.report import Setting
from heartbus.config.resources import label_of, parse_resource, prefix_of, script_name
from heartbus.config.toml_table import Table
from heartbus.config.values import BadValueError, bad, interface, ip, ipv4, unusable_text
from heartbus.model import (
    AddressResource,
    CheckedServicesResource,
    Resource,
    SavedRulesResource,
    ScriptResource,
)


def resources_of(table: Table) -> tuple[list[Setting[Resource]], frozenset[int]]:
    """Return the resources, and which of them are tables: these name no file to read."""
    resources: list[Setting[Resource]] = []
    as_tables: set[int] = set()
    for index, item in enumerate(table.items("resources")):
        place = table.at("resources", index)
        resource: Resource | None = None
        if isinstance(item, dict):
            resource = _resource_table(table.element("resources", index, item))
        elif isinstance(item, str):
            try:
                resource = parse_resource(item, partial(table.report.warning, place))
                if (why := unusable_text(item)) is not None or " " in item:
                    table.report.error(place, f"{why or 'blanks in a resource'}; none are allowed")
            except BadValueError as error:
                table.report.error(place, str(error))
        else:
            table.refuse("resources", item, 'text such as "IPaddr::192.168.7.110/24"', index)
        if resource is not None:
            if isinstance(item, dict):
                as_tables.add(len(resources))
            resources.append(Setting(value=resource, place=place))
    return resources, frozenset(as_tables)


def _resource_table(table: Table) -> Resource | None:
    if table.has("script"):
        script = table.text("script", script_name)
        arguments = tuple(table.texts("arguments", str))
        table.close()
        return ScriptResource(script=script, arguments=arguments) if script else None
    if table.has("services"):
        file = table.text("services", str)
        table.close()
        return CheckedServicesResource(file=file) if file else None
    if table.has("saved_rules"):
        rules = table.text("saved_rules", str)
        table.close()
        return SavedRulesResource(file=rules or None)
    return _address_table(table)


def _address_table(table: Table) -> AddressResource | None:
    written = table.required("address", table.text("address", _address_and_mask))
    address, mask = written if written is not None else ("", None)
    own_mask = table.text("mask", partial(prefix_of, address))
    broadcast = table.text("broadcast", ipv4)
    nic = table.text("interface", interface)
    label = table.text("label", label_of)
    source = table.boolean("source") or False
    table.close()
    if written is None:
        return None
    if mask is None and not table.has("mask"):
        message = str(bad(address, "an address with its prefix length, such as 192.168.7.110/24"))
        table.report.error(table.at("address"), f"{message}, or with mask beside it")
        return None
    if mask is not None and table.has("mask"):
        table.report.error(
            table.at("mask"), f"given beside the /{mask} of the address; allowed is one of them"
        )
        return None
    length = own_mask if mask is None else mask
    if length is None:
        return None  # the mask was refused
    return AddressResource(
        address=address,
        prefix_len=length,
        broadcast=broadcast,
        interface=nic,
        label=label,
        source=source,
    )


def _address_and_mask(text: str) -> tuple[str, int | None]:
    """Return an address, and its prefix length if that is written with it."""
    address, slash, length = text.partition("/")
    canonical = ip(address)
    return canonical, prefix_of(canonical, length) if slash else None
