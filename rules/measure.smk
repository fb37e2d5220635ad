"""Time and memory: one job, one fresh process, one file per cell.

in    resources/weights/{preset}/*.safetensors
out   results/{study}/samples/latency/{preset}/{version}/B{batch}/T{T}/r{replicate}.json
      results/{study}/{latency,vram,phase}/{preset}/{version}/B{batch}/T{T}.json
      results/{study}/capacity/{preset}/{version}.json
      results/{study}/{decode,dispatch}/{preset}/{version}/B{batch}/D{depth}.json
"""


rule measure_latency:
    """Time one fresh process generating T tokens."""
    input:
        code=measured_code("measure_latency.py", *POOLED_HERE),
        weights=weights,
        kernels=KERNELS,
    output:
        timed("latency/{preset}/{version}/B{batch}/T{T}"),
    log:
        timed_log("latency/{preset}/{version}/B{batch}/T{T}"),
    priority: turn
    conda:
        environment("measure")
    threads: measuring_threads
    resources:
        **CLAIM,
        place=place,
    params:
        cell=cell("latency"),
    script:
        "../scripts/measure_latency.py"


if not ALONE:

    rule pool_latency:
        """Pool a cell's processes: medians, intervals, every raw sample."""
        input:
            code=code("pool.py"),
            samples=collect(
                "<results>/samples/latency/{{preset}}/{{version}}/B{{batch}}/T{{T}}/r{replicate}.json",
                replicate=range(1, config["replicates"] + 1),
            ),
        output:
            "<results>/latency/{preset}/{version}/B{batch}/T{T}.json",
        log:
            "<logs>/latency/{preset}/{version}/B{batch}/T{T}.log",
        localrule: True
        conda:
            "../envs/figures.yaml"
        script:
            "../scripts/pool.py"


rule measure_decode:
    """Time one fresh process decoding at one depth, or the same steps of a tiny model: dispatch."""
    input:
        code=measured_code("measure_decode.py", *POOLED_HERE),
        weights=stepped_weights,
        kernels=KERNELS,
    output:
        timed("{stepped}/{preset}/{version}/B{batch}/D{depth}"),
    log:
        timed_log("{stepped}/{preset}/{version}/B{batch}/D{depth}"),
    priority: turn
    conda:
        environment("measure")
    threads: measuring_threads
    resources:
        **CLAIM,
        place=place,
    params:
        cell=cell(),
    script:
        "../scripts/measure_decode.py"


if not ALONE:

    rule pool_decode:
        """Pool a decode or dispatch cell's processes."""
        input:
            code=code("pool.py"),
            samples=collect(
                "<results>/samples/{{stepped}}/{{preset}}/{{version}}/B{{batch}}/D{{depth}}/r{replicate}.json",
                replicate=range(1, config["replicates"] + 1),
            ),
        output:
            "<results>/{stepped}/{preset}/{version}/B{batch}/D{depth}.json",
        log:
            "<logs>/{stepped}/{preset}/{version}/B{batch}/D{depth}.log",
        localrule: True
        conda:
            "../envs/figures.yaml"
        script:
            "../scripts/pool.py"


rule measure_vram:
    """Weigh the peak memory of generating T tokens, and its parts."""
    input:
        code=measured_code("measure_vram.py"),
        weights=weights,
        kernels=KERNELS,
    output:
        "<results>/vram/{preset}/{version}/B{batch}/T{T}.json",
    log:
        "<logs>/vram/{preset}/{version}/B{batch}/T{T}.log",
    conda:
        environment("measure")
    threads: measuring_threads
    resources:
        **CLAIM,
    params:
        cell=cell("vram"),
    script:
        "../scripts/measure_vram.py"


rule measure_capacity:
    """Find the largest batch in a byte budget, and confirm it on both sides."""
    input:
        code=measured_code("measure_capacity.py"),
        weights=weights,
    output:
        "<results>/capacity/{preset}/{version}.json",
    log:
        "<logs>/capacity/{preset}/{version}.log",
    conda:
        environment("measure")
    threads: measuring_threads
    resources:
        **CLAIM,
    params:
        cell=cell("capacity"),
    script:
        "../scripts/measure_capacity.py"


rule measure_phase:
    """Break one generation's time down by phase."""
    input:
        code=measured_code("measure_phase.py"),
        weights=weights,
        kernels=KERNELS,
    output:
        "<results>/phase/{preset}/{version}/B{batch}/T{T}.json",
    log:
        "<logs>/phase/{preset}/{version}/B{batch}/T{T}.log",
    conda:
        environment("measure")
    threads: measuring_threads
    resources:
        **CLAIM,
    params:
        cell=cell("phase"),
    script:
        "../scripts/measure_phase.py"
