"""One operation per file: an obvious reference in plain torch, a numba backend for the CPU.

The backends for CUDA are in `triton`, a package that is imported only when a tensor asks for it.

Each file ends in one public function that picks the backend by device (`backend="auto"`);
naming a backend overrides the choice. The names are those of `choose`.
"""
