"""Losses as pure functions, and what they are made of."""
