"""Everything that needs a GPU, in one go: tests, timings, learning."""
