"""Tensors that end where readable memory ends: reading past them ends the process."""

import ctypes
import mmap

import torch


def at_the_end_of_memory(x):
    """A copy of x that ends where readable memory ends."""
    page, size = mmap.PAGESIZE, x.numel() * x.element_size()
    pages = -(-size // page)
    memory = mmap.mmap(-1, (pages + 1) * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory)) + pages * page
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start), page, 0) == 0
    flat = torch.frombuffer(memory, dtype=x.dtype, count=x.numel(), offset=pages * page - size)
    return flat.view(x.shape).copy_(x)
