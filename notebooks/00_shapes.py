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
# # 00 · Shapes: a pixel's journey
#
# **Goal.** Afterwards you can read a shape such as `[N, H, W, C]`, say where a number stands in memory, compute the
# size of every feature map of a ResNet in your head, and say which pixels of a picture a number deep inside the net
# has seen.
#
# **It presupposes** Python, and that you have used NumPy arrays once. No calculus.
#
# In each notebook a question stands before a cell: **Predict.** Write your answer down, on paper, before you run the
# cell. A wrong prediction is worth more than a right one, as it shows where your picture of the thing is wrong.

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
from tinyresnet import ops
from tinyresnet.data import FASHION_MNIST_CLASSES, fashion_mnist

tinyresnet.set_backend("numpy")
plt.rcParams.update({"figure.dpi": 110, "image.cmap": "gray", "axes.spines.top": False, "axes.spines.right": False})
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"

# %% [markdown]
# ## A picture is an array
#
# The package brings 6000 small pictures of clothes to learn from and 1000 to be tested on (Fashion-MNIST). Each has
# 28 × 28 grey pixels, and a pixel is one byte: 0 is black, 255 is white.
#
# **Predict.** What is the shape of the array that holds the 6000 pictures, and how many bytes does it take? Then run.

# %%
images, labels, test_images, test_labels = fashion_mnist()
print(images.shape, images.dtype, f"{images.nbytes:,} bytes")
assert images.nbytes == 6000 * 28 * 28 * 1

# %% [markdown]
# There are four axes, always in the same order, and the whole project keeps to it:
#
# | axis | letter | here | meaning |
# |---|---|---|---|
# | 0 | N | 6000 | which picture of the batch |
# | 1 | H | 28 | which row, counted from the top |
# | 2 | W | 28 | which column, counted from the left |
# | 3 | C | 1 | which channel: 1 for grey, 3 for red, green and blue, 64 or 2048 inside a net |
#
# One calls this order NHWC. TensorFlow uses it; PyTorch uses NCHW. Neither is more right, but mixing the two is a
# mistake that often raises no error, as we shall see.

# %%
figure, axes = plt.subplots(1, 10, figsize=(11, 1.5), layout="constrained")
for k, axis in enumerate(axes):
    first = np.flatnonzero(labels == k)[0]
    axis.imshow(images[first, :, :, 0])
    axis.set_title(FASHION_MNIST_CLASSES[k], fontsize=8)
    axis.set_axis_off()
boot = images[np.flatnonzero(labels == 9)[0]]
print("boot:", boot.shape)

# %% [markdown]
# An index takes one axis away, a slice keeps it. The ops of this project want four axes, so a single picture is a
# batch of one.
#
# **Predict** the four shapes.

# %%
for text, array in (
    ("images[7]          ", images[7]),
    ("images[7:8]        ", images[7:8]),
    ("images[:, :, :, 0] ", images[:, :, :, 0]),
    ("images[:, 14, 14]  ", images[:, 14, 14]),
):
    print(text, array.shape)

# %% [markdown]
# ## Where a number stands in memory
#
# Memory has one axis only. An array lies in it row by row: the last index runs fastest. NumPy tells, for each axis,
# how many bytes one has to go to reach the next entry: these are the array's *strides*. (A convolution has a stride
# too; that is something else.)
#
# **Predict** the four strides of a float32 array of shape `[8, 28, 28, 3]`. A float32 has four bytes. Begin on the
# right.

# %%
batch = np.zeros((8, 28, 28, 3), np.float32)
print(batch.strides)
assert batch.strides == (28 * 28 * 3 * 4, 28 * 3 * 4, 3 * 4, 4)

# %% [markdown]
# So in NHWC the channels of one pixel are neighbours in memory. A matrix product over the channels then reads memory
# from left to right, which is why this order is a good one for convolutions on a CPU.
#
# Now the mistake. Let us put three pictures into the three channels of one colour picture: the shirt becomes red, the
# boot green, the bag blue. Then we want it as `[C, H, W]`, as PyTorch would. Two lines give the right shape:
#
# - `np.moveaxis(x, 2, 0)` or `x.transpose(2, 0, 1)`: the axes change places, each number keeps its pixel and its
#   channel.
# - `x.reshape(3, 28, 28)`: the numbers stay in order in memory, and are merely counted off differently.
#
# **Predict.** What will the first "channel" of the second one look like?

# %%
colour = np.concatenate([images[np.flatnonzero(labels == k)[0]] for k in (6, 9, 8)], axis=-1)  # [28, 28, 3]
right, wrong = np.moveaxis(colour, 2, 0), colour.reshape(3, 28, 28)
assert right.shape == wrong.shape == (3, 28, 28)

figure, axes = plt.subplots(1, 7, figsize=(11, 1.9), layout="constrained")
axes[0].imshow(colour)
axes[0].set_title("[28, 28, 3]", fontsize=9)
for k in range(3):
    axes[1 + k].imshow(right[k])
    axes[1 + k].set_title(f"moveaxis [{k}]", fontsize=9, color=BLUE)
    axes[4 + k].imshow(wrong[k])
    axes[4 + k].set_title(f"reshape [{k}]", fontsize=9, color=VERMILION)
for axis in axes:
    axis.set_axis_off()

# %% [markdown]
# The reshaped array has the right shape, and no line of Python complains. A net would even train on it a little. What
# happened: the first 784 numbers in memory are the upper third of the picture, with the three channels interleaved.
# Each row of the wrong picture holds a third of a row of all three.
#
# Remember: **a transpose moves numbers, a reshape only counts them anew.** A right shape does not prove a right
# array.
#
# ## Numbers: from bytes to floats
#
# **Predict.** `a` has the single byte 200. What is `a + 100`?

# %%
a = np.array([200], np.uint8)
print(a + 100, a.astype(np.float32) + 100)

# %% [markdown]
# A byte counts to 255 and begins again at 0: 300 − 256 = 44, without a warning. So pictures become float32 before
# anything is computed. A net likes numbers around zero, so one also subtracts the mean and divides by the standard
# deviation of the training pictures. Gradient checks need more digits; they use float64.

# %%
x = images.astype(np.float32) / 255
mean, std = x.mean(), x.std()
x = (x - mean) / std
print(
    f"mean {mean:.3f}, std {std:.3f}  ->  mean {abs(x.mean()):.3f}, std {x.std():.3f}, from {x.min():.2f} to {x.max():.2f}"
)

# %% [markdown]
# ## A convolution changes the shape
#
# A convolution slides a small window, the *kernel*, over the picture. At each place it multiplies the pixels under
# the window by the kernel's weights and adds up; that gives one number. K kernels give K numbers at each place: the K
# channels of the output, its *feature maps*.
#
# - x: images `[N, H, W, C]`
# - w: weights `[KH, KW, C, K]`: K kernels of KH × KW pixels and C channels
# - y: feature maps `[N, OH, OW, K]`
#
# C disappears, as one sums over it. K appears. N stays.
#
# **Predict** the shape of y for eight grey pictures, 16 kernels of 3 × 3, and stride 2 (the window moves two pixels
# at a time), with padding SAME.

# %%
rng = np.random.default_rng(0)
w = rng.standard_normal((3, 3, 1, 16), dtype=np.float32)
y, saved = ops.conv2d_forward(x[:8], w, stride=2, padding="SAME")
print(x[:8].shape, w.shape, "->", y.shape)
assert y.shape == (8, 14, 14, 16)

# %% [markdown]
# What does a feature map look like? Take four kernels that one can read. The first looks for light above dark, the
# second for light left of dark; the third is an average, and the fourth takes the average away from the pixel.
#
# **Predict.** Which of the four maps is nearly flat inside the boot?

# %%
down = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]]) / 4
kernels = np.stack([down, down.T, np.ones((3, 3)) / 9, np.pad([[1.0]], 1) - np.ones((3, 3)) / 9], axis=-1)
maps, _ = ops.conv2d_forward(boot[None] / 255, kernels[:, :, None, :])  # [1, 28, 28, 4]

figure, axes = plt.subplots(1, 5, figsize=(10, 2.2), layout="constrained")
axes[0].imshow(boot[:, :, 0])
axes[0].set_title("x", fontsize=9)
for k, name in enumerate(("edges, horizontal", "edges, vertical", "mean", "pixel - mean")):
    axes[1 + k].imshow(maps[0, :, :, k], cmap="RdBu_r", vmin=-1, vmax=1)
    axes[1 + k].set_title(f"y[..., {k}]: {name}", fontsize=9)
for axis in axes:
    axis.set_axis_off()

# %% [markdown]
# Red is positive, blue negative, white zero. The two edge kernels and the last one are white wherever the boot is
# evenly bright: their weights sum to zero, so they see only changes. Nobody writes kernels by hand for a ResNet; they
# are learnt, and the first layer learns many like these.
#
# ## How large is a feature map?
#
# There are n pixels along one axis, a kernel of k, a stride of s. Three rules, and no others:
#
# | padding | zeros around | output |
# |---|---|---|
# | VALID | none | $\lfloor (n - k)/s \rfloor + 1$ |
# | SAME | as many as are needed | $\lceil n/s \rceil$ |
# | explicit | p, before and after together | $\lfloor (n + p - k)/s \rfloor + 1$ |
#
# The first and third count how often the window can be moved before it falls off the end. SAME is defined by its
# result: with stride 1 the output is as large as the input, and the kernel does not matter at all.
#
# **Predict** before you run: n = 28, k = 3, s = 2 for VALID and for SAME; then n = 29.


# %%
def output_size(n, k, s, padding):
    """n pixels, a kernel of k, a stride of s; padding "SAME", "VALID" or a number of zeros"""
    if padding == "SAME":
        return -(-n // s)  # ceil
    return (n + (0 if padding == "VALID" else padding) - k) // s + 1


print("n   VALID  SAME   (k = 3, s = 2)")
for n in (28, 29):
    print(n, f"{output_size(n, 3, 2, 'VALID'):5d} {output_size(n, 3, 2, 'SAME'):5d}")

for n in range(7, 40):
    for k in (1, 2, 3, 7):
        for s in (1, 2, 3):
            tall, narrow = np.zeros((1, n, 9, 1)), np.zeros((k, 1, 1, 1))
            for padding in ("SAME", "VALID"):
                assert ops.conv2d_forward(tall, narrow, (s, 1), 1, padding)[0].shape[1] == output_size(n, k, s, padding)

# %% [markdown]
# Both SAME and VALID round, in different directions. For a chain of layers, go through them one by one; rounding once
# at the end is wrong.
#
# ## Through a whole ResNet
#
# Now let a boot of 224 × 224 pixels go through ResNet-50. The weights are random, nothing is trained. That does not
# matter for shapes.
#
# These are its layers with a stride. Every one halves, with ceil: `conv1` (7 × 7), `pool1` (3 × 3), the last units of
# `block1`, `block2` and `block3`. `block4` has none.
#
# **Predict** the side of the map after each: 224 → ? → ? → ? → ? → ? → ?

# %%
from tinyresnet.resnet_v2 import resnet_v2_50

large, _ = ops.resize_bilinear_forward((boot[None] / 255).astype(np.float32), (224, 224))
large = np.repeat((large - mean) / std, 3, axis=-1)  # [1, 224, 224, 3]
variables = tinyresnet.Variables(seed=0)
logits, end_points, _ = resnet_v2_50(large, num_classes=10, is_training=False, variables=variables)

stages = ("conv1", "block1", "block2", "block3", "block4")
print(f"{'images':12}{str(large.shape):>22}{large.size:>12,} numbers")
for stage in stages:
    map_ = end_points[f"resnet_v2_50/{stage}"]
    print(f"{stage:12}{str(map_.shape):>22}{map_.size:>12,} numbers")
print(f"{'global_pool':12}{str(end_points['global_pool'].shape):>22}{end_points['global_pool'].size:>12,} numbers")
print(f"{'logits':12}{str(logits.shape):>22}{logits.size:>12,} numbers")

# %% [markdown]
# 224 → 112 → 56 → 28 → 14 → 7 → 7. (`pool1`, the 56, is no end point, so the table does not show it.) From block1 to
# block3 the side halves and the channels double each time, so the map holds half as many numbers as before. At the
# end the 49 places are averaged, and what remains of the picture is 2048 numbers.
#
# Is anything of the boot left, with random weights? **Predict**: in which of these maps would you still know it for a
# boot?

# %%
figure, axes = plt.subplots(1, 6, figsize=(11, 2.2), layout="constrained")
axes[0].imshow(large[0, :, :, 0])
axes[0].set_title("images 224x224", fontsize=9)
for axis, stage in zip(axes[1:], stages, strict=True):
    map_ = end_points[f"resnet_v2_50/{stage}"][0].std(-1)  # over the channels
    axis.imshow(map_)
    axis.set_title(f"{stage} {map_.shape[0]}x{map_.shape[1]}", fontsize=9)
for axis in axes:
    axis.set_axis_off()

# %% [markdown]
# The pictures show the spread over the channels at each place. Convolutions keep what is near near, so even random
# weights show a boot, only coarser and coarser. That is what "feature map" means: it is still a map.
#
# ## Where are the weights, and where the numbers they work on?
#
# A layer has KH · KW · C · K weights, however large the picture is. Its map has OH · OW · K numbers, however large
# the kernel is. The first grows with the square of the channels, the second shrinks with the square of the side.
#
# **Predict.** Which block has the most weights? Which one holds the most numbers of feature maps?

# %%
weights = {
    stage: sum(variables[name].size for name in variables.trainable if name.startswith(f"resnet_v2_50/{stage}/"))
    for stage in stages
}
units = {stage: [m.size for name, m in end_points.items() if f"/{stage}/" in name] for stage in stages[1:]}
held = {"conv1": end_points["resnet_v2_50/conv1"].size} | {stage: sum(sizes) for stage, sizes in units.items()}

figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
at = np.arange(len(stages))
axis.bar(at - 0.2, [weights[s] / 1e6 for s in stages], 0.38, color=VERMILION, label="weights")
axis.bar(
    at + 0.2,
    [held[s] / 1e6 for s in stages],
    0.38,
    color=BLUE,
    hatch="//",
    edgecolor="white",
    label="numbers in maps, 1 image",
)
axis.set_xticks(at, stages)
axis.set_ylabel("millions")
axis.legend(frameon=False)
print({stage: f"{count:,}" for stage, count in weights.items()})
assert max(weights, key=weights.get) == "block4" and max(held, key=held.get) == "block1"

# %% [markdown]
# They are in opposite corners. The weights sit at the end, where there are many channels; memory for a batch of
# pictures is spent at the beginning, where the maps are large. So a larger batch costs memory in `block1`, while a
# larger file of weights comes from `block4`.
#
# ## What has a pixel seen?
#
# A number deep in the net depends on a window of the picture, its *receptive field*. One can measure it without any
# theory: change one pixel, and look whether the number changes. To try every pixel at once we make a batch: copy k of
# the picture has pixel k changed.
#
# We stack three 3 × 3 convolutions with stride 1, and then the same with stride 2 in the first one, and watch the
# place in the middle of each map.
#
# **Predict.** How many pixels wide is the window that the middle place has seen after 1, 2 and 3 layers of stride 1?
# And with the stride of 2?


# %%
def seen(strides, size=21):
    """for each layer: which pixels [size, size] of the picture move the middle place of its map"""
    generator, fields = np.random.default_rng(1), []
    plain = generator.standard_normal((1, size, size, 1))
    changed = plain + np.eye(size * size).reshape(-1, size, size, 1)  # [size*size, size, size, 1]
    for stride in strides:
        w = generator.standard_normal((3, 3, 1, 1))
        plain, changed = (ops.conv2d_forward(net, w, stride, 1, ((1, 1), (1, 1)))[0] for net in (plain, changed))
        middle = plain.shape[1] // 2
        difference = changed[:, middle, middle, 0] - plain[0, middle, middle, 0]
        fields.append(abs(difference).reshape(size, size) > 1e-9)
    return fields


figure, axes = plt.subplots(2, 3, figsize=(6.4, 4.4), layout="constrained")
for row, strides in zip(axes, ((1, 1, 1), (2, 1, 1)), strict=True):
    for k, (axis, field) in enumerate(zip(row, seen(strides), strict=True)):
        axis.imshow(field, cmap="Blues", vmin=0, vmax=1.3)
        axis.set_title(f"strides {strides[: k + 1]}: {field.any(0).sum()} pixels", fontsize=9)
        axis.set(xticks=[], yticks=[])
assert [field.any(0).sum() for field in seen((1, 1, 1))] == [3, 5, 7]
assert [field.any(0).sum() for field in seen((2, 1, 1))] == [3, 7, 11]

# %% [markdown]
# 3, 5, 7: each layer of 3 × 3 adds a ring of one pixel. With the stride it is 3, 7, 11: after a stride of 2,
# neighbours of the map are two pixels of the picture apart, so each further layer adds a ring of two.
#
# Two numbers are enough to keep account, and both begin at 1:
#
# $$\text{size} \leftarrow \text{size} + (k - 1) \cdot \text{rate} \cdot \text{jump}, \qquad \text{jump} \leftarrow \text{jump} \cdot s$$
#
# `jump` is how many pixels of the picture lie between neighbours of the map; `rate` is 1 except in atrous
# convolutions (notebook 09).
#
# **Predict** size and jump after `conv1` (7 × 7, stride 2), `pool1` (3 × 3, stride 2) and one more 3 × 3 with stride
# 1.

# %%
size, jump = 1, 1
for name, k, s in (("conv1", 7, 2), ("pool1", 3, 2), ("3x3", 3, 1)):
    size, jump = size + (k - 1) * jump, jump * s
    print(f"{name:6} sees {size:3d} pixels, neighbours are {jump} apart")
assert (size, jump) == (19, 4)

# %% [markdown]
# A place of the last map of ResNet-50 sees 483 × 483 pixels, more than a picture of 224 × 224 has: the rest is
# padding.
#
# ## Exercises
#
# Write the functions below and run the cells. `exercises.check` tries your function on several inputs and says what
# it thinks; as long as the stub raises, it says that nothing is written yet. `tinyresnet exercise show NAME` prints a
# task in the terminal.
#
# **feature_map_sizes.** Given the size of a picture along one axis and a list of layers, return the sizes of the map
# after each layer. A layer is `(kernel, stride, rate, padding)` with padding `"SAME"` or `"VALID"`. A kernel with a
# rate spans (kernel − 1) · rate + 1 pixels.

# %% tags=["exercise"]
from tinyresnet import exercises


def feature_map_sizes(size, layers):
    """size, [(kernel, stride, rate, padding), ...] -> [size after each layer]"""
    raise NotImplementedError("feature_map_sizes is not written yet")


exercises.check("feature_map_sizes", feature_map_sizes)

# %% [markdown]
# **receptive_field.** Given a list of `(kernel, stride, rate)`, return `(size, jump)`: how many pixels one number of
# the last map has seen along an axis, and how many pixels lie between neighbours.

# %% tags=["exercise"]
from tinyresnet import exercises


def receptive_field(layers):
    """[(kernel, stride, rate), ...] -> size, jump"""
    raise NotImplementedError("receptive_field is not written yet")


exercises.check("receptive_field", receptive_field)

# %% [markdown]
# ## What to read next
#
# - [Notebook 01](01_chain_rule.ipynb): the chain rule, and how to choose a step to check a derivative.
# - Sizes for which the corners of map and picture meet: [resnet_v2, Which image size for which
#   task](../docs/resnet_v2.md#which-image-size-for-which-task).
# - [The design](../docs/design.md) has the conventions of the whole project on one page.
