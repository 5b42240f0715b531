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
# # 04 · SAME, and conv2d_same
#
# **Goal.** Afterwards you can compute TensorFlow's SAME padding by hand, say where each window of a strided
# convolution sits, explain why ResNet does not use SAME where it has a stride, and why no gradient check can find a
# wrong padding.
#
# **It presupposes** notebooks [00](00_shapes.ipynb) (output sizes) and [03](03_convolution_forward.ipynb) (the
# convolution).

# %% tags=["setup"]
import importlib.util

missing = [name for name in ("tinyresnet", "numpy", "matplotlib") if importlib.util.find_spec(name) is None]
if missing:
    raise SystemExit(
        f'missing: {", ".join(missing)}. Run this in a cell, then restart the kernel:  %pip install "tinyresnet[notebooks]"'
    )

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinyresnet
from tinyresnet import check_gradients, ops
from tinyresnet.data import fashion_mnist

tinyresnet.set_backend("numpy")
plt.rcParams.update({"figure.dpi": 110, "image.cmap": "gray", "axes.spines.top": False, "axes.spines.right": False})
BLUE, VERMILION, GREEN, GREY, PALE = "#0072B2", "#D55E00", "#009E73", "#777777", "#EEF2F5"
rng = np.random.default_rng(0)
images, labels, _, _ = fashion_mnist()
boot = images[np.flatnonzero(labels == 9)[0], :, :, 0] / 255  # [28, 28]

# %% [markdown]
# ## Why pad at all?
#
# A 3 × 3 window does not fit on the outermost pixels. VALID leaves them out, so each layer makes the picture smaller
# by two. SAME puts zeros around it.
#
# Let us blur a boot on a *white* ground, with a 3 × 3 mean, four times in a row.
#
# **Predict.** What size is left with VALID after four layers? And what do the zeros do to the picture with SAME?

# %%
white = 1 - boot[None, :, :, None]
mean = np.ones((3, 3, 1, 1)) / 9
nets = {"VALID": white, "SAME": white}
for _ in range(4):
    nets = {padding: ops.conv2d_forward(net, mean, padding=padding)[0] for padding, net in nets.items()}

figure, axes = plt.subplots(1, 3, figsize=(8, 2.7), layout="constrained")
for axis, (title, net) in zip(axes, {"x": white, **nets}.items(), strict=True):
    axis.imshow(net[0, :, :, 0], vmin=0, vmax=1)
    axis.set_title(f"{title}  {net.shape[1]}x{net.shape[2]}")
    axis.set(xticks=[], yticks=[])
corner, edge = nets["SAME"][0, 0, 0, 0], nets["SAME"][0, 0, 14, 0]
print(f"white ground after 4 layers of SAME: corner {corner:.2f}, edge {edge:.2f}")

# %% [markdown]
# VALID eats 8 of 28 pixels. SAME keeps them all, but the zeros are *dark*, and darkness creeps in from the border,
# one pixel a layer. There is no free padding: a net sees where the border is. It learns to live with it, as long as
# the border is always in the same place.
#
# ## The rule of SAME
#
# SAME is defined by its result: $\lceil n/s \rceil$ windows along an axis, whatever the kernel. From that follows how
# many zeros it needs, so that the last window just fits, and they are shared out evenly. Where their number is odd,
# the odd one goes *after* the picture.
#
# $$total = \max\big((\lceil n/s \rceil - 1)\, s + k - n,\; 0\big)$$
#
# $$before = \lfloor total / 2 \rfloor, \qquad after = total - before$$
#
# **Predict** (before, after) for k = 3 and n = 4, first with stride 1, then with stride 2. Then for n = 5.

# %%
from tinyresnet.ops.windows import same_pads


def same(n, k, s):
    """TensorFlow's SAME along one axis -> (before, after)"""
    total = max((-(-n // s) - 1) * s + k - n, 0)
    return total // 2, total - total // 2


print("        n = 4    n = 5    n = 6    n = 7      (k = 3)")
for s in (1, 2):
    print(f"s = {s}  ", "   ".join(str(same(n, 3, s)) for n in (4, 5, 6, 7)))
assert all(same(n, k, s) == same_pads(n, k, s) for n in range(1, 40) for k in range(1, 8) for s in range(1, 4))

# %% [markdown]
# With stride 1 it is (1, 1), as everybody expects. With stride 2 it depends on whether n is even: (0, 1) or (1, 1).
# It sounds like a detail. Let us see where the windows are.


# %%
def draw(axis, n, s, pads, title, colour):
    """pixels as boxes, zeros hatched, each window as a bar, its middle as a dot"""
    before, after = pads
    for h in range(-before, n + after):
        inside = 0 <= h < n
        box = plt.Rectangle(
            (h - 0.5, 0), 1, 1, facecolor=PALE if inside else "white", edgecolor=GREY, hatch=None if inside else "////"
        )
        axis.add_patch(box)
        if inside:
            axis.text(h, 0.5, str(h), ha="center", va="center", fontsize=9)
    for p, first in enumerate(range(-before, n + after - 2, s)):
        axis.plot([first - 0.4, first + 2.4], [-0.5 - 0.5 * p] * 2, color=colour, linewidth=2)
        axis.plot(first + 1, -0.5 - 0.5 * p, "o", color=colour)
    axis.set(xlim=(-1.7, 6), ylim=(-3.2, 1.3), aspect="equal")
    axis.set_title(title, fontsize=9, color=colour)
    axis.set_axis_off()


figure, axes = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
for row, n in zip(axes, (4, 5), strict=True):
    draw(row[0], n, 1, same(n, 3, 1), f"n = {n}: stride 1", GREY)
    draw(row[1], n, 2, same(n, 3, 2), f"n = {n}: SAME, stride 2", VERMILION)
    draw(row[2], n, 2, (1, 1), f"n = {n}: zeros (1, 1), stride 2", BLUE)

# %% [markdown]
# Look at the dots, the middles of the windows. On five pixels all is well: the windows sit on 0, 2, 4, every second
# one of the windows at stride 1. On four pixels SAME sits on **1, 3**. The same weights see a picture that is shifted
# by one pixel.
#
# Padding (1, 1) sits on 0, 2 for every n. That is `conv2d_same`.
#
# ## The four tables of TF-Slim
#
# TF-Slim has a test for just this (`resnet_v2_test.py`, `testConv2DSameEven`). The picture is 4 × 4 with pixel [h, w]
# = h + w, the kernel 3 × 3 with weight [i, j] = i + j. Four tables come out:
#
# 1. the convolution with stride 1
# 2. that, subsampled: every second number
# 3. `conv2d_same` with stride 2
# 4. `conv2d` SAME with stride 2
#
# **Predict.** Which two of tables 2, 3 and 4 are equal? Compute the upper left number of table 4 by hand: its window
# has no zeros.


# %%
def ramp(n):
    """[n, n]: row number + column number"""
    return np.add.outer(np.arange(float(n)), np.arange(float(n)))


def four_tables(n):
    x, w = ramp(n)[None, :, :, None], ramp(3)[:, :, None, None]
    dense, _ = ops.conv2d_forward(x, w, stride=1, padding="SAME")
    sub, _ = ops.subsample_forward(dense, 2)
    aligned, _ = ops.conv2d_forward(x, w, stride=2, padding=((1, 1), (1, 1)))  # what conv2d_same does for 3x3
    tensorflow, _ = ops.conv2d_forward(x, w, stride=2, padding="SAME")
    return [table[0, :, :, 0] for table in (dense, sub, aligned, tensorflow)]


def show(n):
    figure, axes = plt.subplots(1, 5, figsize=(11, 2.6), width_ratios=(4, 4, 2.4, 2.4, 2.4), layout="constrained")
    titles = ("x", "1: stride 1", "2: subsampled", "3: conv2d_same", "4: SAME")
    for axis, title, table in zip(axes, titles, [ramp(n), *four_tables(n)], strict=True):
        axis.imshow(table, cmap="Blues", vmin=0, vmax=2.2 * table.max())
        for (p, q), value in np.ndenumerate(table):
            axis.text(q, p, f"{value:.0f}", ha="center", va="center", fontsize=10)
        axis.set_title(title, color=VERMILION if "4" in title else "black", fontsize=10)
        axis.set(xticks=[], yticks=[])


show(4)
dense, sub, aligned, tensorflow = four_tables(4)
# TF-Slim, resnet_v2_test.py, testConv2DSameEven
assert np.array_equal(dense, [[14, 28, 43, 26], [28, 48, 66, 37], [43, 66, 84, 46], [26, 37, 46, 22]])
assert np.array_equal(sub, [[14, 43], [43, 84]])
assert np.array_equal(aligned, [[14, 43], [43, 84]])
assert np.array_equal(tensorflow, [[48, 37], [37, 22]])

# %% [markdown]
# Tables 2 and 3 agree. Table 4 took *other* numbers out of table 1, those at odd rows and columns: 48, 37, 37, 22.
#
# **Predict** the same for a picture of 5 × 5 (`testConv2DSameOdd`): which tables agree now?

# %%
show(5)
dense, sub, aligned, tensorflow = four_tables(5)
assert np.array_equal(sub, [[14, 43, 34], [43, 84, 55], [34, 55, 30]])
assert np.array_equal(sub, aligned) and np.array_equal(sub, tensorflow)

# %% [markdown]
# On an odd side all three are one. So someone who tests with 5 × 5, or 7 × 7, or 225 × 225, sees no difference, and
# finds a net that is a little worse on 224 × 224.
#
# `conv2d_same` says it in one sentence: **the result is the convolution with stride 1, subsampled.** For a kernel of
# k and rate r it pads always the same, half of $(k - 1)\, r$ before and the rest after, and then takes VALID.


# %%
def conv2d_same(x, w, stride=1, rate=1):
    if stride == 1:
        return ops.conv2d_forward(x, w, 1, rate, "SAME")[0]
    total = (w.shape[0] - 1) * rate
    pads = (total // 2, total - total // 2)
    return ops.conv2d_forward(x, w, stride, rate, (pads, pads))[0]


for n in range(5, 20):
    for k in (1, 3, 5, 7):
        for stride in (1, 2, 3):
            x, w = rng.standard_normal((1, n, n, 2)), rng.standard_normal((k, k, 2, 3))
            assert np.allclose(conv2d_same(x, w, stride), conv2d_same(x, w)[:, ::stride, ::stride])
print("conv2d_same = stride 1, subsampled: for 180 geometries")

# %% [markdown]
# ## How far does a chain of layers shift?
#
# One pixel is little. But ResNet-50 halves five times, and a shift of one pixel in a map of 14 × 14 is 16 pixels of
# the picture.
#
# We measure it. A kernel with a single 1 in its middle hands on the pixel under the middle of its window. Let the
# picture be a ramp, whose value *is* the column number. Then every number of the last map says on which column of the
# picture it is centred.
#
# **Predict.** 64 pixels, four layers with stride 2. On which columns are the four places of the last map centred:
# with `conv2d_same`, and with SAME?

# %%
delta = np.zeros((3, 3, 1, 1))
delta[1, 1] = 1


def centres(n, layers=4, padding=((1, 1), (1, 1))):
    """the columns of an n x n picture on which the last map's places are centred"""
    net = np.broadcast_to(np.arange(float(n)), (1, n, n))[..., None]
    for _ in range(layers):
        net, _ = ops.conv2d_forward(net, delta, stride=2, padding=padding)
    return net[0, 0, :, 0].astype(int)


print("conv2d_same", centres(64), "  SAME", centres(64, padding="SAME"))
assert centres(64).tolist() == [0, 16, 32, 48] and centres(64, padding="SAME").tolist() == [15, 31, 47, 63]

# %% [markdown]
# 15 pixels: 1 + 2 + 4 + 8, each layer's shift counted in pixels of the picture. And now let the size of the picture
# vary, as it does in practice, between 49 and 96.
#
# **Predict** how the centre of the *first* place moves with the size, for SAME: constant, growing, or something else?

# %%
sizes = np.arange(49, 97)
first = {"SAME": [centres(n, padding="SAME")[0] for n in sizes], "conv2d_same": [centres(n)[0] for n in sizes]}

figure, axis = plt.subplots(figsize=(8, 2.8), layout="constrained")
axis.plot(sizes, first["SAME"], "o-", color=VERMILION, markersize=3, linewidth=0.8, label="SAME")
axis.plot(sizes, first["conv2d_same"], "-", color=BLUE, linewidth=2, label="conv2d_same")
axis.set(xlabel="pixels of the picture along one side", ylabel="centre of the first place", xticks=range(49, 98, 8))
axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
assert set(first["conv2d_same"]) == {0}
print({n: int(first["SAME"][n - 49]) for n in (63, 64, 65, 66)})

# %% [markdown]
# A saw. SAME shares out what is left over at the two ends, so the first window wanders inwards with every pixel, up
# to 15; at 65 pixels a window more is needed, and everything falls back to the corner. A picture that is larger by
# one pixel (65 rather than 64) is seen from 15 pixels further left. Weights trained at one size meet a shifted world
# at another.
#
# The blue line is why TF-Slim wrote `conv2d_same`.
#
# ## Two branches that must meet
#
# In a residual unit with a stride, the residual branch goes through a strided 3 × 3 convolution. The shortcut keeps
# every second pixel, 0, 2, 4, …, and then the two are added. They had better look at the same pixels.
#
# Let the residual branch be the delta kernel again, so that it "should" give just what the shortcut gives. We
# subtract the two, for a picture of 28 × 28.
#
# **Predict** what the difference shows, in either case.

# %%
x = boot[None, :, :, None]
shortcut, _ = ops.subsample_forward(x, 2)
figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), layout="constrained")
axes[0].imshow(shortcut[0, :, :, 0])
axes[0].set_title("shortcut 14x14", fontsize=10)
for axis, (title, padding) in zip(axes[1:], (("SAME", "SAME"), ("conv2d_same", ((1, 1), (1, 1)))), strict=True):
    residual, _ = ops.conv2d_forward(x, delta, stride=2, padding=padding)
    difference = (residual - shortcut)[0, :, :, 0]
    axis.imshow(difference, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_title(f"residual - shortcut: {title}", fontsize=10)
    print(f"{title:12} largest difference {abs(difference).max():.2f}")
for axis in axes:
    axis.set(xticks=[], yticks=[])
assert np.array_equal(residual, shortcut)

# %% [markdown]
# With SAME the two branches differ along every edge of the boot: they are a pixel apart. The net could learn kernels
# that undo the shift, for even sizes, and would then be wrong for odd ones.
#
# ## What no gradient check can see
#
# Suppose you write `padding="SAME"` where `conv2d_same` belongs. You check your gradients, as you should.
#
# **Predict** the result of `check_gradients` for both paddings, on a 4 × 4 picture.


# %%
def layer(padding):
    def fn(x, w):
        y, saved = ops.conv2d_forward(x, w, stride=2, padding=padding)
        return y, lambda dy: ops.conv2d_backward(dy, saved)

    return fn


x, w = rng.standard_normal((2, 4, 4, 3)), rng.standard_normal((3, 3, 3, 5))
for name, padding in (("conv2d_same", ((1, 1), (1, 1))), ("SAME", "SAME")):
    report = check_gradients(layer(padding), x, w, names=("x", "w"))
    golden = ops.conv2d_forward(ramp(4)[None, :, :, None], ramp(3)[:, :, None, None], 2, 1, padding)[0][0, :, :, 0]
    print(
        f"{name:12} gradients right: {report.passed};  forward as TF-Slim's: {np.array_equal(golden, [[14, 43], [43, 84]])}"
    )
    assert report.passed

# %% [markdown]
# Both pass. **The gradient of a wrong function is right, for the wrong function.** A gradient check compares your
# backward pass with *your* forward pass. That the forward pass is the one you meant, only numbers can tell that
# somebody else computed. Such numbers are called *goldens*; those of TF-Slim above are in this project's tests and in
# the exercises.
#
# ## PyTorch, and TensorFlow's weights
#
# PyTorch's `padding=1` for 3 × 3, and `padding=3` for 7 × 7, is (1, 1) and (3, 3): the same as `conv2d_same`. There
# is no SAME with a stride in PyTorch. So ResNet weights from TF-Slim do run there, but nets whose strided layers use
# SAME (MobileNet, EfficientNet) need their padding done by hand.
#
# One layer of ResNet-50 does use SAME with a stride: `pool1`, 3 × 3 with stride 2, on 112 pixels. It pads (0, 1).
#
# **Predict.** By how many pixels of a 224 × 224 picture does that shift all later maps?

# %%
net = np.broadcast_to(np.arange(224.0), (1, 224, 224))[..., None]
seven = np.zeros((7, 7, 1, 1))
seven[3, 3] = 1
net = conv2d_same(net, seven, stride=2)  # conv1
net, _ = ops.conv2d_forward(net, delta, stride=2, padding="SAME")  # the middle of pool1's windows
for _ in range(3):  # block1, block2, block3
    net = conv2d_same(net, delta, stride=2)
print("the last map of ResNet-50 on 224 pixels is centred on the columns", net[0, 0, :, 0].astype(int))
assert net[0, 0, 0, 0] == 2

# %% [markdown]
# By two: one pixel of the map after `conv1`. It is so in TF-Slim, and the published weights were trained with it, so
# it stays. With 225 pixels (any 32 n + 1) everything is centred on 0, 32, …, 224, from corner to corner.
#
# ## Exercises
#
# **conv2d_same_padding.** `conv2d_same_padding(size, kernel, stride, rate)` along one axis: return two pairs, the
# (before, after) of `conv2d_same` and the (before, after) of TensorFlow's SAME. A kernel with a rate spans (kernel −
# 1) · rate + 1 pixels. For `conv2d_same` take the padding that it adds for a stride above 1, whatever the stride.

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_same_padding(size, kernel, stride, rate):
    """size, kernel, stride, rate -> (before, after) of conv2d_same, (before, after) of SAME"""
    raise NotImplementedError("conv2d_same_padding is not written yet")


exercises.check("conv2d_same_padding", conv2d_same_padding)

# %% [markdown]
# **subsample_backward.** The shortcut's half of the story: forward keeps every `factor`-th row and column,
# $y_{n,p,q,c} = x_{n,\,p \cdot factor,\,q \cdot factor,\,c}$. `saved.shape` is the shape of x, `saved.factor` the
# factor. What gradient has a pixel that was dropped?

# %% tags=["exercise"]
from tinyresnet import exercises


def subsample_backward(dy, saved):
    """dy [N, ceil(H/f), ceil(W/f), C] -> dx [N, H, W, C]"""
    raise NotImplementedError("subsample_backward is not written yet")


exercises.check("subsample_backward", subsample_backward)

# %% [markdown]
# ## What to read next
#
# - [Notebook 05](05_convolution_backward.ipynb): the way back through a convolution.
# - [resnet_utils, conv2d_same](../docs/resnet_utils.md#conv2d_same): the source notes, with conv1's numbers.
# - [resnet_v2, Which image size for which task](../docs/resnet_v2.md#which-image-size-for-which-task).
