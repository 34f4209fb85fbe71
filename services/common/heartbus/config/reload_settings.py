"""When files are read anew, as ldirectord files and the TOML form say it.

ldirectord says it once for each of its files; here it is one setting of the whole configuration:
files are watched if any of them asks for it, and the first program that is named is run.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from heartbus.config.ldirectord_directives import Settings
from heartbus.config.report import Path, Place, Report
from heartbus.config.toml_table import Table
from heartbus.config.values import absolute_path
from heartbus.model import ReloadSettings


@dataclass(slots=True, kw_only=True)
class WrittenReload:
    """What the files said so far, and where."""

    settings: ReloadSettings = field(default_factory=ReloadSettings)
    places: dict[Path, Place] = field(default_factory=dict)

    def of_ldirectord(self, settings: Settings, report: Report) -> None:
        """Take in the global settings of one ldirectord file."""
        autoreload, callback = settings.autoreload, settings.callback
        if autoreload is not None and (autoreload.value or not self.settings.autoreload):
            self.settings = dataclasses.replace(self.settings, autoreload=autoreload.value)
            self.places["cluster", "autoreload"] = autoreload.place
        if callback is None:
            return
        if self.settings.callback not in (None, callback.value):
            other = self.places["cluster", "callback"]
            report.warning(
                callback.place,
                f"not run: that of {other.file}:{other.line} is, for all files; allowed is one",
            )
            return
        self.settings = dataclasses.replace(self.settings, callback=callback.value)
        self.places["cluster", "callback"] = callback.place

    def of_table(self, table: Table) -> None:
        """Take in the keys of ``[cluster]``; they count before those of other files."""
        autoreload = table.boolean("autoreload")
        callback = table.text("callback", absolute_path)
        if autoreload is not None:
            self.settings = dataclasses.replace(self.settings, autoreload=autoreload)
            self.places.pop(("cluster", "autoreload"), None)
        if callback is not None:
            self.settings = dataclasses.replace(self.settings, callback=callback)
            self.places.pop(("cluster", "callback"), None)
