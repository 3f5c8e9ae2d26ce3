"""Benchmarks: one question per file, one command each."""
