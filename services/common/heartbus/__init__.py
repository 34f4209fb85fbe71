"""The contract that heartbus services share: model, events, subjects, codec, bus, configuration."""

__version__ = "0.1.0"
