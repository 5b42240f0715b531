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
# # 10 · ResNet-50, layer by layer, against PyTorch
#
# **Goal.** After this notebook you can compare a whole net with another implementation so that the comparison says not
# only *that* something is wrong but *where*, forward and backward, and you know how much two right nets differ.
#
# **You need** the bottleneck unit (08), and `conv2d_same` (04). PyTorch need not be known: the twin below uses five of
# its functions.
#
# **PyTorch** is not part of `tinyresnet[notebooks]`, as it is large. Without it this notebook runs all the same; the
# comparisons then have nothing to compare with, and say so.

# %% tags=["setup"]
import importlib.util

missing = [name for name in ("tinyresnet", "numpy", "matplotlib") if importlib.util.find_spec(name) is None]
if missing:
    raise SystemExit(
        f'missing: {", ".join(missing)}. Run this in a cell, then restart the kernel:  %pip install "tinyresnet[notebooks]"'
    )

# %%
import math

import matplotlib.pyplot as plt
import numpy as np

import tinyresnet
from tinyresnet import Variables, ops
from tinyresnet.data import fashion_mnist
from tinyresnet.data.scenes import scene
from tinyresnet.resnet_utils import resnet_arg_scope
from tinyresnet.resnet_v2 import resnet_v2_50
from tinyresnet.slim import arg_scope

torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
print(
    "PyTorch",
    torch.__version__.split("+")[0] if torch else "is not there: the comparisons are left out (pip install torch)",
)

tinyresnet.set_backend("numpy")
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#777777"

clothes, kinds, _, _ = fashion_mnist()
scenes = [scene(clothes, kinds, np.random.default_rng(i), side=64)[0] for i in (3, 4)]
images = np.repeat(np.stack(scenes) / 255.0 - 0.3, 3, axis=-1)  # [2, 64, 64, 3] float64
labels = np.array([2, 7])
print(images.shape, images.dtype)

# %% [markdown]
# ## The net
#
# Root, four blocks of 3, 4, 6 and 3 units, postnorm, mean, logits. The first call creates all variables.
#
# **Predict.** The picture has a side of 64. Which sides do the maps have at the end of the four blocks? How many
# numbers does the net train: 2, 25 or 250 million?

# %%
variables = Variables(seed=10)
logits, end_points, _ = resnet_v2_50(images, num_classes=10, variables=variables, is_training=False)
for name in ("conv1", "block1", "block2", "block3", "block4", "logits"):
    print(f"{name:<8}{end_points[f'resnet_v2_50/{name}'].shape}")
print(
    len(end_points), "end points,", len(variables), "variables,", len(variables.trainable), "of them trained:", end=" "
)
print(f"{sum(variables[name].size for name in variables.trainable):,} numbers")

# %% [markdown]
# ### Zeros hide mistakes
#
# Fresh variables are a bad place for a comparison. All biases and all beta are 0, all gamma 1, all moving averages 0
# and 1.
#
# **Predict.** Name a mistake in batch norm that nobody can see with gamma = 1, beta = 0.


# %%
def shaken(variables, images, seed):
    """The same names, with values at which every one of them matters."""
    rng = np.random.default_rng(seed)
    store = Variables(variables)
    for name, value in variables.items():
        if name.endswith("/gamma"):
            store[name] = rng.uniform(0.5, 1.5, value.shape)
        elif name.endswith(("/beta", "/biases")):
            store[name] = 0.2 * rng.standard_normal(value.shape)
    with arg_scope(resnet_arg_scope(batch_norm_decay=0.0)):  # the moving averages become those of this batch
        resnet_v2_50(images, num_classes=10, variables=store, collect=False)
    return store


variables = shaken(variables, images, seed=1)
name = "resnet_v2_50/block1/unit_1/bottleneck_v2/preact"
print(
    "gamma",
    variables[f"{name}/gamma"][:3].round(2),
    " moving variance",
    variables[f"{name}/moving_variance"][:3].round(3),
)

# %% [markdown]
# To forget gamma or beta altogether, to swap mean and beta, to take the standard deviation for the variance: at 1 and 0
# all of these are right. Now none is.
#
# ## A twin
#
# The same net in PyTorch's functions, written from the papers and TF-Slim's source, not from ours. It takes *our*
# variables, by name. Four things differ:
#
# | | here and in TensorFlow | PyTorch |
# |---|---|---|
# | images | [N, H, W, C] | [N, C, H, W] |
# | weights | [KH, KW, C, K] | [K, C, KH, KW] |
# | padding | SAME, or four numbers | the same number before and after |
# | pool1 | SAME: (0, 1) on an even side | has to be padded by hand, with $-\infty$ |


# %%
class Twin:
    """resnet_v2_50 in PyTorch; end_points: name -> tensor [N, C, H, W]."""

    def __init__(self, variables, is_training=False):
        self.is_training, self.end_points = is_training, {}
        self.v = {name: torch.tensor(value, requires_grad="moving_" not in name) for name, value in variables.items()}

    def keep(self, name, x):
        self.end_points[name] = x
        return x

    def conv(self, x, scope, stride=1, pad=0):
        weights = self.v[f"{scope}/weights"].permute(3, 2, 0, 1)
        return torch.nn.functional.conv2d(x, weights, self.v.get(f"{scope}/biases"), stride, pad)

    def norm_relu(self, x, scope):
        mean, var, gamma, beta = (
            self.v[f"{scope}/{leaf}"] for leaf in ("moving_mean", "moving_variance", "gamma", "beta")
        )
        x = torch.nn.functional.batch_norm(x, mean, var, gamma, beta, self.is_training, 0.003, 1e-5)
        return torch.relu(x)

    def unit(self, x, scope, depth, stride):
        preact = self.norm_relu(x, f"{scope}/preact")
        if x.shape[1] == depth:
            shortcut = x[:, :, ::stride, ::stride]
        else:
            shortcut = self.keep(f"{scope}/shortcut", self.conv(preact, f"{scope}/shortcut", stride))
        y = self.keep(f"{scope}/conv1", self.norm_relu(self.conv(preact, f"{scope}/conv1"), f"{scope}/conv1/BatchNorm"))
        y = self.conv(y, f"{scope}/conv2", stride, 1)
        y = self.keep(f"{scope}/conv2", self.norm_relu(y, f"{scope}/conv2/BatchNorm"))
        y = self.keep(f"{scope}/conv3", self.conv(y, f"{scope}/conv3"))
        return self.keep(scope, shortcut + y)

    def __call__(self, images):
        net, name = torch.as_tensor(images).permute(0, 3, 1, 2), "resnet_v2_50"
        net = self.keep(f"{name}/conv1", self.conv(net, f"{name}/conv1", 2, 3))
        net = torch.nn.functional.pad(net, (0, 1, 0, 1), value=-math.inf)
        net = torch.nn.functional.max_pool2d(net, 3, 2)
        for block, units in enumerate((3, 4, 6, 3), start=1):
            for i in range(1, units + 1):
                stride = 2 if i == units and block < 4 else 1  # the last unit has the stride
                net = self.unit(net, f"{name}/block{block}/unit_{i}/bottleneck_v2", 128 * 2**block, stride)
            net = self.keep(f"{name}/block{block}", net)
        net = self.norm_relu(net, f"{name}/postnorm")
        net = self.keep("global_pool", net.mean((2, 3), keepdim=True))
        return self.keep(f"{name}/logits", self.conv(net, f"{name}/logits"))[:, :, 0, 0]


def twin_end_points(images, variables):
    """name -> [N, H, W, C], in inference; nothing without PyTorch"""
    if torch is None:
        return {}
    twin = Twin(variables)
    with torch.no_grad():
        twin(images)
    return {name: x.permute(0, 2, 3, 1).numpy() for name, x in twin.end_points.items()}


# %% [markdown]
# ## Forward, end point by end point
#
# The error of an end point is the largest difference, divided by the largest number there. (Entry by entry would not
# do: next to a zero every error is infinite.)
#
# **Predict.** In float32 a number has 7 digits, in float64 16. How large are the errors after one layer, and after 50?
# Does each layer double them?


# %%
def errors(mine, theirs):
    """end point -> largest difference / largest number"""
    return {name: float(abs(mine[name] - x).max() / abs(x).max()) for name, x in theirs.items()}


single = Variables({name: value.astype(np.float32) for name, value in variables.items()})
found = {}
for dtype, store in (("float32", single), ("float64", variables)):
    x = images.astype(dtype)
    theirs = twin_end_points(x, store)
    _, mine, _ = resnet_v2_50(x, num_classes=10, variables=store, is_training=False)
    found[dtype] = errors(mine, theirs)


def mark_blocks(axes, names):
    """A line at the end of each block."""
    for k in range(1, 5):
        if f"resnet_v2_50/block{k}" in names:
            at = names.index(f"resnet_v2_50/block{k}")
            axes.axvline(at, color="#CCCCCC", zorder=0)
            axes.annotate(f"block{k}", (at, 0.97), xycoords=("data", "axes fraction"), ha="right", va="top", color=GREY)


figure, axes = plt.subplots(figsize=(9, 3.4), layout="constrained")
for dtype, colour, style in (("float32", VERMILION, "--"), ("float64", BLUE, "-")):
    axes.semilogy(list(found[dtype].values()), color=colour, linestyle=style, linewidth=2, label=dtype)
mark_blocks(axes, list(found["float64"]))
axes.set(xlabel="end point, from the picture to the logits", ylabel="largest error / largest number")
axes.set_ylim(1e-17, 1)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="center right")
print(len(found["float64"]), "end points compared", {d: f"{max(e.values(), default=0):.0e}" for d, e in found.items()})
assert max(found["float64"].values(), default=0) < 1e-12 and max(found["float32"].values(), default=0) < 1e-3

# %% [markdown]
# It grows, but slowly: fifty layers, added up in another order by another library, cost two digits. If each layer
# doubled the error, it would be $2^{50}$, and nothing would be left. Rounding errors have random signs, so they mostly
# cancel; and batch norm keeps all numbers at about 1.
#
# So there is an enormous gap between right (1e-13) and wrong. Nobody who compares in float64 has to argue about
# tolerances.
#
# ## Where is the mistake?
#
# Now three nets with one mistake each:
#
# * **A**: the strided 3×3 convolutions use TensorFlow's SAME in the place of `conv2d_same`;
# * **B**: batch norm has epsilon 0.001, TF-Slim's bare default, in the place of 0.00001;
# * **C**: somebody converted one weight wrongly: the kernel of block3/unit_4/conv2 is mirrored.
#
# **Predict.** For each: the name of the *first* end point that is wrong. Then look whether the curve can be read
# backwards, from its first leap to the mistake.


# %%
def same_when_strided(x, w, stride=1, rate=1, padding="SAME"):
    if stride == 2 and w.shape[0] == 3:
        padding = "SAME"
    return ops.conv2d_forward(x, w, stride=stride, rate=rate, padding=padding)


def large_epsilon(x, gamma, beta, mean, var, epsilon=1e-5):
    return ops.batch_norm_inference_relu_forward(x, gamma, beta, mean, var, epsilon=1e-3)


mirrored = Variables(variables)
name = "resnet_v2_50/block3/unit_4/bottleneck_v2/conv2/weights"
mirrored[name] = variables[name][:, ::-1]

theirs = twin_end_points(images, variables)
planted = {
    "A": ({"conv2d_forward": same_when_strided}, variables, VERMILION, "--"),
    "B": ({"batch_norm_inference_relu_forward": large_epsilon}, variables, GREEN, "-."),
    "C": ({}, mirrored, BLUE, "-"),
}
figure, axes = plt.subplots(figsize=(9, 3.8), layout="constrained")
first_wrong = {}
for letter, (overrides, store, colour, style) in planted.items():
    with tinyresnet.use(**overrides):
        _, mine, _ = resnet_v2_50(images, num_classes=10, variables=store, is_training=False)
    curve = errors(mine, theirs)
    first_wrong[letter] = next((end_point for end_point, error in curve.items() if error > 1e-9), None)
    axes.semilogy(list(curve.values()), color=colour, linestyle=style, linewidth=2, label=letter)
mark_blocks(axes, list(theirs))
axes.set(xlabel="end point, from the picture to the logits", ylabel="largest error / largest number")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="lower right")
for letter, end_point in first_wrong.items():
    print(letter, end_point)
assert not theirs or first_wrong["C"].endswith("block3/unit_4/bottleneck_v2/conv2")

# %% [markdown]
# Each curve lies on the floor until the mistake, and then leaps by ten orders of magnitude. The name of the first wrong
# end point says it all: A begins at the first strided conv2 (block1/unit_3), and only there; B at the very first batch
# norm; C at the very kernel.
#
# Had we compared the logits alone, all three would have looked alike: wrong. And see how small B begins: one per cent.
# Such a net still names pictures, only a bit worse, and nobody is told.
#
# ## Backward, variable by variable
#
# Training mode now: batch norm by the batch, loss, and `back`. 174 gradients are compared with those that PyTorch's
# tape finds.
#
# **Predict.** `back` fills the gradients from the logits to conv1. If there were a mistake in batch norm's backward
# pass, which gradients would still be right? And a riddle: 21 of the 174 gradients are *zero*. Which, and why?


# %%
def our_gradients(**overrides):
    """name -> gradient, of one training step in float64"""
    store = Variables(variables)
    with tinyresnet.use(**overrides):
        logits, _, back = resnet_v2_50(images, num_classes=10, variables=store, collect=False, input_gradient=False)
        _, saved = ops.softmax_cross_entropy_forward(logits, labels)
        back(ops.softmax_cross_entropy_backward(1.0, saved))
    return store.gradients, store


def twin_gradients():
    if torch is None:
        return {}, {}
    twin = Twin(variables, is_training=True)
    torch.nn.functional.cross_entropy(twin(images), torch.as_tensor(labels)).backward()
    gradients = {name: t.grad.numpy() for name, t in twin.v.items() if t.grad is not None}
    return gradients, {name: t.numpy() for name, t in twin.v.items() if "moving_" in name}


def without_variance(dy, saved):
    _, dgamma, dbeta = ops.batch_norm_backward(dy, saved)
    return saved.gamma * saved.inv_std * (dy - dy.mean((0, 1, 2))), dgamma, dbeta


theirs, their_averages = twin_gradients()
ours, store = our_gradients()
wrong, _ = our_gradients(batch_norm_backward=without_variance)
scale = max((abs(d).max() for d in theirs.values()), default=1.0)
zero = [name for name, d in theirs.items() if abs(d).max() < 1e-10 * scale]
assert all(abs(ours[name]).max() < 1e-10 * scale for name in zero)
theirs = {name: d for name, d in theirs.items() if name not in zero}
order = [name for name in reversed(list(ours)) if name in theirs]  # from conv1 to the logits
right_errors, wrong_errors = errors(ours, theirs), errors(wrong, theirs)
figure, axes = plt.subplots(figsize=(9, 3.6), layout="constrained")
axes.semilogy(
    [wrong_errors[name] for name in order], ".", color=VERMILION, label="batch norm's variance term forgotten"
)
axes.semilogy([right_errors[name] + 1e-18 for name in order], ".", color=BLUE, label="right")
axes.set(xlabel="variable, from conv1 to the logits", ylabel="largest error / largest gradient", ylim=(1e-19, 100))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, loc="center left")
print(len(order), "gradients compared, largest error", f"{max(right_errors.values(), default=0):.0e}")
still_right = [name for name in order if wrong_errors[name] < 1e-9]
print(f"{len(zero)} gradients are zero in both nets:", *zero[:3], "...", sep="\n  ")
print("still right with the mistake:", *still_right, sep="\n  ")
assert max(right_errors.values(), default=0) < 1e-9 and len(still_right) == (4 if theirs else 0)

# %% [markdown]
# All agree. The 21 zeros are the biases of conv1, of the projections, and of every conv3: all but those of the logits.
# A bias moves a whole channel, and the next batch norm takes the mean away again, so a bias changes nothing, and has no
# gradient. (In inference it does count.) Without the largest gradient to divide by, "0 against 1e-19" would have looked
# like an error of 100 %.
#
# With the mistake, four are right: those of the logits, and postnorm's own gamma and beta. The first wrong gradients
# *on the way back* are those just before postnorm. So a backward comparison is read from the right to the left, and it
# points at the op after the first wrong one: here at the $dx$ of a batch norm.
#
# This mistake is worth a second look: a net trained with it *learns*, see notebook 11.
#
# ### What has no gradient
#
# The moving averages have none, so no gradient check sees them. They are compared by value: 0.997 of the old, 0.003 of
# the batch's, and the variance is the *unbiased* one.

# %%
worst = max((float(abs(store[name] - value).max()) for name, value in their_averages.items()), default=0.0)
print(len(their_averages), "moving averages compared, largest difference", f"{worst:.0e}")
assert worst < 1e-9

# %% [markdown]
# ## What such a comparison is worth
#
# * It is as good as the twin is *independent*. Whoever copies his own misunderstanding into both sees no difference.
#   The tests of this project therefore also hold numbers that TF-Slim itself has computed.
# * It needs values at which everything matters (no zeros and ones), sides that are even *and* odd, and a batch of more
#   than one.
# * In float32 a gradient may differ much more: where ReLU's input is within a rounding of zero, one net lets the
#   gradient pass, and the other does not. Compare in float64 first.
#
# ## Exercises
#
# Two ops with a mistake each: somebody's convolution and somebody's batch norm, backward. You have the numbers that a
# check shows, and the source. First see *what* is wrong, then read.

# %%
import inspect

from tinyresnet.exercises.catalogue import find_the_bug_batch_norm as batch_norm_bug
from tinyresnet.exercises.catalogue import find_the_bug_convolution as convolution_bug

print(inspect.getsource(convolution_bug.wrong_conv2d_backward))
print(inspect.getsource(batch_norm_bug.suspect))

# %% [markdown]
# **The convolution.** A net that uses `wrong_conv2d_backward` trains well on pictures of 225×225 pixels, and worse than
# it should on 224×224. With the padding of `conv2d_same` no gradient check finds anything; with SAME and stride 2 it
# does. Return the name of the mistake, and the right `dx` and `dw`. The name is one of `"kernel_flipped"`,
# `"weights_not_transposed"`, `"kh_kw_swapped"`, `"overlaps_overwritten"`, `"stride_ignored"`, `"rate_ignored"`,
# `"crop_on_the_wrong_side"`, `"dw_batch_mean"`.

# %% tags=["exercise"]
from tinyresnet import exercises


def find_the_bug_convolution(dy, saved):
    """dy [N, OH, OW, K] -> name of the bug, dx [N, H, W, C], dw [KH, KW, C, K]"""
    raise NotImplementedError("find_the_bug_convolution is not written yet")


exercises.check("find_the_bug_convolution", find_the_bug_convolution)

# %% [markdown]
# **Batch norm.** This one was written for a dense layer, where it passed every test; in a convolutional net it does not
# train as it should. Return the name of the mistake and the right `dx` [..., C], `dgamma` [C], `dbeta` [C]. The name is
# one of `"mean_term_forgotten"`, `"variance_term_forgotten"`, `"gamma_forgotten"`, `"inv_std_forgotten"`,
# `"unbiased_variance"`, `"dgamma_of_x"`, `"pixels_not_counted"`, `"channels_counted"`.

# %% tags=["exercise"]
from tinyresnet import exercises


def find_the_bug_batch_norm(dy, saved):
    """dy [..., C] -> the name of suspect's mistake, and the right dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("find_the_bug_batch_norm is not written yet")


exercises.check("find_the_bug_batch_norm", find_the_bug_batch_norm)

# %% [markdown]
# **A small one: squeeze.** At its end the net makes [N, C] of its logits [N, 1, 1, C]. `saved.shape` is (N, 1, 1, C).
# Return `dx`; a view of `dy` is fine.

# %% tags=["exercise"]
from tinyresnet import exercises


def squeeze_backward(dy, saved):
    """dy [N, C] -> dx [N, 1, 1, C]"""
    raise NotImplementedError("squeeze_backward is not written yet")


exercises.check("squeeze_backward", squeeze_backward)

# %% [markdown]
# ## What to read next
#
# [tests/nets/torch_twin.py](../tests/nets/torch_twin.py) is this twin for every net of the family and every output
# stride. [The table of TF-Slim's functions](../docs/tf_slim_map.md) has what differs from TF-Slim, and why. Notebook 11
# trains a net.
