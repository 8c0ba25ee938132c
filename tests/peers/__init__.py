"""Real servers that tests run against: each installs itself, starts on free ports and leaves no process behind."""
