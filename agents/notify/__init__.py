"""From the alerts topic to the incident tools.

Owns the outbox (position and rows in one transaction), retry and breaker. What one tool wants to be sent is
`agents.sinks`.
"""
