"""Roofline: the roofs of this machine, and each phase's rate and arithmetic intensity.

in    resources/weights/{preset}/*.safetensors; or {csv_dir}/*.csv and {csv_dir}/roofs.json
out   results/{study}/roofline/roofs.json
      results/{study}/roofline/{preset}/{version}_{prefill|decode}/B{batch}/P{P}.json
      results/{study}/roofline/ncu/*: reports and exports, where ncu counts
"""

EXPORTS = config["roofline"]["csv_dir"] if SOURCE == "csv" else "<results>/roofline/ncu"
PROFILE = "{preset}_{version}_{phase}_B{batch}_P{P}"
CALIBRATION = "<results>/roofline/ncu/calibration.json"


rule measure_roofs:
    """Measure this machine's roofs: bandwidths, and the rate of a large product."""
    input:
        code=code("measure_roofs.py"),
        library=[] if NO_NATIVE else NATIVE,
    output:
        "<results>/samples/roofline/roofs.json",
    log:
        "<logs>/roofline/roofs.log",
    conda:
        environment("measure")
    threads: measuring_threads
    resources:
        **CLAIM,
    params:
        settings={key: config[key] for key in ("device", "dtype", "threads")},
    script:
        "../scripts/measure_roofs.py"


rule add_datasheet:
    """Add the datasheet's peaks of the device to its measured roofs."""
    input:
        code=code("add_datasheet.py"),
        peaks=own(ROOT / "src/kvbench/analysis/datasheet.yaml"),
        roofs=f"{EXPORTS}/roofs.json" if SOURCE == "csv" else rules.measure_roofs.output[0],
    output:
        ROOFS,
    log:
        "<logs>/roofline/add_datasheet.log",
    localrule: True
    conda:
        "../envs/figures.yaml"
    script:
        "../scripts/add_datasheet.py"


if SOURCE == "ncu":

    rule calibrate_ncu:
        """See that this GPU's counters count right: one product of known size."""
        input:
            code=code("calibrate_ncu.py"),
            program=code("profile_decode_step.py"),
        output:
            CALIBRATION,
        log:
            "<logs>/roofline/calibrate_ncu.log",
        conda:
            environment("measure")
        threads: measuring_threads
        resources:
            **CLAIM,
        params:
            settings={key: config[key] for key in ("device", "dtype", "threads")},
        script:
            "../scripts/calibrate_ncu.py"

    rule profile_phase:
        """Profile one prefill or decode step with ncu, and export its counters."""
        input:
            code=code("profile_phase.py"),
            program=measuring_code("roofline", script="profile_decode_step.py"),
            weights=weights,
            calibration=CALIBRATION,
        output:
            report=f"{EXPORTS}/{PROFILE}.ncu-rep",
            run=f"{EXPORTS}/{PROFILE}.run.json",
            csv=f"{EXPORTS}/{PROFILE}.csv",
        log:
            f"<logs>/roofline/{PROFILE}.profile.log",
        conda:
            environment("measure")
        threads: measuring_threads
        resources:
            **CLAIM,
        params:
            cell=cell_of("roofline"),
        script:
            "../scripts/profile_phase.py"


if SOURCE in ("ncu", "csv"):

    rule count_profile:
        """Add up an export's counters: counted FLOP and bytes, and the modelled ones."""
        input:
            code=measuring_code("roofline", script="count_profile.py"),
            csv=f"{EXPORTS}/{PROFILE}.csv",
            calibration=CALIBRATION if SOURCE == "ncu" else [],
            roofs=ROOFS,
            run=f"{EXPORTS}/{PROFILE}.run.json" if SOURCE == "ncu" else saved_run,
        output:
            "<results>/roofline/{preset}/{version}_{phase}/B{batch}/P{P}.json",
        log:
            "<logs>/roofline/{preset}/{version}_{phase}/B{batch}/P{P}.log",
        localrule: True
        conda:
            environment("measure")
        params:
            cell=cell_of("roofline"),
            source=SOURCE,
        script:
            "../scripts/count_profile.py"
