"""The machine: devices and CPUs, files, signals, terminal, processes, and their failures.

Nothing here depends on the model or data.
"""
