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
# # 08 · The pre-activation bottleneck: where gradients add
#
# **Goal.** After this notebook you can write the residual unit of ResNet v2 and its backward pass from the ops, say at
# which two places gradients add, and show with numbers why the shortcut must be an identity.
#
# **You need** pullbacks (02), and to know what convolution (03, 05), batch norm (06) and ReLU (07) do. How their
# backward passes work is not needed: we only call them.

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
from tinyresnet.resnet_utils import resnet_arg_scope
from tinyresnet.resnet_v2 import bottleneck
from tinyresnet.slim import arg_scope, variable_scope

tinyresnet.set_backend("numpy")
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#777777"
rng = np.random.default_rng(8)

images, _, _, _ = fashion_mnist()
pictures = images[:8] / 255.0  # [8, 28, 28, 1]
first = rng.standard_normal((3, 3, 1, 16))
x, _ = ops.conv2d_forward(pictures, first, stride=2)  # [8, 14, 14, 16]: what a unit may get
x = x / x.std((0, 1, 2))
small = x[:2, 4:7, 4:7]  # for gradient checks
print(x.shape, small.shape, x.dtype)

# %% [markdown]
# ## Two rules
#
# **An addition hands its gradient to both sides, unchanged.** If $y = a + b$, then $da = dy$ and $db = dy$: whatever
# $a$ grows by, $y$ grows by.
#
# **A value that is used twice gets the sum of the gradients from both uses.** If $a$ and $b$ both depend on $x$, a
# small change of $x$ reaches $y$ on two ways, and the two changes add.
#
# The smallest residual unit is $y = x + \sin x$ with plain numbers.
#
# **Predict.** At $x = 0$, what is $dy/dx$? What would it be if one forgot one of the two ways?

# %%
x0, h = 0.0, 1e-5
numeric = ((x0 + h + np.sin(x0 + h)) - (x0 - h + np.sin(x0 - h))) / (2 * h)
through_shortcut, through_branch = 1.0, np.cos(x0)
print("numeric", round(numeric, 6), "  shortcut", through_shortcut, " branch", through_branch)
assert np.isclose(numeric, through_shortcut + through_branch)

# %% [markdown]
# The rest of this notebook is these two rules, with arrays in the place of numbers.
#
# ## The unit
#
# With $x$ the input, and $F$ the *residual branch*:
#
# $$y = \text{shortcut}(x) + F(x), \qquad F(x) = \text{conv3}(\text{conv2}(\text{conv1}(\text{preact}(x)))) .$$
#
# | step | what it is | channels |
# |---|---|---|
# | preact | batch norm, ReLU | C |
# | conv1 | 1×1 convolution, batch norm, ReLU | C / 4 |
# | conv2 | 3×3 convolution, batch norm, ReLU | C / 4 |
# | conv3 | 1×1 convolution, nothing after it | C |
#
# The 1×1 convolutions lead to few channels and back: the expensive 3×3 works in a *bottleneck*.
#
# **Predict.** How many weights has such a unit at C = 256, and how many have two plain 3×3 convolutions on 256
# channels?

# %%
narrow = 64
unit_weights = 256 * narrow + 9 * narrow * narrow + narrow * 256
plain_weights = 2 * 9 * 256 * 256
print(f"bottleneck {unit_weights:,}, two plain 3x3 {plain_weights:,}: {plain_weights / unit_weights:.0f} times as many")

# %% [markdown]
# ## Forward and back, by hand
#
# A layer returns its output and its pullback (notebook 02). Here are the two that we need, made from the op pairs.
# (They keep the gradient of $x$ only; those of the weights come out of the same calls, and are dropped here to keep the
# unit short.)


# %%
def norm_relu(x, gamma, beta):
    """x [N, H, W, C] -> y, back"""
    y, saved = ops.batch_norm_relu_forward(x, gamma, beta)
    return y, lambda dy: ops.batch_norm_relu_backward(dy, saved)[0]


def conv(x, w, stride=1):
    """x [N, H, W, C], w [KH, KW, C, K] -> y, back"""
    pad = (w.shape[0] - 1) // 2
    y, saved = ops.conv2d_forward(x, w, stride=stride, padding=((pad, pad), (pad, pad)))
    return y, lambda dy: ops.conv2d_backward(dy, saved)[0]


def draw_unit(c, depth, narrow, rng, fresh=False):
    """Weights of a unit from c to depth channels; fresh: gamma 1 and beta 0, as before the first step."""

    def weights(*shape):
        return rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[:-1]))

    def norm(c):
        if fresh:
            return np.ones(c), np.zeros(c)
        return rng.uniform(0.5, 1.5, c), 0.1 * rng.standard_normal(c)

    return {
        "preact": norm(c),
        "conv1": weights(1, 1, c, narrow),
        "norm1": norm(narrow),
        "conv2": weights(3, 3, narrow, narrow),
        "norm2": norm(narrow),
        "conv3": weights(1, 1, narrow, depth),
        "shortcut": weights(1, 1, c, depth),  # used only where depth != c
    }


# %% [markdown]
# Now the unit. Read `back` from the bottom of the forward pass to its top: it is the same lines in a mirror.
#
# **Predict.** Before you look at its last line: of which two numbers is $dx$ the sum?


# %%
def branch(preact, p):
    """conv1, conv2, conv3 -> F, and back to d_preact"""
    net, conv1_back = conv(preact, p["conv1"])
    net, norm1_back = norm_relu(net, *p["norm1"])
    net, conv2_back = conv(net, p["conv2"])
    net, norm2_back = norm_relu(net, *p["norm2"])
    net, conv3_back = conv(net, p["conv3"])

    def back(d):
        return conv1_back(norm1_back(conv2_back(norm2_back(conv3_back(d)))))

    return net, back


def identity_unit(x, p):
    preact, preact_back = norm_relu(x, *p["preact"])
    residual, branch_back = branch(preact, p)
    y = ops.add(x, residual)

    def back(dy):
        d_residual = d_shortcut = dy  # rule 1: an addition hands dy to both
        d_preact = branch_back(d_residual)
        return d_shortcut + preact_back(d_preact)  # rule 2: the two ways parted at x

    return y, back


p = draw_unit(16, 16, 4, rng)
report = check_gradients(lambda x: identity_unit(x, p), small, names=("x",))
print(report)
assert report.passed

# %% [markdown]
# ### What comes through the shortcut, what through the branch
#
# **Predict.** Put a gradient on one single pixel of $y$. On which pixels of $x$ does the shortcut put it? On which does
# the branch, with its one 3×3 convolution?

# %%
y, back = identity_unit(x, p)
dy = np.zeros_like(y)
dy[0, 7, 7, 3] = 1
whole = back(dy)
through_shortcut = dy
through_branch = whole - through_shortcut


def size(d):
    """[N, H, W, C] -> [H, W]: length over the channels, of picture 0"""
    return np.sqrt((d[0] ** 2).sum(-1))


figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.3), layout="constrained")
for axis, d, title in zip(
    axes,
    (through_shortcut, through_branch, whole),
    ("through the shortcut", "through the branch", "sum: dx"),
    strict=True,
):
    picture = axis.imshow(np.log10(size(d) + 1e-12), vmin=-6, vmax=0, cmap="magma")
    axis.set(title=title, xticks=[], yticks=[])
figure.colorbar(picture, ax=axes, label="log10 |gradient|", shrink=0.8)
far = size(through_branch)[0, 0]
print("in the corner, through the branch:", f"{far:.1e}", "  pixels with a gradient:", int((size(whole) > 0).sum()))
assert (size(through_shortcut) > 0).sum() == 1 and far > 0

# %% [markdown]
# The shortcut puts it where it came from, whole. The branch spreads it over 3×3 pixels, as one would expect. But look
# at the far pixels: they are not black, at about a thousandth. The batch norms' means tie every pixel of a channel to
# every other one, in all eight pictures. (In inference, where the averages are constants, the far pixels are exactly
# zero.)
#
# ### A unit that does nothing
#
# **Predict.** Set the weights of conv3 to zero. What is $y$? And what is $dx$?

# %%
nothing = {**p, "conv3": np.zeros_like(p["conv3"])}
y, back = identity_unit(x, nothing)
dy = rng.standard_normal(y.shape)
print(np.array_equal(y, x), np.array_equal(back(dy), dy))
assert np.array_equal(y, x) and np.array_equal(back(dy), dy)

# %% [markdown]
# An identity in both directions, to the last bit. A unit can learn to be nothing simply by small weights. A plain stack
# of three layers would have to *learn* the identity, which is hard; that was the point of residual learning (He et al.
# 2015).
#
# ## The other place: a projection
#
# Where the number of channels changes there can be no identity. A 1×1 convolution takes its place, and it reads
# **preact**, not $x$.
#
# **Predict.** The two ways part one step later now. Where do the gradients add?


# %%
def projection_unit(x, p):
    preact, preact_back = norm_relu(x, *p["preact"])
    shortcut, shortcut_back = conv(preact, p["shortcut"])
    residual, branch_back = branch(preact, p)
    y = ops.add(shortcut, residual)

    def back(dy):
        d_preact = shortcut_back(dy) + branch_back(dy)  # the two ways parted at preact
        return preact_back(d_preact)

    return y, back


wide = draw_unit(16, 32, 8, rng)
report = check_gradients(lambda x: projection_unit(x, wide), small, names=("x",))
print(projection_unit(x, wide)[0].shape, report.passed)
assert report.passed

# %% [markdown]
# In the picture: on the left they meet at the inputs, on the right at preact, and go through it together.
#
# ![The bottleneck unit, forward and back](../docs/figures/bottleneck.svg)
#
# ### Four mistakes
#
# These are the ones that people make. **Predict** for each: will the gradient check notice? What will the ratio of ours
# to the true gradient look like: 0, 2, or nothing simple?


# %%
def unit_with(mistake):
    def unit(x):
        preact, preact_back = norm_relu(x, *wide["preact"])
        shortcut, shortcut_back = conv(preact, wide["shortcut"])
        residual, branch_back = branch(preact, wide)

        def back(dy):
            if mistake == "shortcut forgotten":
                return preact_back(branch_back(dy))
            if mistake == "branch forgotten":
                return preact_back(shortcut_back(dy))
            if mistake == "added at x, not at preact":
                return shortcut_back(dy) + preact_back(branch_back(dy))
            if mistake == "dy halved between the two":
                return preact_back(shortcut_back(dy / 2) + branch_back(dy / 2))
            return preact_back(shortcut_back(dy) + branch_back(dy))

        return ops.add(shortcut, residual), back

    return unit


for mistake in (
    "none",
    "shortcut forgotten",
    "branch forgotten",
    "added at x, not at preact",
    "dy halved between the two",
):
    (found,) = check_gradients(unit_with(mistake), small).arguments
    print(f"{mistake:<28}{found.status:<8}error {found.error:.1e}  ratio {found.ours / found.numeric:.3f}")
    assert (found.status == "ok") == (mistake == "none")

# %% [markdown]
# All are noticed. Only the halved one has a ratio that says what it is: an addition does not *divide* its gradient
# among its two sides, it hands all of it to each. The others have left out, or led astray, something that is different
# at every pixel.
#
# ## Why the shortcut must be an identity
#
# Stack 32 units, and follow the gradient from the last to the first. With the identity, $x_{l+1} = x_l + F(x_l)$, so
#
# $$\frac{dE}{dx_l} = \frac{dE}{dx_L} \Big( 1 + \frac{d}{dx_l} \sum_{i=l}^{L-1} F(x_i) \Big) .$$
#
# The gradient of the last unit arrives at every earlier one whole: that is the 1. Without a shortcut it is a *product*
# of 32 factors.
#
# **Predict.** Three nets, with shortcut $x$, shortcut $x/2$, and no shortcut. By which factor does the size of the
# gradient change over 32 units: 1, 10, 1000, more?

# %%
depth = 32
units = [draw_unit(16, 16, 4, np.random.default_rng([8, i]), fresh=True) for i in range(depth)]


def run(factor):
    """The sizes of the gradient on its way back, shortcut = factor * x."""
    net, backs = x, []
    for q in units:
        preact, preact_back = norm_relu(net, *q["preact"])
        residual, branch_back = branch(preact, q)
        net = factor * net + residual
        backs.append((preact_back, branch_back))
    d = np.random.default_rng(0).standard_normal(net.shape)
    sizes = [np.sqrt((d**2).mean())]
    while backs:
        preact_back, branch_back = backs.pop()
        d = factor * d + preact_back(branch_back(d))
        sizes.append(np.sqrt((d**2).mean()))
    return np.array(sizes) / sizes[0]


figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
for factor, colour, style in ((1.0, BLUE, "-"), (0.5, ORANGE, "--"), (0.0, VERMILION, ":")):
    sizes = run(factor)
    axes.semilogy(
        sizes, color=colour, linestyle=style, linewidth=2.5, label=f"shortcut {factor:g} · x: × {sizes[-1]:,.0f}"
    )
axes.set(xlabel="units that the gradient has passed", ylabel="size of the gradient / at the start")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
assert run(1.0)[-1] < 200 and run(0.5)[-1] > 1e5

# %% [markdown]
# Straight lines on a logarithmic axis: a constant factor a unit, so a product. Perhaps you expected the gradient to
# *vanish*; with batch norm it explodes, since each batch norm divides it by the spread of its input. With the identity
# it grows too, but by a hundred and not by a million: the spread grows with each unit added, so that what a branch adds
# becomes smaller and smaller beside the 1.
#
# ## Why *pre*-activation
#
# ResNet v1 had a ReLU *after* the addition: $y = \max(x + F(x), 0)$. Let us follow only what the shortcuts carry,
# through 32 units of either kind, and see how much of it arrives.
#
# **Predict.** Half of the gates of a ReLU are shut, roughly. Does $2^{-32}$ of the gradient arrive?


# %%
def shares(after_addition):
    """The share of the gradient's entries that the shortcuts alone carry past 0, 1, 2, ... units"""
    net, gates = x, []
    for q in units:
        if after_addition:  # v1: conv1, conv2, conv3 with batch norm, then ReLU on the sum
            residual, _ = branch(net, q)
            residual, _ = ops.batch_norm_forward(residual, *q["preact"])
            net, _ = ops.relu_forward(net + residual)
            gates.append(net > 0)
        else:
            preact, _ = norm_relu(net, *q["preact"])
            net = net + branch(preact, q)[0]
            gates.append(np.ones(net.shape, bool))
    left, result = np.ones(net.shape, bool), [1.0]
    for gate in reversed(gates):
        left = left & gate
        result.append(float(left.mean()))
    return result


figure, axes = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
for after, name, colour, style in (
    (False, "v2: nothing after the addition", BLUE, "-"),
    (True, "v1: ReLU after the addition", VERMILION, "--"),
):
    axes.plot(np.array(shares(after)) * 100, color=colour, linestyle=style, linewidth=2.5, label=name)
axes.set(xlabel="units that the gradient has passed", ylabel="% of the entries that arrive", ylim=(0, 105))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
print(f"v1: {shares(True)[1]:.0%} after one unit, {shares(True)[-1]:.0%} after {depth}")
assert shares(False)[-1] == 1 and shares(True)[-1] < 0.6

# %% [markdown]
# Not as bad as $2^{-32}$: a number that was positive mostly stays positive, so the same gates are open again and again.
# But what is lost is lost for good, and it grows with depth. In v2 nothing stands in the way, so everything arrives.
# That is the whole difference between the two papers, and it is why ResNet v2 needs one more batch norm and ReLU at its
# very end (`postnorm`).
#
# ## With a stride
#
# The last unit of a block makes the map smaller: conv2 has stride 2, and the shortcut keeps every second pixel,
# `ops.subsample_forward`.
#
# **Predict.** Which share of the pixels of $x$ gets nothing through the shortcut?

# %%
kept, saved = ops.subsample_forward(x, 2)
dx = ops.subsample_backward(np.ones_like(kept), saved)
print("map", x.shape[1:3], "->", kept.shape[1:3], "  pixels with nothing:", float((dx == 0).mean()))
assert (dx == 0).mean() == 0.75

# %% [markdown]
# Three quarters are dropped, and get their gradient through the branch alone.
#
# ## The house's own unit
#
# `tinyresnet.resnet_v2.bottleneck` is TF-Slim's function, line by line, with `back` under it. It keeps its weights in a
# store, under TF-Slim's names. With our weights in that store it must give our numbers.

# %%
q = draw_unit(16, 16, 4, rng, fresh=True)
variables = tinyresnet.Variables({f"net/bottleneck_v2/{name}/weights": q[name] for name in ("conv1", "conv2", "conv3")})
with variable_scope("net", variables=variables), arg_scope(resnet_arg_scope()):
    theirs, their_back = bottleneck(x, depth=16, depth_bottleneck=4, stride=1)
ours, our_back = identity_unit(x, q)
dy = rng.standard_normal(ours.shape)
print("outputs agree:", np.allclose(ours, theirs), "  gradients agree:", np.allclose(our_back(dy), their_back(dy)))
for name in variables:
    print(f"  {name:<48}{variables[name].shape}")
d_weights = variables.gradients["net/bottleneck_v2/conv2/weights"]
assert np.allclose(ours, theirs) and d_weights.shape == (3, 3, 4, 4)

# %% [markdown]
# Now read [`bottleneck`](../tinyresnet/resnet_v2.py): nothing in it is new any more. (It has biases in conv3, which are
# zero here, and its running averages, which training does not read.) The [source
# notes](../docs/resnet_v2.md#bottleneck) have its shapes for every unit of a ResNet-50.
#
# ## Exercises
#
# **A unit's way back.** `conv3_back(d)` and so on take the gradient of a step's output to that of its input; each is
# good for one call (as in the house, where a pullback lets go of its activations). `projection` says where the shortcut
# leaves: at preact if it is `True`, at the inputs if it is `False`. Return `d_inputs` [N, H, W, C].

# %% tags=["exercise"]
from tinyresnet import exercises


def bottleneck_backward(d_output, preact_back, conv1_back, conv2_back, conv3_back, shortcut_back, projection):
    """d_output [N, H, W, C] -> d_inputs [N, H, W, C]"""
    raise NotImplementedError("bottleneck_backward is not written yet")


exercises.check("bottleneck_backward", bottleneck_backward)

# %% [markdown]
# **Subsample.** `saved.shape` is the shape of x, `saved.factor` the stride. `y = x[:, ::factor, ::factor]`. Return `dx`
# [N, H, W, C].

# %% tags=["exercise"]
from tinyresnet import exercises


def subsample_backward(dy, saved):
    """dy [N, ceil(H/f), ceil(W/f), C] -> dx [N, H, W, C]"""
    raise NotImplementedError("subsample_backward is not written yet")


exercises.check("subsample_backward", subsample_backward)

# %% [markdown]
# ## What to read next
#
# Notebook 09 stacks units to blocks, and keeps the map large by holes in the kernel. He et al. 2016, [Identity Mappings
# in Deep Residual Networks](https://arxiv.org/abs/1603.05027), is nine pages on what this notebook measured.
