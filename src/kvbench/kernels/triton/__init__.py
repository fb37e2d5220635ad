"""The Triton kernels of CUDA devices.

in    tensors        out    tensors
never part of a CPU job.
"""
