"""The speed targets: `targets` names them, modules here measure them; `python -m perf`."""
