"""The CUDA backends of the kernels, in Triton: one operation a file, named as its reference is.

Nothing imports this package but the public functions of `rss_env.kernels`, when a tensor on CUDA
(or a name) asks for it: Triton stays optional. Inputs of any strides are taken, and each result is
a function of the inputs alone: sums are taken in one order, and only integers are added atomically.
"""
