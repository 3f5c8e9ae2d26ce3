"""Memory of what was scored."""
