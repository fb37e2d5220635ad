"""What the statistics promise against what simulated studies show; `python -m perf.validate`.

machines    records of made-up studies, on machines whose pace and truth are known
scenario    a promise, and the rate found
scenarios   what is asked of simulated studies
"""
