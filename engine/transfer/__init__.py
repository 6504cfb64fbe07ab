"""Transfer: what one environment has learned, as a start for another. distil -> match -> plan -> lend."""

from __future__ import annotations

from engine.transfer.distil import distil
from engine.transfer.lend import read_prior

__all__ = ["distil", "read_prior"]
