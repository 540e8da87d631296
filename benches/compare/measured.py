#!/usr/bin/env python3
"""Run a command that prints a line of JSON; print it with what only an outside process can measure.

usage: measured.py [--record JSON] [--instruction-set SET] [--limit SECONDS] COMMAND...

`wall` is the time from start to end of the process, `others` the share of the CPU that other programs used meanwhile.
The values of JSON are printed too, unless the command reports them itself. Torch is forced to the instruction set. A command that exceeds the limit is killed;
then `limit` and the memory that it took until then stand in place of its own report."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import instruction_sets  # noqa: E402


def busy():
    """Return the seconds that all CPUs worked or waited for the hypervisor."""
    with open("/proc/stat") as f:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--record", type=json.loads, default={})
    args.add_argument("--instruction-set")
    args.add_argument("--limit", type=float)
    args.add_argument("command", nargs=argparse.REMAINDER)
    args = args.parse_args()

    environment = instruction_sets.environment(args.instruction_set)
    busy_before, start = busy(), time.monotonic()
    try:
        done = subprocess.run(args.command, stdout=subprocess.PIPE, text=True, env=environment, timeout=args.limit)
    except subprocess.TimeoutExpired:
        done = None
    wall = time.monotonic() - start
    if done and done.returncode:
        sys.exit(f"{args.command[0]} failed: {done.returncode}")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    others = busy() - busy_before - usage.ru_utime - usage.ru_stime
    report = json.loads(done.stdout) if done else {"limit": args.limit, "peak_memory": usage.ru_maxrss * 1024}
    report = args.record | report
    report["wall"] = wall
    report["others"] = max(0.0, others / wall / os.cpu_count())
    print(json.dumps(report))


main()
