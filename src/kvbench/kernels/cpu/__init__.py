"""The native CPU kernels: C++ sources, their compilation, and how torch calls them.

in    tensors        out    tensors
never knows a cache or a model.
"""
