"""Networks, their decisions and their checkpoints."""
