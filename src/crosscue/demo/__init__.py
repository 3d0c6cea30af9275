"""The domain of the demo: emoji, found by text."""
