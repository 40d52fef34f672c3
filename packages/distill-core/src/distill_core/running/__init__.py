"""One run from the command to its end: prepare, claim the directory, build, train, write down how it ended."""
