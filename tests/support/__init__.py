"""What the tests share: child processes, clips, publishers, sinks, a relay to drive, and the lists they compare."""
