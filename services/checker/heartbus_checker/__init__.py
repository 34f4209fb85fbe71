"""Are the real servers up? Probes every target and publishes one verdict per real server."""
