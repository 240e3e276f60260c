"""Whether a new revision may go on: measurements in, a verdict with its evidence out. Pure."""
