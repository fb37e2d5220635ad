"""What a run does before its first job and after its last one."""

from snakemake.exceptions import WorkflowError
from snakemake.iocontainers import Wildcards

from kvbench.job import fork_server
from kvbench.plan import partners, target_check
from kvbench.records import schema


onstart:
    try:
        preflight.check_writable(f"results/{config['study']}")
    except preflight.FolderError as refusal:
        raise WorkflowError(str(refusal)) from None
    ask_partners()
    if MORE:
        print(f"round {config['replicates']}: {MORE}", file=sys.stderr)
    conda = DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    if (
        config["process"] == "auto"
        and workflow.local_exec
        and not conda
        and not uses_cuda(config)
    ):
        SERVER = fork_server.start()
    # For its limit on submissions Snakemake wakes once a second, once more for every job that has
    # ended: after a hundred jobs it takes most of a core from the job that is being measured.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    say_answers()
    rounds.look_ahead(config)


def check_asked():
    """Refuse a target that makes nothing; where this is another workflow's module, targets are its own."""
    if workflow.is_main_process and os.path.realpath(workflow.main_snakefile) == str(
        ROOT / "Snakefile"
    ):
        try:
            asked, others = target_check.asked_for()
            target_check.check_targets(
                asked, workflow.rules, config, targets.offered(config), others
            )
            if config["compare"]["baseline"] and any("compare" in target for target in asked):
                schema.check_file(config["compare"]["baseline"])  # before anything is measured
        except (target_check.TargetError, schema.SchemaError) as refusal:
            sys.exit(str(refusal))


def say_answers():
    """What this run found, as the last lines on the terminal."""
    if workflow.is_main_process:
        from kvbench.analysis import answers  # numpy and more, once everything is measured

        if said := answers.ending(f"results/{config['study']}", since=BEGAN):
            print(said)


def sample_path(benchmark, wildcards):
    """The file that a timed sample is written to."""
    path = targets.record_file(config, benchmark).format(**wildcards)
    return path.replace("<results>", f"results/{config['study']}")


def claim(benchmark):
    """What a measuring job claims: a timed sample has time for its partners, which are known on start."""
    if "runtime" not in CLAIM or not BENCHMARKS[benchmark].pooled:
        return CLAIM

    def runtime(wildcards):
        where = dict(wildcards.items())
        return partners.minutes(config, where, sample_path(benchmark, where))

    return {**CLAIM, "runtime": cached_signature(runtime)}


def ask_partners():
    """Have this run's samples measure their partners too, what they are compared with, if it is not of
    this run: the one rule of which the plan is known only when it is made."""
    planned = [
        (job.rule.name.removeprefix("measure_"), dict(job.wildcards.items()), str(job.output[0]))
        for job in workflow.dag.needrun_jobs()
        if job.rule.name.startswith("measure_")
    ]
    partners.ask(planned, config["versions"], sample_path, request)


def request(benchmark, where):
    """A measuring job as plain data: its cell, and its inputs by name."""
    wildcards = Wildcards(fromdict=where)
    inputs = {name: INPUTS[name](wildcards) for name in BENCHMARKS[benchmark].inputs}
    return {
        "cell": cell_of(benchmark)(wildcards),
        "inputs": {**inputs, "code": measuring_code(benchmark)(wildcards)},
    }
