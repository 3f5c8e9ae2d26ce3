"""The ratings that a person gives: the store, and the scorer that asks."""
