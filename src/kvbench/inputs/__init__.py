"""What is fetched or made before anything is measured: text, tokens, weights, kernels.

in    wheels, files, hubs        out    resources/
never measures.
"""
