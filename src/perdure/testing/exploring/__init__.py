"""The parts of `perdure.testing.explore`: schedules, the world they play in, loops that repeat, checks, search."""
