"""The HTTP side of the worker: /metrics and the probes, on loopback unless the configuration says otherwise."""
