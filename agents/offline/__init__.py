"""The same engine over files.

Owns the readers, the passage of a file through a shard, and scores.csv. Knows no Kafka.
"""
