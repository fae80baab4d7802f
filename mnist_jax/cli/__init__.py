"""The commands: their flags, and what they print."""
