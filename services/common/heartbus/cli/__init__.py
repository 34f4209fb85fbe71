"""The ``heartbus`` command: what people type, and what scripts read with ``--json``."""
