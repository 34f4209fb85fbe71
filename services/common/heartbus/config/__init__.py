"""Configuration: a directory in the old form or one TOML file, into the same frozen model."""

from __future__ import annotations

from heartbus.config.diagnostics import ConfigError, Diagnostic, Level
from heartbus.config.loader import Loaded, load

__all__ = ["ConfigError", "Diagnostic", "Level", "Loaded", "load"]
