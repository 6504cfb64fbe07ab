"""Sinks: where alerts go. One file per kind of incident tool; `table.py` is the visible list of them."""
