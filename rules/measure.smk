"""Measuring: one job, one fresh process, one file a cell; a rule for every benchmark of the registry.

in    resources/weights/{preset}/*.safetensors, resources/kernels/kvbench.so, resources/tokens/*.npz
out   results/{study}/{benchmark}/{preset}/{the benchmark's path}.json; the samples of a cell that is
      timed in several processes: results/{study}/samples/{its path}/r{replicate}.json
"""

# What a benchmark's module loads by name, besides its cell's own cache and architecture.
LOADED_BY_NAME = {
    "perplexity": ["kvbench.caches.none", "kvbench.caches.dense"],
    "peers": ["kvbench.caches.dense"],
}


for BENCHMARK, LINE in BENCHMARKS.items():
    if BENCHMARK == "roofline" and SOURCE != "model":
        continue  # rules/roofline.smk counts instead of timing

    rule:
        """Measure one cell, or one sample of it, in a fresh process."""
        name:
            f"measure_{BENCHMARK}"
        input:
            **{name: INPUTS[name] for name in LINE.inputs},
            code=measuring_code(BENCHMARK, *LOADED_BY_NAME.get(BENCHMARK, [])),
        output:
            targets.record_file(config, BENCHMARK),
        log:
            targets.log_file(config, BENCHMARK),
        priority: priority(BENCHMARK) if LINE.pooled else 0
        conda:
            environment("peers" if BENCHMARK == "peers" else "measure")
        threads: measuring_threads if LINE.timed else 1
        resources:
            **claim(BENCHMARK),
            **({"place": position(BENCHMARK)} if LINE.pooled else {}),
        params:
            cell=cell_of(BENCHMARK),
        script:
            "../scripts/measure.py"

    if targets.sampled(config, BENCHMARK):

        rule:
            """Pool a cell's processes: medians, intervals, every raw sample."""
            name:
                f"pool_{BENCHMARK}"
            input:
                code=code("pool.py"),
                samples=targets.sample_files(config, BENCHMARK),
            output:
                f"<results>/{targets.cell_path(BENCHMARK)}.json",
            log:
                f"<logs>/{targets.cell_path(BENCHMARK)}.log",
            localrule: True
            conda:
                "../envs/figures.yaml"
            script:
                "../scripts/pool.py"
