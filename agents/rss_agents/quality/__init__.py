"""A judge of maps that is learned from scores: its networks, how they are fitted, the scorer."""
