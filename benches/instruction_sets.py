#!/usr/bin/env python3
"""Instruction sets to measure, and how torch is forced to use them too.

usage: instruction_sets.py CPU [SETS]    prints the sets to measure, one a line

CPU is the binary `cpu` of the benches. SETS is a list with commas; the default is avx2 and the CPU's best."""

import os
import subprocess
import sys

# Variables that keep torch, MKL and oneDNN to an instruction set of ours.
TORCH = {
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "avx512": {"ATEN_CPU_CAPABILITY": "avx512", "ONEDNN_MAX_CPU_ISA": "AVX512_CORE"},
    "avx512-bf16": {},
}


def environment(name):
    """Return the environment of a process in which torch uses the instruction set; None forces nothing."""
    forced = {**os.environ, **TORCH.get(name, {})}
    # Some machines set this for old builds of OpenBLAS; torch does not need it.
    forced.pop("OPENBLAS_CORETYPE", None)
    return forced


def asked(cpu, names=None):
    """Return the instruction sets in a list with commas, or avx2 and the best if there is none."""
    available = subprocess.run([cpu, "--list-instruction-sets"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    if not names:
        return [name for name in available if name in ("avx2", available[0])][::-1]
    for name in (names := names.split(",")):
        if name not in available:
            sys.exit(f"this CPU does not have `{name}`; it has {', '.join(available)}")
    return names


if __name__ == "__main__":
    print("\n".join(asked(*sys.argv[1:3])))
