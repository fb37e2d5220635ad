"""What stands beside the versions: other runners of the same weights, other ways to run the same step.

in    results/{study}/latency/..., resources/weights/{preset}/*.safetensors
out   results/{study}/samples/peers/{preset}/{peer}/B{batch}/T{T}/r{replicate}.json
      results/{study}/peers/{preset}/{peer}/B{batch}/T{T}.json
      results/{study}/samples/executions/{preset}/{mode}/{version}/B{batch}/T{T}/r{replicate}.json
      results/{study}/executions/{preset}/{mode}/{version}/B{batch}/T{T}.json
      results/{study}/tables/{peers,executions}_{preset}.md and .csv
"""


rule measure_peer:
    """Time one fresh process of another runner generating T tokens."""
    input:
        code=peer_code(),
        weights=weights,
    output:
        "<results>/samples/peers/{preset}/{peer}/B{batch}/T{T}/r{replicate}.json",
    log:
        "<logs>/peers/{preset}/{peer}/B{batch}/T{T}.r{replicate}.log",
    priority: turn
    conda:
        environment("peers")
    threads: measuring_threads
    resources:
        **CLAIM,
        place=place,
    params:
        cell=peer_cell,
    script:
        "../scripts/measure_peer.py"


rule pool_peer:
    """Pool a peer's processes."""
    input:
        code=code("pool.py"),
        samples=collect(
            "<results>/samples/peers/{{preset}}/{{peer}}/B{{batch}}/T{{T}}/r{replicate}.json",
            replicate=range(1, config["replicates"] + 1),
        ),
    output:
        "<results>/peers/{preset}/{peer}/B{batch}/T{T}.json",
    log:
        "<logs>/peers/{preset}/{peer}/B{batch}/T{T}.log",
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/pool.py"


rule measure_execution:
    """Time one fresh process of a version under one execution and kernel."""
    input:
        code=measured_code("measure_latency.py"),
        weights=weights,
        kernels=way_kernels,
    output:
        "<results>/samples/executions/{preset}/{mode}/{version}/B{batch}/T{T}/r{replicate}.json",
    log:
        "<logs>/executions/{preset}/{mode}/{version}/B{batch}/T{T}.r{replicate}.log",
    priority: turn
    conda:
        environment("measure")
    threads: measuring_threads
    resources:
        **CLAIM,
        place=place,
    params:
        cell=execution_cell,
    script:
        "../scripts/measure_latency.py"


rule pool_execution:
    """Pool the processes of a version under one execution and kernel."""
    input:
        code=code("pool.py"),
        samples=collect(
            "<results>/samples/executions/{{preset}}/{{mode}}/{{version}}/B{{batch}}/T{{T}}/r{replicate}.json",
            replicate=range(1, config["replicates"] + 1),
        ),
    output:
        "<results>/executions/{preset}/{mode}/{version}/B{batch}/T{T}.json",
    log:
        "<logs>/executions/{preset}/{mode}/{version}/B{batch}/T{T}.log",
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/pool.py"


rule compare_peers:
    """Compare each runner with v1, process by process, and say whether its tokens are v1's."""
    input:
        code=code("beside.py"),
        cells=gathered("latency", "peers"),
    output:
        md="<results>/tables/peers_{preset}.md",
        csv="<results>/tables/peers_{preset}.csv",
    log:
        "<logs>/peers/{preset}.log",
    conda:
        "../envs/figures.yaml"
    params:
        kind="peers",
    script:
        "../scripts/beside.py"


rule compare_executions:
    """Compare each way to run a version's step with running it operator by operator."""
    input:
        code=code("beside.py"),
        cells=gathered("executions"),
    output:
        md="<results>/tables/executions_{preset}.md",
        csv="<results>/tables/executions_{preset}.csv",
    log:
        "<logs>/executions/{preset}.log",
    conda:
        "../envs/figures.yaml"
    params:
        kind="executions",
    script:
        "../scripts/beside.py"


rule peers:
    """v0-v4 beside other runners of the same weights: figure and table."""
    input:
        collect(
            "<results>/{where_ext}",
            where_ext=[
                f"{where}/peers_{preset}.{ext}"
                for preset in config["pretrained"]
                for where, exts in (("figures", ["svg", "png"]), ("tables", ["md", "csv"]))
                for ext in exts
            ],
        ),


rule executions:
    """The decode step under each execution and kernel that this device offers: figure and table."""
    input:
        collect(
            "<results>/{where_ext}",
            where_ext=[
                f"{where}/executions_{preset}.{ext}"
                for preset in config["pretrained"]
                for where, exts in (("figures", ["svg", "png"]), ("tables", ["md", "csv"]))
                for ext in exts
            ],
        ),
