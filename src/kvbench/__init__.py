"""kvbench: what a KV-cache optimisation of a GPT really costs and gains."""
