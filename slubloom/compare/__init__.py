"""One scenario under several kernels: what each of them takes for it, side by side.

columns     ``v5.11+666716fd267d`` → a kernel, and the scenario under it
probes      what happened in a run, counted from tracepoints
locks       how long each lock was held and waited for, from tracepoints
work_waits  how long items of each workqueue waited to be begun with, from tracepoints
runs        one run of one column, measured
processes   many runs, several at a time
result      what the runs of each column come to; the result object
table       the same for a person
"""
