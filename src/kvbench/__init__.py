"""kvbench: what a KV-cache optimisation of a GPT really costs and gains."""

from kvbench import isolation

isolation.leave_host()
