# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Speed and memory
#
# **Goal.** After this notebook you can say of a layer whether arithmetic or memory limits it, measure where the time of
# a training step goes, show when activations are freed, and know what freezing a net does.
#
# **You need** im2col (03), batch norm in inference (06), and pullbacks (02).
#
# All times here are of *your* machine, now. They change from run to run, so nothing in this notebook depends on them.
# Numba, if it is there, compiles its kernels when they are first called; that takes some seconds once.

# %% tags=["setup"]
import importlib.util

missing = [
    name for name in ("tinyresnet", "numpy", "matplotlib", "threadpoolctl") if importlib.util.find_spec(name) is None
]
if missing:
    raise SystemExit(
        f'missing: {", ".join(missing)}. Run this in a cell, then restart the kernel:  %pip install "tinyresnet[notebooks]"'
    )

# %%
import time
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import tinyresnet
from tinyresnet import Variables, ops
from tinyresnet.data import fashion_mnist
from tinyresnet.ops import naive
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block

HAVE_NUMBA = importlib.util.find_spec("numba") is not None
BACKENDS = ("numpy", "numba") if HAVE_NUMBA else ("numpy",)
print("back ends:", *BACKENDS, "" if HAVE_NUMBA else "(Numba's points are left out: pip install numba)")

tinyresnet.set_backend("numpy")
BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#777777"
rng = np.random.default_rng(12)


def seconds(function, rounds=3):
    """The fastest of some rounds: whatever disturbs, only makes slower."""
    function()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        function()
        found.append(time.perf_counter() - began)
    return min(found)


def random(*shape):
    return rng.standard_normal(shape, dtype=np.float32)


# %% [markdown]
# ## The same numbers, a thousand times faster
#
# A convolution by the loops that one writes on paper, and by one matrix product (im2col, notebook 03). Both do the same
# multiplications.
#
# **Predict.** By which factor is the second one faster: 2, 20, 200, 2000?

# %%
x, w = random(1, 8, 8, 16), random(3, 3, 16, 16)
operations = 2 * 8 * 8 * w.size
by_loops, by_product = seconds(lambda: naive.conv2d_forward(x, w), 1), seconds(lambda: ops.conv2d_forward(x, w), 20)
for name, t in (("loops", by_loops), ("im2col and matrix product", by_product)):
    print(f"{name:<27}{t * 1e3:9.3f} ms {operations / t / 1e9:9.4f} GFLOP/s")
assert np.allclose(naive.conv2d_forward(x, w)[0], ops.conv2d_forward(x, w)[0], atol=1e-4)

# %% [markdown]
# It is not the arithmetic that costs: it is the interpreter, which stands between every two multiplications.
#
# ## The two roofs
#
# A processor can do so many operations a second (*peak*), and move so many bytes a second (*bandwidth*). A layer that
# does F operations on B bytes needs at least F / peak and at least B / bandwidth. Which of the two counts is decided by
# F / B, its *intensity* (Williams, Waterman & Patterson 2009).
#
# First the two numbers of this machine.
#
# **Predict.** An addition of two large arrays does one operation for 12 bytes: two numbers read, one written. Which
# share of the peak will it reach?

# %%
a, b = random(1024, 1024), random(1024, 1024)
peak = 2 * 1024**3 / seconds(lambda: a @ b)
long_a, long_b = random(1 << 23), random(1 << 23)
out = np.empty_like(long_a)
bandwidth = 12 * long_a.size / seconds(lambda: np.add(long_a, long_b, out=out))
print(
    f"peak {peak / 1e9:.0f} GFLOP/s, bandwidth {bandwidth / 1e9:.0f} GB/s, they meet at {peak / bandwidth:.0f} FLOP a byte"
)
print(f"an addition reaches {bandwidth / 12 / peak:.1%} of the peak")

# %% [markdown]
# A few per cent, and no cleverness will change that: the addition waits for memory. Now the layers of a ResNet.
#
# **Predict.** Where on the slope, or under the roof, do these lie: batch norm with ReLU; a 1×1 convolution from 64 to
# 256 channels; a 3×3 convolution on 64 channels?

# %%
n, side = 4, 28
x64, x256 = random(n, side, side, 64), random(n, side, side, 256)
w1, w3 = random(1, 1, 64, 256), random(3, 3, 64, 64)
gamma, beta = random(256), random(256)
layers = {  # name: call, operations, bytes: each number once
    "add": (lambda: ops.add(x256, x256), x256.size, 12 * x256.size),
    "batch norm, ReLU": (lambda: ops.batch_norm_relu_forward(x256, gamma, beta), 8 * x256.size, 8 * x256.size),
    "conv 1x1": (lambda: ops.conv2d_forward(x64, w1), 2 * x64.size * 256, 4 * (x64.size + x256.size + w1.size)),
    "conv 3x3": (lambda: ops.conv2d_forward(x64, w3), 2 * 9 * x64.size * 64, 4 * (2 * x64.size + w3.size)),
}
figure, axes = plt.subplots(figsize=(8, 4.3), layout="constrained")
intensity = np.logspace(-1.5, 2.7, 50)
axes.loglog(intensity, np.minimum(peak, intensity * bandwidth) / 1e9, color=GREY, linewidth=2)
for backend, colour, marker in (("numpy", BLUE, "o"), ("numba", VERMILION, "s")):
    if backend not in BACKENDS:
        continue
    with tinyresnet.use_backend(backend):
        for name, (call, flops, moved) in layers.items():
            speed = flops / seconds(call) / 1e9
            axes.loglog(flops / moved, speed, marker, color=colour, markersize=8)
            print(f"{backend}: {name:<18}{flops / moved:6.1f} FLOP a byte {speed:8.1f} GFLOP/s")
            if backend == "numpy":
                axes.annotate(name, (flops / moved, speed), xytext=(8, -12), textcoords="offset points", color=colour)
for backend, colour, marker in (("numpy", BLUE, "o"), ("numba", VERMILION, "s")):
    axes.plot([], [], marker, color=colour, label=f"back end {backend}")
axes.set(xlabel="operations a byte", ylabel="GFLOP/s")
axes.legend(frameon=False, loc="upper left")
axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# Points far under both roofs waste something. In NumPy batch norm is seven passes over memory in the place of two, and
# im2col's 3×3 convolution writes a matrix nine times as large as the map before it multiplies. The kernels of back end
# `numba` do without both (and a point may lie above the slope, if its numbers are still in the cache; or above the
# roof, since a 3×3 convolution can be done with fewer multiplications). [Speed](../docs/speed.md) takes all these
# steps, with numbers.
#
# ## Where the time of a step goes
#
# Every op can be replaced by one that looks at the clock. So we time each op *in* a training step.
#
# (From here on one thread does the multiplying: for matrices as small as these it is better, as the last section
# shows.)
#
# **Predict.** How much longer than forward does backward take? Which op takes most?

# %%
threadpool_limits(1)
blocks = [resnet_v2_block(f"block{i + 1}", 16 * 2**i, num_units=2, stride=2 if i < 2 else 1) for i in range(3)]
clothes, _, _, _ = fashion_mnist()
images = clothes[:16].astype(np.float32) / 255  # [16, 28, 28, 1]
labels = np.arange(16) % 10
OPS = ("conv2d", "conv2d_bias_add", "batch_norm_relu", "subsample", "global_avg_pool")
NET = {"blocks": blocks, "num_classes": 10, "include_root_block": False}


def around(look):
    """Overrides for `use`: each op does what it did, and look(name, began, saved or None) is called after it."""

    def override(name):
        def op(*args, **kwargs):
            began = time.perf_counter()
            result = getattr(ops, name)(*args, **kwargs)
            look(name, began, result[1] if name.endswith("forward") else None)
            return result

        return op

    names = [f"{op}_{way}" for op in OPS for way in ("forward", "backward")] + ["add"]
    return {name: override(name) for name in names}


def training_step(variables, collect=False):
    logits, end_points, back = resnet_v2(images, **NET, variables=variables, collect=collect, input_gradient=False)
    _, saved = ops.softmax_cross_entropy_forward(logits, labels)
    back(ops.softmax_cross_entropy_backward(1.0, saved))
    variables.gradients.clear()
    return end_points


variables = Variables(seed=12)
training_step(variables)
spent = {}


def clock(name, began, saved):
    spent[name] = spent.get(name, 0.0) + time.perf_counter() - began


for _ in range(3):
    with tinyresnet.use(**around(clock)):
        training_step(variables)

figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
shown = [*OPS, "add"]
for i, name in enumerate(shown):
    forward, backward = (1e3 / 3 * spent.get(key, 0.0) for key in (f"{name}_forward", f"{name}_backward"))
    forward += 1e3 / 3 * spent.get(name, 0.0)
    axes.barh(i, forward, color=BLUE, label="forward" if i == 0 else None)
    axes.barh(i, backward, left=forward, color=ORANGE, label="backward" if i == 0 else None)
axes.set(yticks=range(len(shown)), yticklabels=shown, xlabel="ms a step")
axes.invert_yaxis()
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
there = sum(t for name, t in spent.items() if name.endswith("forward"))
and_back = sum(t for name, t in spent.items() if name.endswith("backward"))
print(f"backward takes {and_back / there:.1f} times as long as forward")

# %% [markdown]
# On a quiet machine about twice: each convolution has *two* gradients, $dx$ and $dw$, and each of them is as much work
# as the convolution. So a training step costs three forward passes, as a rule of thumb.
#
# ## Memory: who holds what, and until when
#
# Backward needs what forward saved, so every layer's input must be kept until its gradient is through. Python's
# `tracemalloc` counts every byte that NumPy takes. We look after each op.
#
# Three ways to run the same step:
#
# * as the house does: pullbacks are taken off their list with `pop()`, and each lets go of what it saved;
# * a list that is walked but not emptied, as by `for back in reversed(backs)`: we imitate it by keeping every `saved`;
# * no gradients at all: inference.
#
# **Predict.** Draw the three curves before you run the cell. Where has each of them its peak?


# %%
def memory_curve(run, keep=False):
    """MB in use after each op"""
    curve, kept = [], []

    def look(name, began, saved):
        if keep:
            kept.append(saved)
        curve.append(tracemalloc.get_traced_memory()[0] / 1e6)

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] / 1e6
    with tinyresnet.use(**around(look)):
        run()
    tracemalloc.stop()
    return np.array(curve) - before


popped = memory_curve(lambda: training_step(variables))
walked = memory_curve(lambda: training_step(variables), keep=True)
inference = memory_curve(lambda: resnet_v2(images, **NET, is_training=False, variables=variables, collect=False))
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
axes.plot(walked, color=VERMILION, linestyle="--", linewidth=2.5, label="walked, not emptied")
axes.plot(popped, color=BLUE, linewidth=2.5, label="pop()")
axes.plot(inference, color=GREEN, linestyle=":", linewidth=2.5, label="inference")
axes.axvline(popped.argmax(), color="#CCCCCC", zorder=0)
axes.annotate("the way back begins", (popped.argmax() + 1, 0.03), xycoords=("data", "axes fraction"), color=GREY)
axes.set(xlabel="op of the step", ylabel="MB in use", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
half_back = (popped.argmax() + len(popped)) // 2
print(f"peak: pop {popped.max():.0f}, walked {walked.max():.0f}, inference {inference.max():.0f} MB")
print(f"half-way back: pop {popped[half_back]:.0f}, walked {walked[half_back]:.0f} MB")
assert (
    popped[half_back] < 0.8 * walked[half_back]
    and popped.max() < 0.8 * walked.max()
    and inference.max() < popped.max() / 2
)

# %% [markdown]
# Forward climbs the same mountain in both. With `pop()` the way back is a way down: what a layer saved is free as soon
# as its gradient is through, so the peak is where forward ends. Without it nothing is let go, while gradients of
# weights and the working space of each layer come on top: the peak is near the *end* of the way back, half as high
# again. And a net in inference keeps next to nothing.
#
# ### What pins memory without being asked
#
# `collect=True` keeps the end points in a dictionary.
#
# **Predict.** How much more is in use at the *end* of the step?

# %%
pinned = {}
with_end_points = memory_curve(lambda: pinned.update(training_step(variables, collect=True)))
end_points_mb = sum(value.nbytes for value in pinned.values()) / 1e6
print(
    f"at the end: {popped[-1]:.0f} MB without, {with_end_points[-1]:.0f} MB with {len(pinned)} end points of {end_points_mb:.0f} MB"
)
assert with_end_points[-1] > popped[-1] + 0.5 * end_points_mb

# %% [markdown]
# That is why training says `collect=False`. An innocent dictionary holds on to the activations that `pop()` was so
# careful to let go.
#
# ## Folding: the batch norm that is not there
#
# In inference batch norm is one factor and one shift for each channel, $y = s\, (x - mean) + beta$ with $s = gamma /
# \sqrt{var + \epsilon}$. After a convolution both can be moved *into* it, for good:
#
# $$w' = w \cdot s, \qquad b' = beta - mean \cdot s .$$
#
# **Predict.** How much do the two results differ?

# %%
w = random(3, 3, 64, 32)
gamma, beta, mean, var = rng.uniform(0.5, 2, 32), random(32), random(32), rng.uniform(0.5, 2, 32)
gamma, beta, mean, var = (value.astype(np.float32) for value in (gamma, beta, mean, var))
convolved, _ = ops.conv2d_forward(x64, w)
two_ops, _ = ops.batch_norm_inference_forward(convolved, gamma, beta, mean, var)
s = gamma / np.sqrt(var + 1e-5)
one_op, _ = ops.conv2d_bias_add_forward(x64, w * s, beta - mean * s)
print(f"differs by {abs(one_op - two_ops).max() / abs(two_ops).max():.0e} of the largest number")
assert np.allclose(one_op, two_ops, atol=1e-4 * abs(two_ops).max())

# %% [markdown]
# By rounding. `tinyresnet.freeze` does this to a whole net: it runs the net once with hollow arrays to see which ops it
# is made of, folds batch norms into convolutions, adds shortcuts and cuts off at zero where the result is written, and
# plans all memory beforehand.
#
# **Predict.** Our net calls some 50 ops in inference. How many steps are left?

# %%
calls = []
with tinyresnet.use(
    **around(lambda name, began, saved: calls.append(name)),
    batch_norm_inference_relu_forward=lambda *args, **kwargs: (
        calls.append("norm") or ops.batch_norm_inference_relu_forward(*args, **kwargs)
    ),
):
    logits, _, _ = resnet_v2(images, **NET, is_training=False, variables=variables)
frozen = tinyresnet.freeze(resnet_v2, variables, input_shape=images.shape, **NET)
print(len(calls), "ops before;", frozen)
difference = abs(frozen(images) - logits).max() / abs(logits).max()
print(f"logits differ by {difference:.0e}")
assert difference < 1e-4


def plain():
    resnet_v2(images, **NET, is_training=False, variables=variables, collect=False)


for backend in BACKENDS:
    with tinyresnet.use_backend(backend):
        frozen = tinyresnet.freeze(resnet_v2, variables, input_shape=images.shape, **NET)
        print(
            f"{backend}: {seconds(plain) * 1e3:6.1f} ms as it is, {seconds(lambda f=frozen: f(images)) * 1e3:6.1f} ms frozen"
        )

# %% [markdown]
# On back end `numba` the frozen net is one list of steps, with no Python between them. [Freeze](../docs/freeze.md) has
# the details.
#
# ## Threads
#
# A matrix product can be shared among threads. But to wake a thread, and to wait for the last one, takes some
# microseconds.
#
# **Predict.** From which size on are two threads faster than one? Are they ever *slower*?

# %%
sizes, speedup = (16, 32, 64, 128, 256, 512, 1024), []
for size in sizes:
    a, b = random(size, size), random(size, size)
    found, repeats = [], 50 if size < 64 else 2
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(seconds(lambda a=a, b=b, repeats=repeats: [a @ b for _ in range(repeats)]))
    speedup.append(found[0] / found[1])
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.semilogx(sizes, speedup, "o-", color=BLUE, linewidth=2, base=2)
axes.axhline(1, color=GREY, linewidth=1, linestyle=":")
axes.axhline(2, color=GREY, linewidth=1, linestyle=":")
axes.set(xlabel="size of the matrices", ylabel="two threads: times as fast", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# Small matrices gain nothing. If other programs are busy on the same cores, two threads may even be much slower, as
# each waits for the other to be given its turn. So `tinyresnet train` uses one thread for its small nets (`threads` in
# the config), and a large net more.
#
# ## Exercises
#
# What a frozen net leaves out still has a gradient: Grad-CAM, for one, goes back through a net in inference.
#
# **Batch norm in inference, with ReLU.** Mean and variance are constants here. `saved.relu.y` [..., C] is the output;
# `saved.batch_norm.x` [..., C] and `.gamma`, `.mean`, `.inv_std` [C] are those of the batch norm. Return `dx` [..., C],
# `dgamma` [C], `dbeta` [C]. (`dx` comes out right in either order. Do `dgamma` and `dbeta`?)

# %% tags=["exercise"]
from tinyresnet import exercises


def batch_norm_inference_relu_backward(dy, saved):
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_inference_relu_backward is not written yet")


exercises.check("batch_norm_inference_relu_backward", batch_norm_inference_relu_backward)

# %% [markdown]
# **The bias that folding leaves.** $y = x + b$. Write its way back: `saved.shape` is the shape of x and of `dy`, [N, H,
# W, C] or [N, C]. Return `dx` [..., C], which may be `dy` itself, and `db` [C].

# %% tags=["exercise"]
from tinyresnet import exercises


def bias_add_backward(dy, saved):
    """dy [..., C] -> dx [..., C], db [C]"""
    raise NotImplementedError("bias_add_backward is not written yet")


exercises.check("bias_add_backward", bias_add_backward)

# %% [markdown]
# ## What to read next
#
# [Speed](../docs/speed.md): from these loops to a micro-kernel, step by step, each with what it bought.
# [Results](../docs/results.md): beside PyTorch, ONNX Runtime and OpenVINO. Notebook 13 automates what you have done by
# hand.
