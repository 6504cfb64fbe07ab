"""Bytes from the wire to samples: the only place that knows what a metric looks like in a Kafka record.

    sniff        which of the formats a record is, from its first bytes
    plain        plain JSON objects and Telegraf JSON            slow path, exact
    influx       Telegraf's line protocol                        slow path, exact
    rules        what a value, a time and a name may be; shared by all formats
    decoder      records in log order -> one Batch and its dead letters

    columns      the arrays of the compiled fast path            known     its memory
    floats scan json_template line_template fastpath  kernels    speculation  learning, and when to try

Law: the fast path only ever says what the slow path would have said. It is checked by a property test, and whatever
it does not know at sight it hands to the slow path, in log order.
"""
