"""What survives a crash, and in which order.

Owns what a held shard still owes, the proof that it has left, and the states on disk and in the state topic. Knows
neither loop nor rebalance: the detector calls it, and the Faust worker borrows the way out.
"""
