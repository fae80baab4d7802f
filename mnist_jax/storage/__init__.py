"""What a run leaves on disk: run.json, metrics.jsonl, checkpoints, and the patch of uncommitted changes.

Doors: `workdir` for the folder and its lock, `record` for run.json, `checkpoints`.
"""
