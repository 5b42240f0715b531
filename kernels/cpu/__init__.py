"""Kernels for the CPU, compiled by Numba. What is where, from the machine upwards:

    vectors.py       the vector registers: how wide they are, and loops over a row or over pixels made of a few lines for one vector
    micro_kernel.py  a tile of a matrix product whose sums stay in registers
    rows.py          what is done to a row of numbers: copy, add, ReLU, scale and shift
    steps.py         a Step says what a kernel is to do, by addresses and integers; how kernels are compiled and kept
    threads.py       one pool of threads, which runs lists of Steps
    convolution.py   any convolution, and matrix products          outer.py              the gradient of weights
    winograd.py      3x3 with fewer multiplications                winograd_weights.py   the same for its weights
    packing.py       weights in the micro-kernel's order
    batch_norm.py    with or without ReLU, forward and backward    elementwise.py, pooling.py   the rest
    plan.py, plan_convolution.py    which way is the quickest for a geometry, how its work is cut into tasks, and the Steps for it
    memory.py        memory for results: what one array gives back, the next one gets
    template.py      Steps that are written once and run with other arrays at each call

Kernels know addresses and integers only. What an op asks of its arguments, and what it saves for its backward half, is in
tinyresnet/ops/compiled/. This module imports without Numba; its neighbours do not.
"""
