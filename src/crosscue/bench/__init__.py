"""Grids of methods, domains, shots and seeds, measured job by job and shown as tables and curves."""
