"""membership: which director is alive, and which one may hold each resource group."""
