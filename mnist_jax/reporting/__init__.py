"""Where the numbers of a run are shown: terminal, report.html, Weights & Biases."""
