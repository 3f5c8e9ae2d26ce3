"""The CUDA backends of the kernels beside it, in Triton."""
