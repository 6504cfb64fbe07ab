"""The detector: the process that holds the hot path.

Owns consuming, the turn of the loop, rebalances and orders. What may be relied on after a crash is
`agents.recovery`; the science is `engine`.
"""
