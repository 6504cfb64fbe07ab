"""Measurements, each `python -m benchmarks.NAME`: what Graft costs and finds, beside baselines of the same run."""
