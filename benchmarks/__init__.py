"""Measurements, each `python -m benchmarks.NAME`: what Graft costs and what it finds, beside baselines of the same run."""
