"""What the benchmark of the checker is made of."""
