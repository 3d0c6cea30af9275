"""Time, memory and disk of a command before it runs, from a few seconds of its own work."""
