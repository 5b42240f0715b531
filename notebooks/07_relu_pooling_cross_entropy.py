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
# # 07 · ReLU, pooling, cross-entropy
#
# **Goal.** After this notebook you can write the backward passes of the four small parts of a ResNet: ReLU, max pooling
# (ties included), global average pooling, and softmax with cross-entropy. You can also say of each *where* the gradient
# goes.
#
# **You need** the chain rule and pullbacks: notebooks 01 and 02. Convolution and batch norm are not needed, except for
# one line at the end.

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
from tinyresnet.data import FASHION_MNIST_CLASSES, fashion_mnist

tinyresnet.set_backend("numpy")
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#777777"
rng = np.random.default_rng(7)

images, labels, _, _ = fashion_mnist()
sandal = images[np.flatnonzero(labels == 5)[3]][None] / 255.0  # [1, 28, 28, 1]
print(FASHION_MNIST_CLASSES[5], sandal.shape, sandal.dtype)


def show(axes, array, title, limit=None):
    """[1, H, W, 1] as a picture; with a limit, blue is negative and red positive."""
    style = {"cmap": "gray_r", "vmin": 0} if limit is None else {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit}
    axes.imshow(array[0, :, :, 0], **style)
    axes.set(title=title, xticks=[], yticks=[])


# %% [markdown]
# ## ReLU: a gate for each number
#
# ReLU cuts off what is negative:
#
# $$y = \max(x, 0), \qquad dx = dy \cdot [x > 0].$$
#
# Each number has a gate of its own. The gate is open where $x > 0$; there the gradient passes unchanged. Elsewhere it
# is shut, and nothing passes, however large $dy$ is.
#
# We need something with negative numbers in it. So let us look for edges in a sandal with a small convolution, and put
# ReLU behind it.
#
# **Predict.** $dy$ will be random, half of it negative. Will there be negative numbers in $dx$? Will there be any in
# $dx$ where the picture of $y$ is white?

# %%
edge = np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])[:, :, None, None]  # [3, 3, 1, 1]
x, _ = ops.conv2d_forward(sandal, edge)
y, saved = ops.relu_forward(x)
dy = rng.standard_normal(y.shape)
dx = ops.relu_backward(dy, saved)

figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained")
show(axes[0], x, "x", limit=3)
show(axes[1], y, "y = max(x, 0)")
show(axes[2], dy, "dy", limit=3)
show(axes[3], dx, "dx", limit=3)
print("open gates:", round(float((x > 0).mean()), 2), "of all")
assert (dx < 0).any() and not dx[y == 0].any()

# %% [markdown]
# So $dx$ has negative numbers: ReLU cuts off negative *values*, not negative *gradients*. Whoever writes
# `np.maximum(dy, 0)` has mixed up the two. And what lies behind a shut gate gets nothing at all, which is most of this
# picture.
#
# A number that is shut for *every* picture gets no gradient ever again, so its weights never move: a dead ReLU. In a
# ResNet v2 batch norm stands in front of every ReLU and keeps about half of the gates open.
#
# ### At zero
#
# At $x = 0$ ReLU has a kink, and no derivative. By agreement it is taken as 0. A finite difference that steps across
# the kink is neither 0 nor 1.
#
# **Predict.** What does $(f(h) - f(-h)) / 2h$ give at $x = 0$?

# %%
for x0 in (-1.0, 0.0, 1.0):
    h = 1e-5
    print(f"x = {x0:4}: numeric {(max(x0 + h, 0) - max(x0 - h, 0)) / (2 * h):.2f}")


def rectifier(x):
    y, saved = ops.relu_forward(x)
    return y, lambda dy: ops.relu_backward(dy, saved)


report = check_gradients(rectifier, np.array([-1.0, 0.0, 1e-7, 2.0]), mode="full")
print(report.passed, "kinks left out:", report.arguments[0].kinks)
assert report.passed and report.arguments[0].kinks == 2

# %% [markdown]
# One half: a number that is wrong for every choice. So the gradient check notices kinks, leaves them out, and says how
# many ([Is this backward pass right?](../docs/gradcheck.md#kinks)).
#
# ## Max pooling: the winner takes all
#
# The output is the largest number in each window,
#
# $$y_{pq} = \max_{i,j}\; x_{ps+i,\;qs+j} .$$
#
# Only the winner matters: if a loser grows a little, $y$ does not change. So the gradient of each window goes to its
# winner, whole. A pixel that wins in several windows (they overlap if the kernel is larger than the stride) gets the
# sum.
#
# **Predict.** Pool the 28×28 sandal with 3×3 windows and stride 2 to 14×14, and let $dy$ be 1 everywhere. What is the
# sum of $dx$? And where does the gradient go in the black background, in which all pixels are equally large?

# %%
y, saved = ops.max_pool2d_forward(sandal, 3, stride=2, padding="SAME")
dy = np.ones_like(y)
dx = ops.max_pool2d_backward(dy, saved)

figure, axes = plt.subplots(1, 3, figsize=(10, 3.6), layout="constrained")
show(axes[0], sandal, "x, 28×28")
show(axes[1], y, "y, 14×14")
show(axes[2], dx, "dx for dy = 1")
axes[2].contour(sandal[0, :, :, 0] > 0, levels=[0.5], colors=[BLUE], linewidths=1)
print(
    "sum of dy",
    dy.sum(),
    " sum of dx",
    dx.sum(),
    " pixels that get something:",
    int((dx > 0).sum()),
    " at most:",
    dx.max(),
)
assert dx.sum() == dy.sum()

# %% [markdown]
# The sum is kept: each of the 196 windows hands on exactly what it got. In the background (outside the blue line) the
# gradient lies on a regular grid: where all are equal, the *first* in row order wins, at the upper left of its window.
# Inside the sandal a few bright pixels win up to four windows at once (black).
#
# ### Ties
#
# Now the tempting one-liner: "the gradient goes to every pixel that is as large as the maximum", `dx += dy * (x == y)`.
#
# **Predict.** By how much does the sum of $dx$ grow?

# %%
padded = np.pad(sandal, ((0, 0), *saved.windows.pads, (0, 0)), constant_values=-np.inf)
d_padded = np.zeros_like(padded)
for _, _, rows, cols in saved.windows.taps():  # 9 places of a window
    d_padded[:, rows, cols] += dy * (padded[:, rows, cols] == y)
print("winner takes all:", dx.sum(), "  everybody who is as large:", d_padded.sum())
assert d_padded.sum() > 3 * dx.sum()

# %% [markdown]
# More than five times too large, and all of it in the flat background. On random numbers this mistake is invisible, as
# there are no ties: a gradient check on noise passes. Real pictures are full of ties (so is everything behind a ReLU,
# where zeros are common). To hand the gradient to the first winner is what PyTorch and TensorFlow do.
#
# ### What stands outside the picture
#
# At the border a window reaches outside. pool1 of a ResNet v2 pools numbers that have *not* been through ReLU, so all
# of them may be negative.
#
# **Predict.** All of $x$ is −1 or less. What does the pooled picture show in its corner if the outside counts as 0?
# What should it show?

# %%
x = -1 - sandal
zeros_outside = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
wrong, _ = ops.max_pool2d_forward(zeros_outside, 3, stride=2, padding="VALID")
right, _ = ops.max_pool2d_forward(x, 3, stride=2, padding="SAME")
print("last row with zeros outside:", wrong[0, -1, -3:, 0], " with -inf outside:", right[0, -1, -3:, 0])
assert wrong.max() == 0 and right.max() == -1

# %% [markdown]
# A zero that is not in the picture must not win. So padding counts as $-\infty$ in max pooling, and as 0 in a
# convolution.
#
# ## The mean of a map: everybody gets the same
#
# At its end a ResNet takes the mean of each feature map,
#
# $$y_c = \frac{1}{HW} \sum_{h,w} x_{hwc}, \qquad dx_{hwc} = \frac{dy_c}{HW} .$$
#
# **Predict.** Which of the two poolings gives a pixel *less* gradient, and what does that mean for learning?

# %%
maximum, saved_max = ops.max_pool2d_forward(sandal, 28, stride=28, padding="VALID")
average, saved_mean = ops.global_avg_pool_forward(sandal)
one = np.ones((1, 1, 1, 1))
to_winner, to_all = ops.max_pool2d_backward(one, saved_max), ops.global_avg_pool_backward(one, saved_mean)

for name, dx in (("max", to_winner), ("mean", to_all)):
    print(f"{name:>4}: {int((dx > 0).sum()):>3} pixels get {dx.max():.4f} each, together {dx.sum():.4f}")
assert np.isclose(to_all.sum(), 1) and to_winner.sum() == 1

# %% [markdown]
# Both hand on a sum of 1. The maximum gives it all to one pixel and lets 783 learn nothing; the mean gives each a
# little. That is why the features of all places learn at every step, and why a class activation map (where did the net
# look?) can be read off the last map.
#
# ## Softmax and cross-entropy
#
# The net ends in K numbers for each picture, the *logits* $z$. Softmax makes probabilities of them, and the loss is
# minus the logarithm of the probability of the true class $t$:
#
# $$p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}, \qquad \text{loss} = -\log p_t = -z_t + \log \sum_j e^{z_j} .$$
#
# Differentiate the right-hand side. The first term gives −1 at the true class; the second gives $e^{z_k} / \sum_j
# e^{z_j}$, which is $p_k$. So
#
# $$dz_k = p_k - [k = t] ,$$
#
# divided by $N$ if the loss is the mean over $N$ pictures. All the exponentials are gone: the gradient is *probability
# minus truth*.
#
# **Predict.** The logits are 2, 1, 0 and class 0 is the true one. Which signs do the three gradients have, and what is
# their sum?

# %%
logits, truth = np.array([[2.0, 1, 0]]), np.array([0])
loss, saved = ops.softmax_cross_entropy_forward(logits, truth)
d_logits = ops.softmax_cross_entropy_backward(1.0, saved)
print("p      ", ops.softmax(logits)[0].round(3))
print("dlogits", d_logits[0].round(3), " sum", abs(d_logits.sum()).round(12))


def cross_entropy(z):
    loss, saved = ops.softmax_cross_entropy_forward(z, truth)
    return loss, lambda dloss: ops.softmax_cross_entropy_backward(dloss, saved)


assert check_gradients(cross_entropy, logits, mode="full").passed
assert np.isclose(d_logits.sum(), 0)

# %% [markdown]
# Downhill is *against* the gradient: the true logit goes up, the others go down. The sum is zero because nothing
# changes if all logits grow by the same number.
#
# ### Why the two are one op
#
# The formula says $e^{z}$. In float64, $e^{1000}$ is infinite.
#
# **Predict.** What does the plain formula give for the logits 1000, 0, 0?

# %%
large = np.array([[1000.0, 0, 0]])
with np.errstate(all="ignore"):
    e = np.exp(large)
    plain = -np.log((e / e.sum())[0, 1])
stable, saved = ops.softmax_cross_entropy_forward(large, np.array([1]))
print("plain formula:", plain, "  one op:", stable, "  gradient:", ops.softmax_cross_entropy_backward(1.0, saved)[0])
assert not np.isfinite(plain) and stable == 1000

# %% [markdown]
# The op subtracts the largest logit first. That changes nothing (nothing changes if all logits shrink by the same
# number), and the largest exponent is then 0. And it never takes the logarithm of a probability that has been rounded
# to zero: $\log p_t = z_t - \log \sum_j e^{z_j}$ needs none.
#
# ### Why not the squared error?
#
# One could also minimise $\sum_k (p_k - [k = t])^2$. It is zero at the same place. Let us see what a net would learn
# from a picture of which it is *surely wrong*.
#
# **Predict.** The true logit goes from −10 (surely wrong) to 10 (surely right), the other two stay at 0. Where is each
# of the two gradients largest?

# %%
z = np.linspace(-10, 10, 201)
logits = np.stack([z, 0 * z, 0 * z], axis=1)  # [201, 3]; class 0 is the true one
p, t = ops.softmax(logits), np.array([1.0, 0, 0])
of_entropy = (p - t)[:, 0]
dp = 2 * (p - t)
of_square = (p * (dp - (dp * p).sum(1, keepdims=True)))[:, 0]  # through softmax

figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.plot(z, -of_entropy, color=BLUE, linewidth=2.5, label="cross-entropy")
axes.plot(z, -of_square, color=VERMILION, linewidth=2.5, linestyle="--", label="squared error")
axes.set(xlabel="logit of the true class (others 0)", ylabel="− d loss / d logit")
axes.annotate("surely wrong", (-9.8, 0.06), color=GREY)
axes.annotate("surely right", (6.9, 0.06), color=GREY)
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
print("at -10:  cross-entropy", -of_entropy[0].round(4), "  squared error", -of_square[0].round(6))
assert -of_entropy[0] > 0.99 and -of_square[0] < 1e-3

# %% [markdown]
# From a picture on which it is surely wrong, a net with squared error learns *nothing*: the slope of softmax is zero
# out there, and it multiplies the gradient. Cross-entropy learns most from just these pictures, since its logarithm
# cancels the exponential. That is the whole reason for the pair.
#
# ## All of them in a row
#
# Convolution, ReLU, max pooling, mean, loss: a few ops make a small net, and their pullbacks take the gradient back to
# the picture.
#
# **Predict.** In the gradient of the picture, are there pixels with exactly zero? Name two different reasons.

# %%
w = rng.standard_normal((3, 3, 1, 10)) / 3
picture, truth = sandal + 0, np.array([5])


def net(x):
    net, saved_conv = ops.conv2d_forward(x, w)
    net, saved_relu = ops.relu_forward(net)
    net, saved_pool = ops.max_pool2d_forward(net, 3, stride=2, padding="SAME")
    net, saved_mean = ops.global_avg_pool_forward(net)
    logits, saved_squeeze = ops.squeeze_forward(net)
    loss, saved_loss = ops.softmax_cross_entropy_forward(logits, truth)

    def back(d_loss):
        d = ops.softmax_cross_entropy_backward(d_loss, saved_loss)
        d = ops.squeeze_backward(d, saved_squeeze)
        d = ops.global_avg_pool_backward(d, saved_mean)
        d = ops.max_pool2d_backward(d, saved_pool)
        d = ops.relu_backward(d, saved_relu)
        return ops.conv2d_backward(d, saved_conv)[0]

    return loss, back


loss, back = net(picture)
d_picture = back(1.0)
figure, axes = plt.subplots(1, 2, figsize=(6.5, 3.2), layout="constrained")
show(axes[0], picture, "picture")
show(axes[1], d_picture, "d loss / d picture", limit=abs(d_picture).max())
print("loss", round(float(loss), 4), "  pixels with gradient 0:", int((d_picture == 0).sum()), "of 784")

# %% [markdown]
# Two reasons for a zero: no window that sees the pixel has its gate open (the black background, where all convolutions
# give 0), or the gates are open but none of them won its pooling window.
#
# The background is also full of ties and kinks, so a finite difference there tells nothing. With a little noise on the
# picture there are none, and the check is a real one:

# %%
noisy = picture + 0.1 * rng.standard_normal(picture.shape)
report = check_gradients(net, noisy, names=("picture",))
print(report)
assert report.passed

# %% [markdown]
# ## In one table
#
# | op | where the gradient goes | sum of dx / sum of dy |
# |---|---|---|
# | ReLU | through the open gates | what the gates let through |
# | max pooling | to the winner of each window, first in row order | 1 |
# | global average | to every pixel alike | 1 |
# | softmax and cross-entropy | $(p - t) / N$ | 0 over the classes |
#
# Their source: [relu.py](../tinyresnet/ops/relu.py), [max_pool2d.py](../tinyresnet/ops/max_pool2d.py),
# [global_avg_pool.py](../tinyresnet/ops/global_avg_pool.py), [softmax.py](../tinyresnet/ops/softmax.py). Each is
# shorter than this notebook's text about it.
#
# ## Exercises
#
# Write them yourself, and let `check` look. It says what is wrong, not only that something is.
#
# **ReLU.** `dy` of any shape; `saved.y` is the output of the forward pass (there, $y > 0$ just where $x > 0$). Return
# `dx`. At 0 the derivative is 0.

# %% tags=["exercise"]
from tinyresnet import exercises


def relu_backward(dy, saved):
    """dy [...], saved.y [...] -> dx [...]"""
    raise NotImplementedError("relu_backward is not written yet")


exercises.check("relu_backward", relu_backward)

# %% [markdown]
# **Max pooling.** `saved.winner` [N, OH, OW, C] says for each window which of its places won, as `i * KW + j`;
# `saved.shape` is the shape of x, and `saved.windows.taps()` gives for each place (i, j) the rows and columns of the
# *padded* picture, as in the cell about ties above. Return `dx` [N, H, W, C], without the padding.

# %% tags=["exercise"]
from tinyresnet import exercises


def max_pool2d_backward(dy, saved):
    """dy [N, OH, OW, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("max_pool2d_backward is not written yet")


exercises.check("max_pool2d_backward", max_pool2d_backward)

# %% [markdown]
# **Global average.** `dy` [N, 1, 1, C], `saved.shape` = (N, H, W, C). Return `dx` [N, H, W, C].

# %% tags=["exercise"]
from tinyresnet import exercises


def global_avg_pool_backward(dy, saved):
    """dy [N, 1, 1, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("global_avg_pool_backward is not written yet")


exercises.check("global_avg_pool_backward", global_avg_pool_backward)

# %% [markdown]
# **Softmax and cross-entropy.** `dy` is the gradient of the loss, a number; `saved.probabilities` and `saved.targets`
# are [..., K]. The loss is the mean over all rows. Return `dlogits` [..., K].

# %% tags=["exercise"]
from tinyresnet import exercises


def softmax_cross_entropy_backward(dy, saved):
    """dy, a number -> dlogits [..., K]"""
    raise NotImplementedError("softmax_cross_entropy_backward is not written yet")


exercises.check("softmax_cross_entropy_backward", softmax_cross_entropy_backward)

# %% [markdown]
# ## What to read next
#
# Notebook 08 puts the parts together to a pre-activation unit, and looks at the two places where gradients add. [The
# backward passes of the parts](../docs/resnet_v2.md#the-backward-passes-of-the-parts) has all formulas in one table.
