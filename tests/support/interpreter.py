"""Triton's interpreter, which finds the functions it replaces once and not at every call.

It looks through all of Triton's language at each call of a kernel's function: a third of its time.
"""

import inspect
from types import SimpleNamespace


def remember_builtins():
    """Have the interpreter search each module and class of the language once in this process."""
    try:
        from triton.language.core import is_builtin
        from triton.runtime import interpreter
    except ImportError:
        return
    names = {}

    def members(of):
        if of not in names:
            names[of] = [name for name, member in inspect.getmembers(of) if is_builtin(member)]
        return [(name, getattr(of, name)) for name in names[of]]

    interpreter.inspect = SimpleNamespace(**vars(inspect) | {"getmembers": members})
