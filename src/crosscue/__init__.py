"""crosscue."""
