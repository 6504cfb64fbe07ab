"""The Faust worker: the second process of `graft run`.

Owns the thin flows (tuner, reviewer), the rules under which Faust may be used, and how flows, notifier and HTTP side
are put together. Knows nothing of the detector but the topics and the progress file.
"""
