"""Numerical kernels: numpy arrays in, numpy arrays out; numpy, scipy and numba only."""
