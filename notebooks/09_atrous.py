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
# # 09 · Atrous convolution: a denser map from the same weights
#
# **Goal.** After this notebook you can say what an atrous convolution sees, keep the account of stride and rate that
# `stack_blocks_dense` keeps, and show that a ResNet run at output stride 32, 16 or 8 computes the *same* numbers on the
# grid that the maps share.
#
# **You need** convolution forward (03), `conv2d_same` (04), and the bottleneck unit (08).

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
from tinyresnet import Variables, ops
from tinyresnet.data import fashion_mnist
from tinyresnet.data.scenes import scene
from tinyresnet.resnet_utils import Block, resnet_arg_scope, stack_blocks_dense
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block
from tinyresnet.slim import arg_scope

tinyresnet.set_backend("numpy")
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#777777"
rng = np.random.default_rng(9)

clothes, labels, _, _ = fashion_mnist()
picture, _ = scene(clothes, labels, np.random.default_rng(5), side=65)
image = (picture[None] / 255.0 - 0.3).astype(np.float64)  # [1, 65, 65, 1]
figure, axes = plt.subplots(figsize=(3, 3), layout="constrained")
axes.imshow(picture[:, :, 0], cmap="gray_r")
axes.set(xticks=[], yticks=[])
print(image.shape)

# %% [markdown]
# ## The problem
#
# A ResNet makes its map 32 times smaller than the picture. For *one* name a picture that is fine. But to say of every
# pixel what it belongs to, the last map of this picture has 3×3 pixels, and that is hopeless.
#
# One could leave out the strides. Then the later kernels, which were trained to see every fourth pixel, would see every
# one, a small corner of what they knew. All weights would be worthless.
#
# ## Holes, in one dimension
#
# An *atrous* convolution (from the French for "with holes") looks at every $r$-th number:
#
# $$y_i = \sum_k x_{i + r k}\, w_k .$$
#
# **Predict.** One way: drop every second number of $x$, then convolve with $w$. Other way: drop nothing, and convolve
# with rate 2. Which numbers do the two results have in common?

# %%
x = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
w = np.array([1.0, 10, 100])


def convolve(x, w, rate=1):
    """y[i] = sum_k x[i + rate k] w[k]"""
    n = len(x) - rate * (len(w) - 1)
    return sum(w[k] * x[rate * k : rate * k + n] for k in range(len(w)))


sparse = convolve(x[::2], w)
dense = convolve(x, w, rate=2)
print("stride 2, then rate 1:", sparse)
print("no stride, rate 2:    ", dense)
assert np.array_equal(dense[::2], sparse)

# %% [markdown]
# All of them. The dense result has the sparse one in it, at every second place, and between them new ones: what the
# same weights see from the places between.
#
# In two dimensions it is the same. On the left a map after a stride of 2; the kernel covers nine neighbours. On the
# right the map without the stride; the same kernel with rate 2 covers the *same* nine pixels (orange), and may now be
# put down on any of the others as well.

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.9), layout="constrained")
grid = np.stack(np.meshgrid(range(9), range(9)), -1).reshape(-1, 2)
for axis, kept, title in ((axes[0], 2, "stride 2, then rate 1"), (axes[1], 1, "no stride, rate 2")):
    on_map = (grid % kept == 0).all(1)
    axis.scatter(*grid[~on_map].T, s=14, color="#DDDDDD")
    axis.scatter(*grid[on_map].T, s=70, color=BLUE)
    seen = np.array([(4 + 2 * i, 4 + 2 * j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    axis.scatter(*seen.T, s=200, facecolors="none", edgecolors=ORANGE, linewidths=2.5)
    axis.set(title=f"{title}: {on_map.sum()} pixels", xticks=[], yticks=[], aspect="equal")

# %% [markdown]
# ## Two strides given up
#
# Three 3×3 convolutions that ask for strides 2, 2 and 1. We want the last map without any stride.
#
# **Predict.** Which rates do the three convolutions need? Careful with the first: it gives up its own stride, but what
# does *it* look at?

# %%
weights = [rng.standard_normal((3, 3, c, k)) / np.sqrt(9 * c) for c, k in ((1, 8), (8, 8), (8, 1))]


def run(x, strides, rates):
    for w, stride, rate in zip(weights, strides, rates, strict=True):
        x, _ = ops.conv2d_forward(x, w, stride=stride, rate=rate, padding=((rate, rate), (rate, rate)))
        x, _ = ops.relu_forward(x)
    return x


sparse = run(image, (2, 2, 1), (1, 1, 1))
for rates in ((1, 1, 1), (2, 4, 4), (1, 2, 4)):
    dense = run(image, (1, 1, 1), rates)
    difference = abs(dense[:, ::4, ::4] - sparse).max() / abs(sparse).max()
    print(f"rates {rates}: map {dense.shape[1:3]}, differs by {difference:.1e}")
assert difference < 1e-12

# %% [markdown]
# Rates 1, 2, 4. The first convolution moves by 1 instead of 2, but its neighbours are what they always were: **a rate
# grows only for what comes *after* the stride that was given up.** The tempting (2, 4, 4) is a different net: it runs,
# and gives nonsense.
#
# ## The account that `stack_blocks_dense` keeps
#
# `stack_blocks_dense` does this for a whole ResNet. Its units may be any function; so we give it one that computes
# nothing, and only writes down what stride and rate it is asked for.


# %%
def accountant(rows):
    def unit(net, depth, depth_bottleneck, stride, rate):
        net = net[:, ::stride, ::stride]
        rows.append((stride, rate, net.shape[1]))
        return net, lambda d: d

    return unit


def table(side, output_stride):
    """(stride, rate, side) of the 16 units of a ResNet-50 whose blocks get a map of this side"""
    rows, asked, blocks = [], [], []
    for block in resnet_50:
        blocks.append(Block(block.scope, accountant(rows), block.args))
        asked += [unit["stride"] for unit in block.args]
    stack_blocks_dense(np.zeros((1, side, side, 1)), blocks, output_stride)
    return asked, rows


resnet_50 = [
    resnet_v2_block(f"block{i + 1}", 64 * 2**i, units, stride=2 if i < 3 else 1) for i, units in enumerate((3, 4, 6, 3))
]

# %% [markdown]
# conv1 and pool1 have taken 4 already. So output stride 16 leaves 4 to the blocks, and on a 321×321 picture they begin
# with 81×81.
#
# **Predict.** Sixteen units ask for stride 2 in the 3rd, the 7th and the 13th. At output stride 16: which of them takes
# its stride? From which unit on is the rate 2?

# %%
asked, rows = table(81, output_stride=4)
print("unit      asks  takes  rate  side")
unit_names = [f"block{b + 1}/{u + 1}" for b, units in enumerate((3, 4, 6, 3)) for u in range(units)]
for name, wanted, (stride, rate, side) in zip(unit_names, asked, rows, strict=True):
    print(
        f"{name:<9}{wanted:>4}{stride:>7}{rate:>6}{side:>6}" + ("   <- gave up its stride" if stride < wanted else "")
    )
assert [rate for _, rate, _ in rows] == [1] * 13 + [2] * 3

# %% [markdown]
# Look at block3/6: it gives up its stride and its rate is still 1. The next unit is the first with rate 2. Here are all
# four output strides:

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for output_stride, colour, style in ((32, GREY, ":"), (16, BLUE, "-"), (8, ORANGE, "--"), (4, VERMILION, "-.")):
    _, rows = table(81, output_stride // 4)
    line = {"color": colour, "linestyle": style, "linewidth": 2.5, "label": f"output stride {output_stride}"}
    axes[0].step(range(1, 17), [side for _, _, side in rows], where="mid", **line)
    axes[1].step(range(1, 17), [rate for _, rate, _ in rows], where="mid", **line)
axes[0].set(xlabel="unit", ylabel="side of the map (picture 321)")
axes[1].set(xlabel="unit", ylabel="rate of conv2", yticks=[1, 2, 4, 8])
axes[1].legend(frameon=False)
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## The proof: one set of weights, three output strides
#
# TF-Slim's own test for this is called `testAtrousFullyConvolutionalValues`. Here it is, with a ResNet that is narrow
# but has everything: conv1, pool1, four blocks, eight units. First one training pass, so that batch norm's moving
# averages fit the picture; after that, inference.
#
# **Predict.** Which sides has the last map of our 65×65 scene at output stride 32, 16 and 8? And by how much will the
# shared pixels differ?

# %%
blocks = [
    resnet_v2_block(f"block{i + 1}", base_depth=2 * 2**i, num_units=2, stride=2 if i < 3 else 1) for i in range(4)
]
variables = Variables(seed=9)
with arg_scope(resnet_arg_scope(batch_norm_decay=0.0)):  # the averages are this picture's own
    resnet_v2(image, blocks, global_pool=False, variables=variables, is_training=True)


def net(output_stride, **options):
    return resnet_v2(
        image,
        blocks,
        global_pool=False,
        output_stride=output_stride,
        variables=variables,
        **{"is_training": False, **options},
    )


maps = {output_stride: net(output_stride)[0] for output_stride in (32, 16, 8, 4)}
for output_stride, dense in maps.items():
    step = 32 // output_stride
    difference = abs(dense[:, ::step, ::step] - maps[32]).max() / abs(maps[32]).max()
    print(
        f"output stride {output_stride:>2}: map {dense.shape[1:3]}, on the shared grid it differs by {difference:.1e}"
    )
    assert difference < 1e-10

# %%
channel = int(maps[32].std((0, 1, 2)).argmax())
figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), layout="constrained")
for axis, (output_stride, dense) in zip(axes, maps.items(), strict=True):
    step = 32 // output_stride
    axis.imshow(dense[0, :, :, channel], cmap="viridis", vmin=0, vmax=maps[4][..., channel].max())
    at = np.arange(3) * step
    axis.scatter(*np.meshgrid(at, at), s=90, facecolors="none", edgecolors=VERMILION, linewidths=2)
    axis.set(title=f"output stride {output_stride}", xticks=[], yticks=[])

# %% [markdown]
# The circled pixels are the same numbers in all four maps, to rounding. Not nearly the same: the same. A net that was
# trained to name pictures at output stride 32 can be run at 8, and it has been given 81 places to look from in the
# place of 9, for nothing but time.
#
# ## The view does not change
#
# How much of the picture does one pixel of the last map see? Put a gradient on that pixel alone, go back, and look
# where the gradient of the picture is not zero.
#
# **Predict.** At output stride 8 the strides are smaller. Is the view of the middle pixel smaller as well?


# %%
def view(output_stride):
    """d (middle pixel of the last map) / d picture"""
    last, _, back = net(output_stride, gradients=True)
    d = np.zeros_like(last)
    middle = last.shape[1] // 2
    d[0, middle, middle] = 1
    return back(d)


views = {output_stride: view(output_stride) for output_stride in (32, 16, 8)}
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.3), layout="constrained")
limit = abs(views[32]).max()
for axis, (output_stride, d) in zip(axes, views.items(), strict=True):
    axis.imshow(d[0, :, :, 0], cmap="RdBu_r", vmin=-limit / 2, vmax=limit / 2)
    axis.set(title=f"output stride {output_stride}", xticks=[], yticks=[])
    print(output_stride, "largest difference from 32:", f"{abs(d - views[32]).max() / limit:.1e}")
    assert abs(d - views[32]).max() < 1e-10 * limit

# %% [markdown]
# Not only as large: the whole gradient is the same, pixel for pixel. The middle pixel *is* the same function of the
# picture.
#
# ## Where it stops to hold
#
# **In training.** Batch norm then takes the mean over all pixels of the map, and a denser map has other pixels.
#
# **With TensorFlow's SAME and a stride, on an even side.** SAME pads (0, 1) there and not (1, 1), so the windows sit
# one pixel further on. That is why `conv2d_same` exists (notebook 04).
#
# **Predict.** Which of the two gives the larger difference?

# %%
sparse, dense = (net(output_stride, is_training=True)[0] for output_stride in (32, 8))
print(f"training: differs by {abs(dense[:, ::4, ::4] - sparse).max() / abs(sparse).max():.2f}")

even = image[:, :64, :64]
w = weights[0]
every, _ = ops.conv2d_forward(even, w, stride=1, padding="SAME")
same, _ = ops.conv2d_forward(even, w, stride=2, padding="SAME")
ours, _ = ops.conv2d_forward(even, w, stride=2, padding=((1, 1), (1, 1)))
print(f"SAME with a stride, even side: differs by {abs(every[:, ::2, ::2] - same).max() / abs(same).max():.2f}")
print(f"conv2d_same's padding: differs by {abs(every[:, ::2, ::2] - ours).max() / abs(ours).max():.2f}")
assert np.allclose(every[:, ::2, ::2], ours) and not np.allclose(every[:, ::2, ::2], same)

# %% [markdown]
# Both are large. The first is no mistake, but fine-tuning at another output stride is fine-tuning another net. The
# second is one, and a gradient check does not see it.
#
# ## What it costs
#
# **Predict.** How many times as many multiplications does a ResNet-50 take at output stride 8 as at 32? (Each halving
# gives four times the pixels, but only from there on.)


# %%
def multiplications(output_stride):
    """Of a ResNet-50, for one picture of 224x224"""
    total, before, depth_in = 112 * 112 * 7 * 7 * 3 * 64, 56, 64  # conv1
    _, rows = table(56, output_stride // 4)
    for (_, _, side), unit in zip(rows, [unit for block in resnet_50 for unit in block.args], strict=True):
        depth, narrow = unit["depth"], unit["depth_bottleneck"]
        total += before**2 * depth_in * narrow + side**2 * (9 * narrow**2 + narrow * depth)
        if depth != depth_in:
            total += side**2 * depth_in * depth  # the projection
        before, depth_in = side, depth
    return total, side


base, _ = multiplications(32)
for output_stride in (32, 16, 8, 4):
    total, side = multiplications(output_stride)
    print(
        f"output stride {output_stride:>2}: {side:>2}x{side:<2} map, {total / 1e9:5.1f} billion, {total / base:4.1f} times"
    )
assert round(base / 1e9, 1) == 3.5

# %% [markdown]
# So 16 is the usual compromise for segmentation, and 8 the luxury (Chen et al. 2017, DeepLab).
#
# ## Back to the size of the picture
#
# A map of 9×9 is not 65×65 yet. The last step is plain: bilinear interpolation, with the corners of the map laid on the
# corners of the picture. That they lie there is no accident: 65 = 8 · 8 + 1, and pixel $p$ of the map is centred on
# pixel $8p$ of the picture. Its backward pass is the transpose: each pixel of the map collects from the pixels that it
# was mixed into, with the same shares.
#
# **Predict.** Put a gradient of 1 on every pixel of the large map. What is the sum of the small one's gradient?

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), layout="constrained")
axes[0].imshow(picture[:, :, 0], cmap="gray_r")
axes[0].set(title="picture", xticks=[], yticks=[])
for axis, output_stride in zip(axes[1:], (32, 16, 8), strict=True):
    large, saved = ops.resize_bilinear_forward(maps[output_stride], (65, 65))
    axis.imshow(large[0, :, :, channel], cmap="viridis", vmin=0, vmax=maps[4][..., channel].max())
    axis.set(title=f"output stride {output_stride}, enlarged", xticks=[], yticks=[])
d_small = ops.resize_bilinear_backward(np.ones_like(large), saved)
print(f"{d_small[..., 0].sum():.1f} = 65 * 65")
assert np.isclose(d_small[..., 0].sum(), 65 * 65)

# %% [markdown]
# ## Exercises
#
# **The account.** `strides` is a list of what the units ask for, `output_stride` an integer or `None`. Return a list of
# pairs (stride, rate), one for each unit. Before `output_stride` is reached a unit gets its stride and rate 1. After
# that it gets stride 1 and the rate so far, and *then* the rate is multiplied. If the product of the strides passes
# `output_stride`, or never reaches it, raise `ValueError`; with `None` all strides are taken. Example:
# `stack_blocks_rates([1, 2, 2, 1], 2)` is `[(1, 1), (2, 1), (1, 1), (1, 2)]`.

# %% tags=["exercise"]
from tinyresnet import exercises


def stack_blocks_rates(strides, output_stride):
    """The strides that units ask for -> (stride, rate) of each"""
    raise NotImplementedError("stack_blocks_rates is not written yet")


exercises.check("stack_blocks_rates", stack_blocks_rates)

# %% [markdown]
# **The receptive field.** `layers` is a list of (kernel, stride, rate), the layer nearest to the picture first. Return
# two integers: the size of the patch of the picture that one pixel of the last map sees, along one axis, and the
# *jump*, by which the patches of two neighbours differ. Without layers: 1 and 1. Padding plays no part.

# %% tags=["exercise"]
from tinyresnet import exercises


def receptive_field(layers):
    """[(kernel, stride, rate), ...] -> size, jump"""
    raise NotImplementedError("receptive_field is not written yet")


exercises.check("receptive_field", receptive_field)

# %% [markdown]
# **An atrous convolution, forward.** Stride 1, padding SAME: $y$ is as large as $x$, so $(KH - 1) \cdot rate$ rows of
# zeros are needed in all, half of them (rounded down) on top, and columns likewise. By loops or tap by tap; return `y`
# [N, H, W, K].

# %% tags=["exercise"]
from tinyresnet import exercises


def atrous_conv2d(x, w, rate):
    """x [N, H, W, C], w [KH, KW, C, K] -> y [N, H, W, K]"""
    raise NotImplementedError("atrous_conv2d is not written yet")


exercises.check("atrous_conv2d", atrous_conv2d)

# %% [markdown]
# **Bilinear, backward.** For each picture and channel the forward pass is $y = A\, x\, B^T$, where row $p$ of $A$ holds
# the weights with which row $p$ of $y$ is mixed of the rows of $x$, and $B$ does the same for the columns. `saved.rows`
# is $A$ [OH, H], `saved.columns` is $B$ [OW, W], `saved.shape` the shape of x. Return `dx` [N, H, W, C].

# %% tags=["exercise"]
from tinyresnet import exercises


def resize_bilinear_backward(dy, saved):
    """dy [N, OH, OW, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("resize_bilinear_backward is not written yet")


exercises.check("resize_bilinear_backward", resize_bilinear_backward)

# %% [markdown]
# ## What to read next
#
# [stack_blocks_dense](../docs/resnet_utils.md#stack_blocks_dense) in the source notes has the account in six lines, and
# [the figure](../docs/figures/output_stride.svg) with every unit. Notebook 10 takes the whole ResNet-50, and holds it
# beside PyTorch.
