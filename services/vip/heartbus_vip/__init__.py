"""Hold the virtual IPs that membership grants to this director, and let them go in time."""
