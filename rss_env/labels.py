"""The values of label maps and action maps: class indices in a byte, and one value for void."""

VOID = 255  # a pixel without a label: it counts for nothing
MAX_CLASSES = 255
