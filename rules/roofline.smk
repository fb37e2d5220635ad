"""Roofline: the roofs of this machine, and each phase's rate and arithmetic intensity.

in    resources/weights/{preset}/*.safetensors
out   results/{study}/roofline/roofs.json
      results/{study}/roofline/{preset}/{version}_{prefill|decode}/B{batch}/P{P}.json
"""


rule measure_roofs:
    """Measure this machine's roofs: bandwidths, and the rate of a large product."""
    input:
        code=code("measure_roofs.py"),
    output:
        "results/{study}/roofline/roofs.json",
    log:
        "logs/{study}/roofline/roofs.log",
    conda:
        "../envs/measure.yaml"
    threads: workflow.cores
    params:
        settings={key: config[key] for key in ("device", "dtype", "threads")},
    script:
        "../scripts/measure_roofs.py"


rule measure_roofline:
    """Time one prefill or decode step, beside its modelled FLOP and bytes."""
    input:
        code=measured_code("measure_roofline.py"),
        weights=weights,
    output:
        "results/{study}/roofline/{preset}/{version}_{phase}/B{batch}/P{P}.json",
    log:
        "logs/{study}/roofline/{preset}/{version}_{phase}/B{batch}/P{P}.log",
    conda:
        "../envs/measure.yaml"
    threads: workflow.cores
    params:
        cell=cell("roofline"),
    script:
        "../scripts/measure_roofline.py"
