"""The demo's domain: finding emoji by sentence."""
