"""`python -m agents.detector -c graft.toml`: the detector as a process of its own."""

from __future__ import annotations

import logging
import os
import signal
import sys

from agents.detector.process import main

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    status = main()
    # Not sys.exit: after a failure librdkafka may still wait for a broker, and nothing more may be written.
    logging.shutdown()
    sys.stdout.flush()
    os._exit(status)
