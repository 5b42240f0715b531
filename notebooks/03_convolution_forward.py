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
# # 03 · Convolution, forward: from loops to one matrix product
#
# **Goal.** Afterwards you can write a convolution as loops from its formula, count its work, move the loops step by
# step into a matrix product, and say what each step costs and gains. You know the layout of `im2col` and the mistake
# that no shape check can see.
#
# **It presupposes** notebook [00](00_shapes.ipynb): `[N, H, W, C]`, kernels `[KH, KW, C, K]`, output sizes. Padding
# is the next notebook's subject; here we pad (KH − 1)/2 zeros on each side, so that sizes stay.

# %% tags=["setup"]
import importlib.util

missing = [name for name in ("tinyresnet", "numpy", "matplotlib") if importlib.util.find_spec(name) is None]
if missing:
    raise SystemExit(
        f'missing: {", ".join(missing)}. Run this in a cell, then restart the kernel:  %pip install "tinyresnet[notebooks]"'
    )

# %%
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import tinyresnet
from tinyresnet import ops
from tinyresnet.data import fashion_mnist

tinyresnet.set_backend("numpy")
plt.rcParams.update({"figure.dpi": 110, "image.cmap": "gray", "axes.spines.top": False, "axes.spines.right": False})
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#777777"
rng = np.random.default_rng(0)
images, labels, _, _ = fashion_mnist()
boot = images[np.flatnonzero(labels == 9)[0], :, :, 0] / 255  # [28, 28]

# %% [markdown]
# ## One number
#
# Lay the kernel on the picture. Multiply each weight by the pixel under it. Add up. That is one number of the output.
#
# Here the kernel is 1 on top, −2 in the middle, 1 below (it answers to thin horizontal lines), and the window lies on
# the sole of the boot.
#
# **Predict** the sign of the result from the picture, before you run.

# %%
kernel = np.array([[1.0, 1, 1], [-2, -2, -2], [1, 1, 1]]) / 3
p, q = 20, 10  # the window's upper left pixel
window = boot[p : p + 3, q : q + 3]

figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), width_ratios=(1.6, 1, 1, 1), layout="constrained")
axes[0].imshow(boot)
axes[0].add_patch(Rectangle((q - 0.5, p - 0.5), 3, 3, fill=False, edgecolor=VERMILION, linewidth=2))
for axis, title, numbers in zip(
    axes[1:], ("window", "kernel", "products"), (window, kernel, window * kernel), strict=True
):
    axis.imshow(numbers, cmap="RdBu_r", vmin=-1.3, vmax=1.3)
    axis.set_title(title)
    for (i, j), value in np.ndenumerate(numbers):
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9)
axes[3].set_title(f"products, sum {np.sum(window * kernel):+.2f}")
for axis in axes:
    axis.set_axis_off()

# %% [markdown]
# Now the whole definition, with a batch, channels, K kernels and a stride:
#
# $$y_{n,p,q,k} = \sum_{i,j,c} x_{n,\; p \cdot stride + i - top,\; q \cdot stride + j - left,\; c} \cdot w_{i,j,c,k}$$
#
# and zero wherever x would be read outside. Four free letters on the left, three to sum over: seven loops.
#
# ### Is the kernel flipped?
#
# In mathematics a convolution flips the kernel. In neural networks it does not; strictly it should be called a
# cross-correlation.
#
# **Predict.** The picture is black but for one white pixel in the middle. The kernel has the shape of an F. What does
# the output look like: an F, a mirrored F, an F upside down?

# %%
letter = np.array([[0, 1, 1, 1, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0]], float)
dot = np.zeros((1, 9, 9, 1))
dot[0, 4, 4, 0] = 1
y, _ = ops.conv2d_forward(dot, letter[:, :, None, None])

figure, axes = plt.subplots(1, 3, figsize=(6.5, 2.3), layout="constrained")
for axis, title, picture in zip(axes, ("x", "w", "y"), (dot[0, :, :, 0], letter, y[0, :, :, 0]), strict=True):
    axis.imshow(picture)
    axis.set_title(title)
    axis.set(xticks=[], yticks=[])
assert np.array_equal(y[0, 2:7, 2:7, 0], letter[::-1, ::-1])

# %% [markdown]
# Turned by 180°. It is no contradiction: the kernel is laid on the picture as it is. The *place* to the right of the
# dot sees the dot on the left of its window, so it reads the kernel's left weight. Remember this picture: in notebook
# 05 the gradient comes back through the same kernel, and there the F will stand upright.
#
# ## Seven loops


# %%
def by_loops(x, w, pad=1):
    """x [N, H, W, C], w [KH, KW, C, K], stride 1 -> y [N, OH, OW, K]"""
    (N, H, W, C), (KH, KW, _, K) = x.shape, w.shape
    OH, OW = H + 2 * pad - KH + 1, W + 2 * pad - KW + 1
    y = np.zeros((N, OH, OW, K), x.dtype)
    for n in range(N):
        for p in range(OH):
            for q in range(OW):
                for k in range(K):
                    for i in range(KH):
                        for j in range(KW):
                            h, v = p + i - pad, q + j - pad
                            if 0 <= h < H and 0 <= v < W:  # zeros outside
                                for c in range(C):
                                    y[n, p, q, k] += x[n, h, v, c] * w[i, j, c, k]
    return y


def seconds(function, *arguments, repeat=3):
    """the best of a few runs"""
    best = float("inf")
    for _ in range(repeat):
        start = perf_counter()
        function(*arguments)
        best = min(best, perf_counter() - start)
    return best


x_small, w_small = rng.standard_normal((1, 6, 6, 16)), rng.standard_normal((3, 3, 16, 32))
assert np.allclose(by_loops(x_small, w_small), ops.conv2d_forward(x_small, w_small)[0])
loop_time = seconds(by_loops, x_small, w_small, repeat=1)
print(f"{loop_time * 1e3:.0f} ms for one picture of 6 x 6 pixels")

# %% [markdown]
# Right, and very slow. How slow? The honest measure is time for each *multiply-add*, one `x * w` with its addition. A
# convolution has
#
# $$N \cdot OH \cdot OW \cdot K \cdot KH \cdot KW \cdot C$$
#
# of them: the product of all seven loops. No rewriting below changes that number. What changes is who runs the loops.
#
# **Predict.** The layer that we shall use from now on has x `[8, 28, 28, 16]` and w `[3, 3, 16, 32]`. How many
# million multiply-adds? And how long will seven loops in Python take for it?

# %%
x = rng.standard_normal((8, 28, 28, 16), dtype=np.float32)
w = rng.standard_normal((3, 3, 16, 32), dtype=np.float32)
work = 8 * 28 * 28 * 32 * 3 * 3 * 16
loop_rate = 6 * 6 * 32 * 3 * 3 * 16 / loop_time  # multiply-adds a second (at the edge a few less)
print(f"{work / 1e6:.1f} million multiply-adds; by loops about {work / loop_rate:.0f} s")

# %% [markdown]
# ## Step 1: the three inner loops become a product of a vector and a matrix
#
# The sum over i, j, c multiplies a window by a kernel. Flatten the window to KH·KW·C numbers and the K kernels to a
# matrix `[KH*KW*C, K]`: one `@` does four of the loops (i, j, c and k). Three are left.


# %%
def by_pixels(x, w, pad=1):
    (N, H, W, C), (KH, KW, _, K) = x.shape, w.shape
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    OH, OW = H + 2 * pad - KH + 1, W + 2 * pad - KW + 1
    matrix = w.reshape(KH * KW * C, K)
    y = np.empty((N, OH, OW, K), x.dtype)
    for n in range(N):
        for p in range(OH):
            for q in range(OW):
                y[n, p, q] = x[n, p : p + KH, q : q + KW].reshape(-1) @ matrix
    return y


right, _ = ops.conv2d_forward(x, w)
assert np.allclose(by_pixels(x, w), right, atol=1e-4)

# %% [markdown]
# ## Step 2: the other way round, one product for each tap of the kernel
#
# One may also keep the loops over i and j, which are short, and give the long ones to NumPy. All output pixels read,
# through tap (i, j), the same picture shifted by (i, j). So the sum is nine matrix products, `[N*OH*OW, C] @ [C, K]`,
# over shifted views.
#
# **Predict.** Which is faster, 6272 small products (step 1) or 9 large ones (step 2)? We shall time them together
# with step 3.


# %%
def by_taps(x, w, pad=1):
    (N, H, W, C), (KH, KW, _, K) = x.shape, w.shape
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    OH, OW = H + 2 * pad - KH + 1, W + 2 * pad - KW + 1
    y = np.zeros((N * OH * OW, K), x.dtype)
    for i in range(KH):
        for j in range(KW):
            y += x[:, i : i + OH, j : j + OW].reshape(-1, C) @ w[i, j]
    return y.reshape(N, OH, OW, K)


assert np.allclose(by_taps(x, w), right, atol=1e-4)

# %% [markdown]
# ## Step 3: im2col, and a single product
#
# The nine products can be one. Lay the nine shifted pictures side by side: for every output pixel a row with all that
# its window sees, KH·KW·C numbers. This matrix is called `im2col`, "image to columns". Then
#
# $$Y = X\,W, \qquad Y: [N\,OH\,OW,\ K], \quad X: [N\,OH\,OW,\ KH\,KW\,C], \quad W: [KH\,KW\,C,\ K]$$
#
# One matrix product (GEMM) is what fast libraries were made for.


# %%
def im2col(x, KH, KW, pad=1):
    """[N, H, W, C] -> [N, OH, OW, KH, KW, C], stride 1"""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    N, H, W, C = x.shape  # of the padded picture
    OH, OW = H - KH + 1, W - KW + 1
    col = np.empty((N, OH, OW, KH, KW, C), x.dtype)
    for i in range(KH):
        for j in range(KW):
            col[:, :, :, i, j] = x[:, i : i + OH, j : j + OW]
    return col


def by_im2col(x, w, pad=1):
    KH, KW, C, K = w.shape
    col = im2col(x, KH, KW, pad)
    y = col.reshape(-1, KH * KW * C) @ w.reshape(-1, K)
    return y.reshape(*col.shape[:3], K)


assert np.allclose(by_im2col(x, w), right, atol=1e-4)

# %% [markdown]
# A stride or a rate changes only which rows and columns a tap reads; putting them in is an exercise below. With them
# this is, but for its checks, the package's [ops/conv2d.py](../tinyresnet/ops/conv2d.py).
#
# Now the race. **Predict** the factor between the seven loops and the single product: 10, 100, 1000, more?

# %%
rows = [("seven loops", work / loop_rate)]
rows += [
    (name, seconds(function, x, w))
    for name, function in (("1: by pixels", by_pixels), ("2: by taps", by_taps), ("3: im2col, GEMM", by_im2col))
]
print(f"{'':18}{'seconds':>10}{'million multiply-adds / s':>28}{'times faster':>14}")
for name, time in rows:
    print(f"{name:18}{time:>10.4f}{work / time / 1e6:>28,.0f}{rows[0][1] / time:>14,.0f}")

figure, axis = plt.subplots(figsize=(7.5, 2.2), layout="constrained")
axis.set_xlabel("multiply-adds per second")
axis.barh([name for name, _ in rows], [work / time for _, time in rows], color=[GREY, ORANGE, GREEN, BLUE], log=True)
axis.invert_yaxis()

# %% [markdown]
# The work is the same in every row, to the last multiply-add. A turn of the innermost Python loop costs half a
# microsecond or more, and the processor could have done thousands of multiply-adds in that time.
#
# Steps 1 and 2 may come in either order on your machine, often with step 1 ahead, though it makes 700 times as many
# calls. The number of calls is not all: in step 2 each product sums over only 16 channels, and reads and writes the
# whole of y nine times. In step 1 each sum has 144 terms, and y is written once. Step 3 has both: one call, and long
# sums.
#
# Where the rest of the speed lies (threads, vector registers, caches) is the subject of notebook 12 and of the [speed
# page](../docs/speed.md).
#
# ## What im2col looks like
#
# Number the pixels of a 5 × 5 picture, colour each, and look where they go: a row for each of the 25 output pixels, a
# column for each of the nine taps. White is padding.
#
# **Predict.** In how many of the 25 · 9 places does the middle pixel stand? And the corner pixel?

# %%
numbered = np.arange(1.0, 26).reshape(1, 5, 5, 1)
col = im2col(numbered, 3, 3).reshape(25, 9)

figure, axes = plt.subplots(1, 2, figsize=(9, 5.2), width_ratios=(1, 1.4), layout="constrained")
colours = plt.get_cmap("viridis").with_extremes(under="white")
for axis, numbers in zip(axes, (numbered[0, :, :, 0], col), strict=True):
    axis.imshow(numbers, cmap=colours, vmin=0.5, vmax=25, aspect="auto" if axis is axes[1] else "equal")
    for (i, j), value in np.ndenumerate(numbers):
        if value:
            axis.text(
                j, i, f"{value:.0f}", ha="center", va="center", fontsize=7, color="black" if value > 14 else "white"
            )
axes[0].set(title="picture", xticks=[], yticks=[])
axes[1].set(title="im2col", xlabel="tap (i, j)", ylabel="output pixel (p, q)", yticks=range(0, 25, 4))
axes[1].set_xticks(range(9), [f"{i},{j}" for i in range(3) for j in range(3)])
print("middle pixel:", np.sum(col == 13), "times, corner pixel:", np.sum(col == 1), "times, zeros:", np.sum(col == 0))
assert (np.sum(col == 13), np.sum(col == 1)) == (9, 4)

# %% [markdown]
# An inner pixel stands in nine rows, as nine windows see it. The fifth column, tap (1, 1), is the picture itself. The
# matrix is the picture nine times over, each time shifted, and that is its price: **KH · KW times the memory**.
#
# **Predict.** For 32 pictures of 224 × 224 in float32: how large is `im2col` for conv1 of ResNet (7 × 7, stride 2, 3
# channels), for a 3 × 3 at 56 × 56 with 64 channels, and for a 1 × 1 at 56 × 56 with 256 channels?

# %%
print(f"{'layer':24}{'x':>10}{'im2col':>12}{'times':>8}")
for name, side, k, stride, c in (
    ("7x7, stride 2, C = 3", 224, 7, 2, 3),
    ("3x3, C = 64", 56, 3, 1, 64),
    ("1x1, C = 256", 56, 1, 1, 256),
):
    x_bytes, col_bytes = 32 * side**2 * c * 4, 32 * (side // stride) ** 2 * k * k * c * 4
    print(f"{name:24}{x_bytes / 2**20:>6.0f} MiB{col_bytes / 2**20:>8.0f} MiB{col_bytes / x_bytes:>8.1f}")

# %% [markdown]
# A 1 × 1 kernel with stride 1 has nothing to copy: the picture *is* its own `im2col`. Then a convolution is the same
# small dense layer at every pixel, `x.reshape(-1, C) @ w`. Two thirds of ResNet's convolutions are such.
#
# As it is so large, `im2col` is not kept for the backward pass. It is made again from x, which costs little beside
# the products.
#
# ## A mistake that no shape can see
#
# The columns of X and the rows of W must be in the *same order*: (i, j, c), c fastest. Someone thinks in channels
# first and writes (c, i, j) for the columns.
#
# **Predict.** Will NumPy complain? And which of these tests will notice: w random; all weights equal; a single
# channel, C = 1?


# %%
def wrong_order(x, w):
    KH, KW, C, K = w.shape
    col = im2col(x, KH, KW).transpose(0, 1, 2, 5, 3, 4)  # [N, OH, OW, C, KH, KW]
    return (col.reshape(-1, KH * KW * C) @ w.reshape(-1, K)).reshape(*col.shape[:3], K)


for name, pictures, weights in (
    ("w random", x, w),
    ("w all equal", x, np.ones_like(w)),
    ("C = 1", x[..., :1], w[:, :, :1]),
):
    same = np.allclose(wrong_order(pictures, weights), by_im2col(pictures, weights), atol=1e-3)
    print(f"{name:12} {'looks right' if same else 'found'}")

# %% [markdown]
# Only random weights with several channels find it. So tests use numbers that are all different, C > 1, C ≠ K, H ≠ W.
# Every "simple" test input hides some mistake: it is simple because something in it is equal.
#
# ## Without a copy?
#
# NumPy can *pretend* to have the windows: `sliding_window_view` gives a view in which memory is read several times.
# It costs nothing.
#
# **Predict.** Does the matrix product then come without the copy as well?

# %%
padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # [N, OH, OW, C, KH, KW]
view = view.transpose(0, 1, 2, 4, 5, 3)  # [N, OH, OW, KH, KW, C]
flat = view.reshape(-1, 3 * 3 * 16)
print("view", view.shape, "shares memory with x:", np.shares_memory(view, padded))
print("flat", flat.shape, "shares memory with x:", np.shares_memory(flat, padded))
assert np.allclose(flat @ w.reshape(-1, 32), right.reshape(-1, 32), atol=1e-4)

# %% [markdown]
# No. A GEMM wants rows that lie evenly in memory, and no single stride leads through overlapping windows; `reshape`
# has to copy. So libraries that avoid the copy write their own product that reads the windows in place, as this
# project's compiled kernels do.
#
# ## When is the product busy, and when does it wait?
#
# **Predict.** The speed in multiply-adds per second of step 3 for a 3 × 3 convolution with C = K = 2, 8, 32, 128: the
# same for all, as it is the same code?

# %%
speeds = {"2: by taps": [], "3: im2col, GEMM": []}
channels = (2, 8, 32, 128)
for c in channels:
    x_c, w_c = (
        rng.standard_normal((4, 28, 28, c), dtype=np.float32),
        rng.standard_normal((3, 3, c, c), dtype=np.float32),
    )
    for name, function in (("2: by taps", by_taps), ("3: im2col, GEMM", by_im2col)):
        speeds[name].append(4 * 28 * 28 * 9 * c * c / seconds(function, x_c, w_c, repeat=8))

figure, axis = plt.subplots(figsize=(6.5, 3), layout="constrained")
for (name, values), colour, marker in zip(speeds.items(), (GREEN, BLUE), "os", strict=True):
    axis.loglog(channels, values, marker + "-", color=colour, label=name)
axis.set_xticks(channels, [str(c) for c in channels])
axis.set(xlabel="channels, C = K", ylabel="multiply-adds per second")
axis.minorticks_off()
axis.legend(frameon=False)
for name, values in speeds.items():
    print(
        f"{name:16}",
        ", ".join(f"C = {c}: {value / 1e9:.2f} billion/s" for c, value in zip(channels, values, strict=True)),
    )

# %% [markdown]
# With few channels there is hardly any arithmetic for each number that is moved: every number of `im2col` is written
# once and then used for K multiply-adds only. With many channels the copy no longer counts, and the processor's
# arithmetic is the limit. Arithmetic for each byte moved is what decides; notebook 12 draws the line between the two
# (the roofline).
#
# ## Exercises
#
# **conv2d_loops.** The definition as loops, with a stride and with explicit padding: `conv2d_loops(x, w, stride,
# pads)`, x `[N, H, W, C]`, w `[KH, KW, C, K]`, `pads` = ((top, bottom), (left, right)). Return y `[N, OH, OW, K]`.
# Some of the expected numbers come from TF-Slim's own tests.

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_loops(x, w, stride, pads):
    """x [N, H, W, C], w [KH, KW, C, K] -> y [N, OH, OW, K]"""
    raise NotImplementedError("conv2d_loops is not written yet")


exercises.check("conv2d_loops", conv2d_loops)

# %% [markdown]
# **im2col.** `im2col(x, kernel, stride, pads)`, `kernel` = (KH, KW): return `[N, OH, OW, KH, KW, C]`, where entry (n,
# p, q, i, j, c) is the pixel that output pixel (p, q) sees through tap (i, j), and 0 outside.

# %% tags=["exercise"]
from tinyresnet import exercises


def im2col(x, kernel, stride, pads):
    """x [N, H, W, C] -> col [N, OH, OW, KH, KW, C]"""
    raise NotImplementedError("im2col is not written yet")


exercises.check("im2col", im2col)

# %% [markdown]
# ## What to read next
#
# - [Notebook 04](04_same_padding.ipynb): how many zeros, and where. It matters more than one thinks.
# - [ops/naive.py](../tinyresnet/ops/naive.py): the loops of every op, as the tests use them.
# - [Speed](../docs/speed.md): what comes after the single product.
