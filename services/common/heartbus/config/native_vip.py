"""Reads [vip] of the TOML form, and the tables that say how addresses are announced.

Sans-I/O.
"""

from __future__ import annotations

from typing import Final

from heartbus.config.native_conflicts import conflict_settings
from heartbus.config.native_resources import resource_settings
from heartbus.config.toml_table import Table
from heartbus.model import AnnounceForm, AnnounceSettings, VipSettings
from heartbus.model_addresses import BURST_MAX

LIFETIME_MAX_S: Final = 3600


def read_vip(table: Table) -> VipSettings:
    """Return how addresses are held."""
    default = VipSettings()
    lifetime_s = table.integer("lifetime", 1, LIFETIME_MAX_S)
    vip = VipSettings(
        lifetime_s=lifetime_s or default.lifetime_s,
        refresh_s=table.seconds("refresh") or default.refresh_s,
        script_timeout_s=table.seconds("script_timeout") or default.script_timeout_s,
        announce=announce_settings(table.table("announce")),
        resources=resource_settings(table.table("resources")),
        conflicts=conflict_settings(table.table("conflicts")),
    )
    table.close()
    return vip


def announce_settings(table: Table) -> AnnounceSettings:
    """Return what is written, with the defaults of what is not."""
    default = AnnounceSettings()
    settings = AnnounceSettings(
        burst=table.integer("burst", 1, BURST_MAX) or default.burst,
        spacing_s=_seconds(table, "spacing", default.spacing_s),
        spacing_ipv6_s=table.seconds("spacing_ipv6", zero=True),
        pacing_s=_seconds(table, "pacing", default.pacing_s),
        pacing_ipv6_s=table.seconds("pacing_ipv6", zero=True),
        again_s=_seconds(table, "again", default.again_s),
        refresh_s=_seconds(table, "refresh", default.refresh_s),
        refresh_burst=table.integer("refresh_burst", 1, BURST_MAX) or default.refresh_burst,
        form=table.choice("form", AnnounceForm) or default.form,
    )
    table.close()
    return settings


def _seconds(table: Table, key: str, default_s: float) -> float:
    written_s = table.seconds(key, zero=True)
    return default_s if written_s is None else written_s
