"""Where a server of agents keeps its data."""
