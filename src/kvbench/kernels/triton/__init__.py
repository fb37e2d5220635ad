"""Triton kernels of a decode step and of a quantised prompt, and what binds them to tensors.

In: a model's weights, a cache's storages, the position on the device. Out: kernels that may be
captured in a CUDA graph. Never: allocates in a step, waits for the device, follows the depth.
"""
