#!/usr/bin/env python3
"""Run a command that prints a line of JSON; print it with `others`, the share of the CPU that other programs used meanwhile."""

import json
import os
import resource
import subprocess
import sys


def busy():
    """Return the seconds that all CPUs worked or waited for the hypervisor."""
    with open("/proc/stat") as f:
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def uptime():
    with open("/proc/uptime") as f:
        return float(f.read().split()[0])


busy_before, before = busy(), uptime()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
if done.returncode:
    sys.exit(f"{sys.argv[1]} failed: {done.returncode}")
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
others = busy() - busy_before - usage.ru_utime - usage.ru_stime
report = json.loads(done.stdout)
report["others"] = max(0.0, others / (uptime() - before) / os.cpu_count())
print(json.dumps(report))
