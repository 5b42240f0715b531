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
# # 06 · Batch norm
#
# **Goal.** Afterwards you can take batch norm's gradient through a graph of 26 small steps and then write it in one
# line; you know what that line means as geometry, why a check with `dy` all ones is blind to it, what training and
# inference do differently, and what moving averages are for.
#
# **It presupposes** notebooks [01](01_chain_rule.ipynb) (a value used twice gets the sum) and
# [02](02_pullbacks.ipynb) (pullbacks).

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
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#777777"
rng = np.random.default_rng(0)
images, labels, _, _ = fashion_mnist()
pictures = (images - images.mean()) / images.std()  # [6000, 28, 28, 1] float64

# %% [markdown]
# ## What it is for
#
# A deep net multiplies by weights again and again. If each layer makes the numbers 20 % larger, thirty layers make
# them 237 times larger; if smaller, they vanish. Let us send 8 pictures through 20 layers of convolution and ReLU,
# with weights of the size that is right for ReLU (variance 2 / fan_in, He et al. 2015), and with weights 1.5 times
# and half as large.
#
# **Predict** the spread of the numbers after 20 layers, in the three cases. And then with batch norm after each
# convolution.


# %%
def spreads(factor, norm, layers=20, channels=32):
    """standard deviation after each layer"""
    generator, net, found = np.random.default_rng(1), pictures[:8, ::2, ::2], []
    for _ in range(layers):
        fan_in = 9 * net.shape[3]
        w = factor * np.sqrt(2 / fan_in) * generator.standard_normal((3, 3, net.shape[3], channels))
        net, _ = ops.conv2d_forward(net, w)
        if norm:
            net, _ = ops.batch_norm_forward(net, np.ones(channels), np.zeros(channels))
        net, _ = ops.relu_forward(net)
        found.append(net.std())
    return found


runs = {(factor, norm): spreads(factor, norm) for factor in (1.5, 1.0, 0.5) for norm in (False, True)}

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
for factor, colour, marker in ((1.5, VERMILION, "o"), (1.0, GREY, "s"), (0.5, ORANGE, "^")):
    axis.semilogy(runs[factor, False], marker + "-", color=colour, markersize=4, label=f"weights x {factor}")
    label = "all three, batch norm" if factor == 0.5 else None
    axis.semilogy(runs[factor, True], marker + "--", color=BLUE, markersize=3, label=label)
axis.set(xlabel="layer", ylabel="standard deviation", xticks=range(0, 20, 5))
axis.legend(frameon=False, fontsize=9, loc="lower left")
print(
    "after 20 layers:",
    {f"{f}": f"{runs[f, False][-1]:.0e}" for f in (1.5, 1.0, 0.5)},
    f"with batch norm: {runs[1.5, True][-1]:.2f}",
)
assert np.allclose(runs[1.5, True], runs[0.5, True], rtol=0.01)

# %% [markdown]
# Without it the spread changes by a constant factor a layer, up or down. With batch norm the three blue lines lie on
# one another: a factor in the weights has no effect at all.
#
# ## The definition
#
# For each channel, over all n = N · H · W numbers that this channel has in the batch:
#
# $$mean = \frac1n \sum x, \qquad var = \frac1n \sum (x - mean)^2, \qquad xhat = \frac{x - mean}{\sqrt{var + \epsilon}}, \qquad y = \gamma\, xhat + \beta$$
#
# x and y are `[N, H, W, C]`; mean, var, gamma and beta are `[C]`. epsilon (10⁻⁵) keeps a channel that is constant
# from dividing by zero. gamma and beta are learnt, and may bring back any spread and any mean.
#
# **Predict.** x is `[64, 14, 14, 16]`. How many numbers share one mean? And how many does this layer learn?

# %%
x, _ = ops.conv2d_forward(pictures[:64], rng.standard_normal((3, 3, 1, 16)), stride=2)
gamma, beta = rng.uniform(0.5, 2, 16), rng.standard_normal(16)

over = (0, 1, 2)
mean, var = x.mean(over), x.var(over)  # NumPy's var divides by n
y = gamma * (x - mean) / np.sqrt(var + 1e-5) + beta

assert np.allclose(y, ops.batch_norm_forward(x, gamma, beta)[0])
assert np.allclose(y.mean(over), beta) and np.allclose(y.std(over), gamma, rtol=1e-3)
print("values per channel:", x.size // x.shape[-1], " learnt:", gamma.size + beta.size)

# %% [markdown]
# The mean of y is beta and its standard deviation is gamma, whatever came in.
#
# ## Twenty-six steps
#
# Now the gradient. Every x of a channel moves the mean and the variance, and these move every y of the channel. That
# looks hopeless, until one cuts it into steps so small that each is trivial. Thirteen forward; the last makes one
# number of it, with a random dy:
#
# | step | forward | used by |
# |---|---|---|
# | 1 | `total = x.sum(over)` | 2 |
# | 2 | `mean = total / n` | 3 |
# | 3 | `centred = x - mean` | 4 and 10 |
# | 4 | `sq = centred ** 2` | 5 |
# | 5 | `sq_total = sq.sum(over)` | 6 |
# | 6 | `var = sq_total / n` | 7 |
# | 7 | `var_eps = var + epsilon` | 8 |
# | 8 | `std = sqrt(var_eps)` | 9 |
# | 9 | `inv_std = 1 / std` | 10 |
# | 10 | `xhat = centred * inv_std` | 11 |
# | 11 | `scaled = gamma * xhat` | 12 |
# | 12 | `y = scaled + beta` | 13 |
# | 13 | `loss = (dy * y).sum()` | |
#
# **Predict.** Take paper, cover what follows, and write the thirteen backward steps, 13 to 1: for each left side
# above, `d_` and its name. Two values are used twice. Which? (One of them is x.)

# %%
STEPS = {
    "total": lambda v: v["x"].sum(over),
    "mean": lambda v: v["total"] / v["n"],
    "centred": lambda v: v["x"] - v["mean"],
    "sq": lambda v: v["centred"] ** 2,
    "sq_total": lambda v: v["sq"].sum(over),
    "var": lambda v: v["sq_total"] / v["n"],
    "var_eps": lambda v: v["var"] + 1e-5,
    "std": lambda v: np.sqrt(v["var_eps"]),
    "inv_std": lambda v: 1 / v["std"],
    "xhat": lambda v: v["centred"] * v["inv_std"],
    "scaled": lambda v: v["gamma"] * v["xhat"],
    "y": lambda v: v["scaled"] + v["beta"],
    "loss": lambda v: (v["dy"] * v["y"]).sum(),
}


def forward(given, replaced=()):
    """all values by name; a name in `replaced` gets that value and is not computed"""
    v = dict(given)
    for name, step in STEPS.items():
        v[name] = dict(replaced)[name] if name in dict(replaced) else step(v)
    return v


def backward(v, centred_twice=True):
    """the gradient at every name; the comments count the steps"""
    d = {"y": v["dy"]}  # 13
    d["scaled"], d["beta"] = d["y"], d["y"].sum(over)  # 12
    d["gamma"], d["xhat"] = (d["scaled"] * v["xhat"]).sum(over), d["scaled"] * v["gamma"]  # 11
    d["inv_std"] = (d["xhat"] * v["centred"]).sum(over)  # 10
    d["centred"] = d["xhat"] * v["inv_std"]  # 10: the first use of centred
    d["std"] = -d["inv_std"] / v["std"] ** 2  # 9
    d["var_eps"] = d["std"] / (2 * v["std"])  # 8
    d["var"] = d["var_eps"]  # 7
    d["sq_total"] = d["var"] / v["n"]  # 6
    d["sq"] = np.broadcast_to(d["sq_total"], v["sq"].shape)  # 5
    if centred_twice:
        d["centred"] = d["centred"] + d["sq"] * 2 * v["centred"]  # 4: its second use
    d["mean"] = -d["centred"].sum(over)  # 3: every x uses the mean
    d["total"] = d["mean"] / v["n"]  # 2
    d["x"] = d["centred"] + d["total"]  # 3 and 1: the two uses of x
    return d


small = x[:2, 4:8, 4:9, :3]  # [2, 4, 5, 3]: real feature maps, but few
given = {"x": small, "gamma": gamma[:3], "beta": beta[:3], "n": 2 * 4 * 5, "dy": rng.standard_normal(small.shape)}
v = forward(given)
d = backward(v)
print({name: value.shape for name, value in d.items()})

# %% [markdown]
# Is it right? We need not trust the end: **each of the values in between can be checked by itself**. Put a slightly
# changed number in its place, let the rest of the graph run, and see what the loss does. Whoever makes a mistake then
# learns not only *that*, but *where*. (The idea is Andrej Karpathy's, in part 4 of makemore.)


# %%
def numeric(name, h=1e-6):
    """the gradient of the loss at this name, entry by entry"""
    gradient = np.zeros_like(v[name])
    for index in np.ndindex(gradient.shape):
        losses = []
        for step in (h, -h):
            changed = v[name].copy()
            changed[index] += step
            losses.append(forward({**given, name: changed}, {name: changed})["loss"])
        gradient[index] = (losses[0] - losses[1]) / (2 * h)
    return gradient


def compare(d):
    """name -> error, divided by the largest gradient there, in the order of the way back"""
    order = [
        "y",
        "beta",
        "scaled",
        "gamma",
        "xhat",
        "inv_std",
        "std",
        "var_eps",
        "var",
        "sq_total",
        "sq",
        "centred",
        "mean",
        "total",
        "x",
    ]
    errors = {}
    for name in order:
        right = numeric(name)
        errors[name] = abs(d[name] - right).max() / (abs(right).max() + 1e-9)
    return errors


errors = compare(d)
for name, error in errors.items():
    print(f"d_{name:9} {str(np.shape(d[name])):14} error {error:.0e}  {'ok' if error < 1e-4 else 'WRONG'}")
assert max(errors.values()) < 1e-4

# %% [markdown]
# **Predict.** Now forget the second use of `centred`, the most common mistake of all. Where will the table say WRONG
# first, and what comes after it?

# %%
errors = compare(backward(v, centred_twice=False))
print("  ".join(f"{name} {'ok' if error < 1e-4 else 'WRONG'}" for name, error in errors.items()))
assert next(name for name, error in errors.items() if error > 1e-4) == "centred"

# %% [markdown]
# Up to `sq` all is well; `centred` is the first that is wrong, and it takes x with it. The place of the mistake, to
# the line.
#
# (And look: `mean` and `total` are still right, although `centred` is wrong. The share that comes by way of the
# variance is a multiple of `centred`, and a channel's `centred` numbers sum to zero. We can use that.)
#
# ## Down to one line
#
# Now put the steps into each other. From 13 to 10, `d_xhat = gamma * dy`. From 10 to 6, with mean(·) for the mean
# over the n numbers of a channel:
#
# $$d\_var = -\tfrac12\, inv\_std^3 \sum d\_xhat \cdot centred = -\tfrac n2\, inv\_std^2\; mean(d\_xhat \cdot xhat)$$
#
# `centred` collects from both its uses, and $centred \cdot inv\_std = xhat$:
#
# $$d\_centred = inv\_std \cdot d\_xhat + \tfrac2n\, centred \cdot d\_var = inv\_std\, \big(d\_xhat - xhat \cdot mean(d\_xhat \cdot xhat)\big)$$
#
# The last step, from centred to x, takes off the mean; and mean(xhat) = 0, so that of the second term is zero:
#
# $$dx = d\_centred - mean(d\_centred) = inv\_std\, \big(d\_xhat - mean(d\_xhat) - xhat \cdot mean(d\_xhat \cdot xhat)\big)$$
#
# gamma is the same for a whole channel and comes out in front. This is the line:
#
# $$\boxed{\; dx = \gamma \cdot inv\_std \cdot \big(dy - mean(dy) - xhat \cdot mean(dy \cdot xhat)\big) \;}$$
#
# **Predict.** Because of epsilon, xhat has variance var / (var + epsilon), and not quite 1. Is the line an
# approximation, then?


# %%
def one_line(dy, xhat, gamma, inv_std):
    return gamma * inv_std * (dy - dy.mean(over) - xhat * (dy * xhat).mean(over))


dx = one_line(given["dy"], v["xhat"], given["gamma"], v["inv_std"])
difference = abs(dx - d["x"]).max() / abs(dx).max()
print(f"one line against 13 steps: {difference:.0e}")
assert difference < 1e-12

# %% [markdown]
# It is exact, epsilon and all. We never used that xhat has variance 1; only that its mean is 0, and that it is.
#
# ## What the line means
#
# For each channel, dy is a vector of n numbers. The line takes two directions out of it:
#
# - `mean(dy)`: the direction (1, 1, …, 1). To add the same to all x changes nothing, so no gradient may point there.
# - `xhat * mean(dy * xhat)`: the direction of xhat itself. To scale all x changes (but for epsilon) nothing, so no
#   gradient may point there either.
#
# What is left is scaled by gamma / std. So dx is the *projection* of dy onto what batch norm lets through.
#
# **Predict** dx for one picture of a boot as x, if dy is (a) 1 everywhere, (b) xhat itself, that is "make the
# contrast larger", (c) a dress.

# %%
boot, dress = (pictures[np.flatnonzero(labels == k)[:1]] for k in (9, 3))
y, saved = ops.batch_norm_forward(boot, np.ones(1), np.zeros(1))

figure, axes = plt.subplots(2, 4, figsize=(8, 4), layout="constrained")
axes[0, 0].imshow(boot[0, :, :, 0])
axes[0, 0].set_title("x", fontsize=10)
axes[1, 0].set_visible(False)
for column, (title, dy) in zip(
    axes.T[1:], (("(a) 1", np.ones_like(y)), ("(b) xhat", y), ("(c) a dress", dress)), strict=True
):
    dx, _, _ = ops.batch_norm_backward(dy, saved)
    for axis, what, picture in zip(column, ("dy", "dx"), (dy, dx), strict=True):
        axis.imshow(picture[0, :, :, 0], cmap="RdBu_r", vmin=-2, vmax=2)
        axis.set_title(f"{what} {title if what == 'dy' else f'largest {abs(dx).max():.1g}'}", fontsize=10)
    xhat = (boot - saved.mean) * saved.inv_std
    assert abs(dx.sum()) < 1e-9 and abs((dx * xhat).mean()) < 1e-4
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])

# %% [markdown]
# (a) and (b) give nothing. In (c) the ghost of a boot appears in the dress's gradient: the part of the dress that
# looks like the boot has been taken out.
#
# ## Why a check with ones is blind
#
# Many checkers sum the output and differentiate the sum. Then dy is all ones, case (a): the right dx is **zero**. So
# every backward pass that gives zero there passes, however wrong it is.
#
# Six wrong versions, and a seventh that returns zeros without looking.
#
# **Predict**: which of the seven does the all-ones check find? Which ones the random one?


# %%
def version(name):
    """batch_norm_backward with this mistake"""

    def batch_norm_backward(dy, saved):
        _, dgamma, dbeta = ops.batch_norm_backward(dy, saved)
        inv_std = saved.inv_std
        n = dy.size // dy.shape[-1]
        if name == "n - 1 for n":
            inv_std = 1 / np.sqrt(saved.var * n / (n - 1) + 1e-5)
        xhat = (saved.x - saved.mean) * inv_std
        dx = dy - (0 if name == "no mean term" else dy.mean(over))
        sign = {"no variance term": 0, "variance term's sign": -1}.get(name, 1)
        dx = dx - sign * xhat * (dy * xhat).mean(over)
        dx = dx * (1 if name == "no gamma" else saved.gamma) * (1 if name == "no inv_std" else inv_std)
        return (np.zeros_like(dx) if name == "zeros" else dx), dgamma, dbeta

    return batch_norm_backward


def norm(x, gamma, beta):
    y, saved = ops.batch_norm_forward(x, gamma, beta)
    return y, lambda dy: ops.batch_norm_backward(dy, saved)


x3, gamma3, beta3 = small, gamma[:3], beta[:3]
names = (
    "right",
    "no mean term",
    "no variance term",
    "variance term's sign",
    "no gamma",
    "no inv_std",
    "n - 1 for n",
    "zeros",
)
print(f"{'':22}{'dy = ones':>12}{'dy random':>12}")
for name in names:
    with tinyresnet.use(batch_norm_backward=version(name)):
        y, back = norm(x3, gamma3, beta3)
        dx_of_ones = back(np.ones_like(y))[0]
        found_by_ones = abs(dx_of_ones).max() > 1e-6  # the true gradient of sum(y) is 0
        found_by_random = not check_gradients(norm, x3, gamma3, beta3).passed
    print(f"{name:22}{'found' if found_by_ones else '-':>12}{'found' if found_by_random else '-':>12}")
    assert found_by_random == (name != "right") and found_by_ones == (name == "no mean term")

# %% [markdown]
# One of seven. Even *zeros* pass. Some well-known teaching libraries test their batch norm in just this way. A random
# dy finds them all.
#
# The lesson is larger than batch norm: **a check at a point where the true gradient is zero checks nothing.**
# `check_gradients` says so by itself: it calls such an argument *powerless here*, and does not count it as passed.


# %%
def summed(x, gamma, beta):
    y, back = norm(x, gamma, beta)
    return y.sum(), lambda dy: back(np.full_like(y, dy))


report = check_gradients(summed, x3, gamma3, beta3, names=("x", "gamma", "beta"))
print({argument.name: argument.status for argument in report.arguments})
assert not report.passed

# %% [markdown]
# ## Two consequences for the layer before
#
# Whatever batch norm ignores, the weights before it cannot learn.
#
# **Predict.** A convolution stands before batch norm. (1) What is the gradient of its bias? (2) We make its weights
# ten times larger: how do y and dw change?


# %%
def conv_norm(w, b, dy):
    net, conv = ops.conv2d_bias_add_forward(pictures[:8], w, b)
    y, bn = ops.batch_norm_forward(net, gamma, beta)
    d_net, _, _ = ops.batch_norm_backward(dy, bn)
    _, dw, db = ops.conv2d_bias_add_backward(d_net, conv)
    return y, dw, db


w, dy = rng.standard_normal((3, 3, 1, 16)), rng.standard_normal((8, 28, 28, 16))
y, dw, db = conv_norm(w, rng.standard_normal(16), dy)
y10, dw10, _ = conv_norm(10 * w, np.zeros(16), dy)
print(
    f"largest db {abs(db).max():.0e};  y changes by {abs(y10 - y).max():.0e};  |dw| / |dw of 10 w| = {np.linalg.norm(dw) / np.linalg.norm(dw10):.3f}"
)
assert abs(db).max() < 1e-9 and np.allclose(dw, 10 * dw10, rtol=1e-3, atol=1e-3 * abs(dw).max())

# %% [markdown]
# (1) Zero: the mean swallows the bias. So in a ResNet unit `conv1` and `conv2` have no bias; beta does its work. (2)
# y stays, and the gradient becomes ten times *smaller*. Large weights learn slowly, which steadies a training with a
# learning rate that is too large; and weight decay, which cannot change what such a layer computes, in truth sets its
# learning rate.
#
# ## Training and inference
#
# In training a picture is normalised together with those that happen to be in its batch.
#
# **Predict.** The same boot goes through in 100 different batches of 8 pictures. Does y of the boot change? What if
# this were a product that customers use?

# %%
w = rng.standard_normal((3, 3, 1, 1))
boot_pixel = []
for _ in range(100):
    company = pictures[rng.choice(6000, 7, replace=False)]
    net, _ = ops.conv2d_forward(np.concatenate([boot, company]), w)
    y, _ = ops.batch_norm_forward(net, np.ones(1), np.zeros(1))
    boot_pixel.append(y[0, 14, 14, 0])

everything, _ = ops.conv2d_forward(pictures[:1000], w)
averages = everything.mean(over), everything.var(over)
of_boot, _ = ops.conv2d_forward(boot, w)
fixed, _ = ops.batch_norm_inference_forward(of_boot, np.ones(1), np.zeros(1), *averages)

figure, axis = plt.subplots(figsize=(7, 2.5), layout="constrained")
axis.hist(boot_pixel, bins=20, color=BLUE, alpha=0.8, label="training: 100 batches of 8")
axis.axvline(fixed[0, 14, 14, 0], color=VERMILION, linewidth=2, label="inference")
axis.set(xlabel="y of one pixel of the same boot", ylabel="batches")
axis.legend(frameon=False, fontsize=9)
print(f"spread in training: {np.std(boot_pixel):.2f}")

# %% [markdown]
# The answer for a boot depends on its company. In training that is a noise which does no harm, and may even help. In
# use it is not acceptable: the answer must not depend on who else asks. So inference uses fixed numbers for mean and
# variance.
#
# ## Moving averages
#
# Which fixed numbers? Those of the whole training set, at the end of training. They are collected on the way: after
# each batch
#
# $$moving \leftarrow decay \cdot moving + (1 - decay) \cdot batch$$
#
# with moving_mean beginning at 0 and moving_variance at 1. ResNet's decay is 0.997.
#
# **Predict.** How many steps until the average has come within 5 % of the way, for decays of 0.9, 0.99 and 0.997?
# (What is left of the beginning after t steps is decayᵗ.)

# %%
steps, batch_means = 1500, []
for start in range(0, 6000, 32):
    net, _ = ops.conv2d_forward(pictures[start : start + 32, ::2, ::2], w)
    batch_means.append(net.mean() + 3)  # + 3: a channel far from its initial 0
batch_means = np.resize(batch_means, steps)  # several epochs

figure, axis = plt.subplots(figsize=(7, 3), layout="constrained")
axis.plot(batch_means[:400], ".", color=GREY, markersize=2, label="batch")
for decay, colour, style in ((0.9, ORANGE, ":"), (0.99, GREEN, "--"), (0.997, BLUE, "-")):
    moving, path = 0.0, []
    for batch in batch_means:
        moving = decay * moving + (1 - decay) * batch
        path.append(moving)
    axis.plot(path, style, color=colour, linewidth=1.8, label=f"decay {decay}")
axis.set(xlabel="step", ylabel="moving_mean")
axis.legend(frameon=False, fontsize=9)
for decay in (0.9, 0.99, 0.997):
    print(f"decay {decay}: within 5 % after {np.log(0.05) / np.log(decay):.0f} steps")

# %% [markdown]
# A large decay averages over many batches, about 1 / (1 − decay), and is slow to begin. With 0.997 the first thousand
# steps are no good for a test: the net has learnt, but inference normalises with numbers that are still on their way
# from 0 and 1. "Training accuracy 95 %, test accuracy 10 %" is often just this. For short runs take 0.9.
#
# One more detail. The batch is normalised with the *biased* variance, divided by n. The moving variance is fed with
# the *unbiased* one, divided by n − 1: it is to estimate the variance of all pictures, and a batch underestimates it.
#
# **Predict.** By what factor do the two differ for n = 4? And for a batch of 32 maps of 14 × 14?

# %%
for n, about in ((4, "n = 4"), (32 * 14 * 14, "32 maps of 14 x 14")):
    print(f"{about:20} n / (n - 1) = {n / (n - 1):.5f}")
four = rng.standard_normal((20000, 4))  # true variance 1
print(f"mean over 20000 batches of 4: biased {four.var(1).mean():.3f}, unbiased {four.var(1, ddof=1).mean():.3f}")

# %% [markdown]
# ## Inference, and its gradient
#
# With fixed mean and variance, batch norm is one multiplication and one addition for each channel:
#
# $$y = a\, x + b, \qquad a = \gamma \cdot inv\_std, \qquad b = \beta - a \cdot moving\_mean$$
#
# **Predict** dx. Which two terms of the one line are gone, and why?

# %%
moving_mean, moving_variance = rng.standard_normal(3), rng.uniform(0.5, 2, 3)


def inference(x, gamma, beta):
    y, saved = ops.batch_norm_inference_forward(x, gamma, beta, moving_mean, moving_variance)
    return y, lambda dy: ops.batch_norm_inference_backward(dy, saved)


y, back = inference(x3, gamma3, beta3)
dy = rng.standard_normal(y.shape)
a = gamma3 / np.sqrt(moving_variance + 1e-5)
assert np.allclose(y, a * x3 + beta3 - a * moving_mean) and np.allclose(back(dy)[0], a * dy)
report = check_gradients(inference, x3, gamma3, beta3)
print("passed:", report.passed)
assert report.passed

# %% [markdown]
# $dx = \gamma \cdot inv\_std \cdot dy$: mean and variance are constants now, so nothing comes back through them. (The
# two gradients are often mixed up when a net is fine-tuned with frozen statistics.) And as a and b can be multiplied
# into the weights of a convolution, batch norm costs nothing at all in a net that is only used: `tinyresnet.freeze`
# does that.
#
# ## Exercises
#
# **batch_norm_graph.** Close the cells above, and write the way back yourself: `steps` has `mean`, `centred`, `sq`,
# `var`, `inv_std` and `xhat`, where `mean = x.mean(over)`, `sq = centred**2`, `var = sq.mean(over)`, `inv_std = (var
# + epsilon) ** -0.5`. Return d_xhat, d_gamma, d_beta, d_inv_std, d_var, d_sq, d_centred, d_mean, dx, in this order.

# %% tags=["exercise"]
from tinyresnet import exercises


def batch_norm_graph(dy, gamma, steps):
    """dy [..., C], gamma [C] -> d_xhat, d_gamma, d_beta, d_inv_std, d_var, d_sq, d_centred, d_mean, dx"""
    raise NotImplementedError("batch_norm_graph is not written yet")


exercises.check("batch_norm_graph", batch_norm_graph)

# %% [markdown]
# **batch_norm_backward.** The op: dy `[..., C]` → dx `[..., C]`, dgamma `[C]`, dbeta `[C]`. `saved` has `x`, `gamma`,
# `mean`, `var` and `inv_std`. It must work for `[N, C]` too.

# %% tags=["exercise"]
from tinyresnet import exercises


def batch_norm_backward(dy, saved):
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_backward is not written yet")


exercises.check("batch_norm_backward", batch_norm_backward)

# %% [markdown]
# **moving_average.** `moving_average(moving_mean, moving_variance, x, decay)`: return both averages after this batch.
# The variance takes the unbiased one of the batch; with a single value per channel the factor n / (n − 1) is 1.

# %% tags=["exercise"]
from tinyresnet import exercises


def moving_average(moving_mean, moving_variance, x, decay):
    """moving_mean, moving_variance [C], x [..., C] -> new moving_mean, moving_variance [C]"""
    raise NotImplementedError("moving_average is not written yet")


exercises.check("moving_average", moving_average)

# %% [markdown]
# **fool_all_ones.** Now turn the table: write a *wrong* `batch_norm_backward` that a checker with dy = 1 accepts, and
# a random one refuses. dgamma and dbeta are checked as well.

# %% tags=["exercise"]
from tinyresnet import exercises


def fool_all_ones(dy, saved):
    """dy [..., C] -> a wrong dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("fool_all_ones is not written yet")


exercises.check("fool_all_ones", fool_all_ones)

# %% [markdown]
# There are more: `batch_norm_one_line`, `batch_norm_inference`, `batch_norm_inference_backward`, and
# `find_the_bug_batch_norm`, where a wrong function is given. `tinyresnet exercise start NAME` writes a stub into a
# file for you.
#
# ## What to read next
#
# - [Notebook 07](07_relu_pooling_cross_entropy.ipynb): ReLU, pooling and the loss.
# - [Is this backward pass right?](../docs/gradcheck.md#why-the-upstream-gradient-is-random): ones against random,
#   with a picture of the three terms.
# - Ioffe and Szegedy 2015, [Batch Normalization](https://arxiv.org/abs/1502.03167): algorithms 1 and 2 are the two
#   halves of this notebook.
