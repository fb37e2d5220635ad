"""What one GPU shows of this project, in one command without Snakemake: `make gpu-evidence`.

steps       what is run, in which order and for how long at most
run         runs them, keeps what they left and packs it
facts, settings, cells, attention, launches
            what steps run, each in a process of its own
groups      which cells there are
found       what they left, read back
summary     the headline numbers, from the files alone
"""
