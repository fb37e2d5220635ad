"""Analysis: tables worked out of a preset's cells, and the records of those that something reads again.

in    results/{study}/cells/{benchmark}_{preset}.jsonl, results/{study}/roofline/roofs.json
out   results/{study}/tables/{verdicts,depth,batch,attribution,controls}_{preset}.md and .csv
      results/{study}/tables/{gates,tradeoff,retrieval,peers,executions}_{preset}.md and .csv
      results/{study}/{verdicts,controls,gates,tradeoff}/{preset}.json
"""

# Rule -> what it does; what it reads; `kvbench.analysis`'s module, and what that is given; the record
# it leaves; the report's chapter, and its text. A table is called as its rule, unless it is said.
ANALYSES = {
    "verdicts": {
        "about": "Compare versions pair by pair: interval, verdict, and share of what the bytes allow.",
        "reads": {"cells": targets.timed_cells(config), "controls": made_controls},
        "module": "verdicts",
        "given": {
            "margin": config["margin"],
            "by_width": config["stopping"]["half_width"] is not None,
        },
        "record": targets.VERDICTS,
        "chapter": "1 Speed",
    },
    "depth": {
        "about": "Fit the time per token over depth, with the floor that the bytes set.",
        "reads": {"cells": targets.timed_cells(config), "roofs": targets.own_roofs(config)},
        "module": "scaling",
        "given": {"axis": "depth"},
        "chapter": "1 Speed",
    },
    "batch": {
        "about": "Fit the time per token over batch, with the floor that the bytes set.",
        "reads": {"cells": gathered("decode"), "roofs": targets.own_roofs(config)},
        "module": "scaling",
        "given": {"axis": "batch_size"},
        "chapter": "2 Depth and batch",
        "text": "depth",
    },
    "attribution": {
        "about": "Split the time per token into what bytes, FLOP and dispatch take, and the rest.",
        "reads": {"cells": gathered("decode"), "dispatch": gathered("dispatch"), "roofs": ROOFS},
        "module": "attribution",
        "chapter": "2 Depth and batch",
    },
    "judge_controls": {
        "about": "Compare v1 with its controls, and work out the smallest detectable difference.",
        "reads": {"cells": targets.cell_paths(config, "controls")},
        "module": "verdicts",
        "given": {"function": "controls_table", "margin": config["margin"]},
        "table": "controls",
        "record": "<results>/controls/{preset}.json",
        "chapter": "1 Speed",
    },
    "judge_quality": {
        "about": "Say which versions keep the quality that the study asks for, by the whole of their intervals.",
        "reads": {"cells": targets.scored_cells(config)},
        "module": "gate_table",
        "given": {"margins": config["quality"]},
        "table": "gates",
        "record": targets.GATES,
        "chapter": "5 Quality",
    },
    "join_tradeoff": {
        "about": "Put bytes, time and quality of each version side by side, those first that no other beats.",
        "reads": {"cells": joined_cells},
        "module": "tradeoff",
        "table": "tradeoff",
        "record": targets.TRADEOFF,
        "chapter": "0 Answers",
    },
    "compare_retrieval": {
        "about": "Compare what each version still finds in its cache with what v1 finds, item by item.",
        "reads": {"cells": gathered("retrieval")},
        "module": "retrieval",
        "table": "retrieval",
        "chapter": "5 Quality",
    },
    "compare_peers": {
        "about": "Compare each runner with v1, process by process, and its tokens with v1's.",
        "reads": {"cells": gathered("latency", "peers")},
        "module": "runners",
        "given": {"kind": "peers"},
        "table": "peers",
    },
    "compare_executions": {
        "about": "Compare each execution and kernel with eager torch.",
        "reads": {"cells": gathered("executions")},
        "module": "runners",
        "given": {"kind": "executions"},
        "table": "executions",
    },
}


for RULE, LINE in ANALYSES.items():
    MODULE, TABLE = f"kvbench.analysis.{LINE['module']}", LINE.get("table", RULE)

    rule:
        name:
            RULE
        input:
            **LINE["reads"],
            code=code("analyse.py", MODULE),
        output:
            **({"record": LINE["record"]} if "record" in LINE else {}),
            md=f"<results>/tables/{TABLE}_{{preset}}.md",
            csv=reported(LINE, TABLE),
        log:
            f"<logs>/{TABLE}/{{preset}}.log",
        localrule: True
        conda:
            "../envs/figures.yaml"
        params:
            analysis={"module": MODULE, **LINE.get("given", {})},
        script:
            "../scripts/analyse.py"

    getattr(rules, RULE).rule.docstring = LINE["about"]  # a rule of a loop has no text of its own


rule controls:
    """v1 against itself and against a known delay: what this machine can tell apart."""
    input:
        targets.of_every_preset(config, "tables", name="controls"),


rule peers:
    """v0-v4 and other runners of the same weights: figure and table."""
    input:
        targets.of_every_preset(config, "figures", "tables", name="peers"),


rule executions:
    """The decode step under each execution and kernel that this device offers: figure and table."""
    input:
        targets.of_every_preset(config, "figures", "tables", name="executions"),
