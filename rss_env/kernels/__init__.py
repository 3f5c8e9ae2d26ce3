"""One operation per file: an obvious reference in plain torch, a numba face for the CPU.

The faces for CUDA are in `triton`, a package that is imported only when a tensor asks for it.

Each file ends in one public function that picks the face by device (`implementation="auto"`);
naming a face overrides the choice. The names are those of `choose`.
"""
