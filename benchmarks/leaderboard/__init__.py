"""Which algorithm segments best after so many scores? A row each, from anybody's code."""
