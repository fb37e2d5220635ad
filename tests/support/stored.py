"""What a name of the registry's formats, a module's or a file's stores."""

from kvbench.versions import FORMATS


def stored(name):
    return FORMATS.get(name, name)
