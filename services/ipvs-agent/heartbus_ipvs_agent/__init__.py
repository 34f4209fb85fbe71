"""heartbus-ipvs-agent: makes the kernel's IPVS table say what configuration and checks want."""
