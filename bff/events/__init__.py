"""What happened, for those who must know later: names, envelope, and the sinks that take it."""
