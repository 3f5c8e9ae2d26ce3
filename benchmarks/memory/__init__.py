"""Memory of the recipes at benchmark scale: `python -m benchmarks.memory`."""
