"""Model families, each in one module to be read in one sitting, and their weights.

in    a shape, a safetensors file        out    a model that hands K and V to a cache
never stores K or V.
"""
