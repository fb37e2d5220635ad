"""The C interface of the kernel library: native/kernels.h in ctypes, field by field."""

import ctypes
from ctypes import CFUNCTYPE, c_float, c_int32, c_int64, c_void_p

PTR, I32, I64, F32 = c_void_p, c_int32, c_int64, c_float


class Cache(ctypes.Structure):
    _fields_ = [("format", I32), ("threads", I32), ("batch", I64), ("kv_heads", I64)]
    _fields_ += [("group", I64), ("size", I64), ("capacity", I64)]
    _fields_ += [("k", PTR), ("v", PTR), ("k_scale", PTR), ("v_scale", PTR), ("scale", F32)]
    _fields_ += [(n, I32) for n in ("v_format", "k_shared", "k_half", "v_shared", "v_half")]


class Prompt(ctypes.Structure):
    _fields_ = [("format", I32), ("kv_format", I32), ("threads", I32), ("scale", F32)]
    _fields_ += [(n, I64) for n in ("batch", "heads", "kv_heads", "queries", "keys", "size")]
    _fields_ += [(name, PTR) for name in ("q", "k", "v", "out")]
    _fields_ += [(name, I64 * 3) for name in ("q_at", "k_at", "v_at", "out_at")]


class Rows(ctypes.Structure):
    _fields_ = [("format", I32), ("batch", I64), ("heads", I64), ("capacity", I64), ("size", I64)]
    _fields_ += [("rows", PTR), ("scale", PTR)]
    _fields_ += [(name, I32) for name in ("shared", "half", "blocks")]


class Weights(ctypes.Structure):
    _fields_ = [("format", I32), ("threads", I32), ("outputs", I64), ("inputs", I64)]
    _fields_ += [("panels", PTR), ("bias", PTR), ("gelu", I32)]


class Norm(ctypes.Structure):
    _fields_ = [("weight", PTR), ("bias", PTR), ("eps", F32), ("mean", I32)]


class Layer(ctypes.Structure):
    _fields_ = [(name, Norm) for name in ("norm_1", "norm_2", "q_norm", "k_norm")]
    _fields_ += [(name, PTR) for name in ("qkv", "proj", "up", "down", "gate", "k", "v", "cache")]
    _fields_ += [("first", I64), ("newest", I64), ("turns", I32)]


class Step(ctypes.Structure):
    _fields_ = [("format", I32), ("batch", I64), ("width", I64), ("size", I64)]
    _fields_ += [(name, I64) for name in ("q_heads", "kv_heads", "layers", "pairs")]
    _fields_ += [(name, PTR) for name in ("layer", "embedding", "positions", "speed")]
    _fields_ += [("norm", Norm), ("head", PTR)]
    _fields_ += [(name, PTR) for name in ("x", "y", "heads", "mixed", "up", "gate", "wide", "turn")]


class Kernels(ctypes.Structure):
    _fields_ = [("attention", CFUNCTYPE(None, PTR, I32, PTR, I64, I64, I64, PTR))]
    _fields_ += [("append", CFUNCTYPE(None, PTR, I32, I64, PTR, I64, I64, I64, I64))]
    _fields_ += [("pack", CFUNCTYPE(I32, PTR, PTR))]
    _fields_ += [("linear", CFUNCTYPE(I32, PTR, I64, PTR, PTR))]
    _fields_ += [("read_sum", CFUNCTYPE(F32, PTR, I64, I64, I32))]
    _fields_ += [("step", CFUNCTYPE(I32, PTR, PTR, I64, PTR))]
    _fields_ += [("prompt", CFUNCTYPE(I32, PTR)), ("panel", I32)]
