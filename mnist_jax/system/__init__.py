"""The machine: devices and CPUs, files, signals, terminal and processes, and how each of them fails.

Nothing here depends on the model or the data.
"""
