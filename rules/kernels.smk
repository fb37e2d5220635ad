"""The native CPU kernels, compiled here; without a compiler cells run on torch and say so.

out   resources/kernels/kvbench.so, and .json: compiler, flags, instruction sets, sha256
      resources/kernels/account.so: counts the bytes of torch's CPU allocator
"""

from kvbench.kernels.cpu import memory_account
from kvbench.kernels.cpu.build import sources


rule build_kernels:
    """Compile the native CPU kernels, for this processor and for what others fall back to."""
    input:
        code=code("build_kernels.py"),
        sources=[own(path) for path in (*sources(), memory_account.SOURCE)],
    output:
        library=NATIVE,
        record=NATIVE.replace(".so", ".json"),
        account=str(Path(NATIVE).with_name(memory_account.NAME)),
    log:
        "logs/kernels/build.log",
    conda:
        environment("measure")
    script:
        "../scripts/build_kernels.py"
