"""Agents that learn segmentation from scores, their labelled references, and the command line."""
