"""The native CPU kernels, compiled here; without a compiler cells run on torch and say so.

out   resources/kernels/kvbench.so, and .json: compiler, flags, instruction sets, sha256
"""

from kvbench.kernels.build import sources


rule build_kernels:
    """Compile the native CPU kernels, for every instruction set that the compiler knows."""
    input:
        code=code("build_kernels.py"),
        sources=[str(path.relative_to(ROOT)) for path in sources()],
    output:
        library=NATIVE,
        record=NATIVE.replace(".so", ".json"),
    log:
        "logs/kernels/build.log",
    conda:
        environment("measure")
    script:
        "../scripts/build_kernels.py"
