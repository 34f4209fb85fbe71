"""What bench-ipvs measures with whole programs: reloads, and reactions to failed checks."""
