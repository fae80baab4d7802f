"""Many runs, and data sets: sweeps, searches, comparisons, reproductions, explorations."""
