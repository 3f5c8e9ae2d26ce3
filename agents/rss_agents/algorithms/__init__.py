"""Every way to train, and what they draw maps with."""
