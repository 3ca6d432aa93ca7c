"""``python -m adaptive_stream.cli``: the same as ``adaptive-stream``."""

from adaptive_stream.cli import main

main()
