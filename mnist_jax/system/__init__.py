"""The machine: its devices and CPUs, files, signals, terminal and processes, and how each of them fails.

Nothing here knows what is trained.
"""
