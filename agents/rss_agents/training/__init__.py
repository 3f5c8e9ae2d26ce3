"""One training: its options, its loop, its folder, how it goes on."""
