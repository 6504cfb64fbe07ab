"""`python -m agents.detector -c graft.toml`: the detector as a process of its own."""

from __future__ import annotations

from agents.child import program
from agents.detector.process import main

if __name__ == "__main__":
    program(main)
