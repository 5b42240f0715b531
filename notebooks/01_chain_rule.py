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
# # 01 · The chain rule, and how to choose h
#
# **Goal.** Afterwards you can take the gradient of a small computation by hand, check it by a finite difference,
# choose the step h for that check and say how many digits to expect, and you know why a net is differentiated from
# its end to its beginning.
#
# **It presupposes** notebook [00](00_shapes.ipynb) (shapes), and the derivatives of $x^2$, $e^x$ and $\sin x$.

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
plt.rcParams.update({"figure.dpi": 110, "image.cmap": "gray", "axes.spines.top": False, "axes.spines.right": False})
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
rng = np.random.default_rng(0)

# %% [markdown]
# ## A derivative is a promise
#
# A derivative says how much the output moves when the input moves by a little:
#
# $$f(x + h) \approx f(x) + f'(x)\, h$$
#
# So it can be checked without any calculus: move x by a small h, look at f, divide. There are two obvious ways.
#
# - forward difference: $(f(x + h) - f(x)) / h$
# - central difference: $(f(x + h) - f(x - h)) / (2h)$
#
# **Predict.** The smaller h, the better? Take $f(x) = e^{\sin x}$ at x = 1. Sketch the error of both against h, from
# h = 1 down to h = 10⁻¹⁶.


# %%
def f(x):
    return np.exp(np.sin(x))


def derivative(x):
    return np.exp(np.sin(x)) * np.cos(x)  # the chain rule: outer derivative times inner derivative


x, exact = 1.0, derivative(1.0)
h = 10.0 ** np.arange(0, -16.25, -0.25)
forward = abs((f(x + h) - f(x)) / h - exact) / exact
central = abs((f(x + h) - f(x - h)) / (2 * h) - exact) / exact

figure, axis = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
axis.loglog(h, forward, "o-", color=VERMILION, markersize=3, label="forward difference")
axis.loglog(h, central, "s-", color=BLUE, markersize=3, label="central difference")
axis.loglog(h, h, ":", color=VERMILION, label="h")
axis.loglog(h, h**2, ":", color=BLUE, label="h²")
axis.loglog(h, 1e-16 / h, "--", color=GREY, label="1e-16 / h")
axis.set(xlabel="h", ylabel="relative error", ylim=(1e-13, 10))
axis.legend(frameon=False, fontsize=8)
print(
    f"best: forward {forward.min():.0e} at h = {h[forward.argmin()]:.0e}, central {central.min():.0e} at h = {h[central.argmin()]:.0e}"
)

# %% [markdown]
# It is a valley, with two walls.
#
# **The right wall is calculus.** Taylor's series says what the difference leaves out:
#
# $$\frac{f(x + h) - f(x)}{h} = f'(x) + \frac{h}{2} f''(x) + \dots$$
#
# $$\frac{f(x + h) - f(x - h)}{2h} = f'(x) + \frac{h^2}{6} f'''(x) + \dots$$
#
# The error falls with h, or with h². In the central difference the term with $f''$ cancels: that is what the second
# evaluation buys.
#
# **The left wall is arithmetic.** A float64 has about 16 digits. f(x + h) and f(x − h) agree in nearly all of them if
# h is small; the subtraction leaves only the last few, and these are rounding. An error of $10^{-16}$ is divided by
# h, and grows as h shrinks. At $h = 10^{-16}$, x + h *is* x, and the "derivative" is zero.
#
# **The bottom** lies where the walls meet:
#
# | difference | walls | best h | error there |
# |---|---|---|---|
# | forward | $h$ and $10^{-16}/h$ | $10^{-8}$ | $10^{-8}$ |
# | central | $h^2$ and $10^{-16}/h$ | $10^{-5}$ | about $10^{-10}$ |
#
# So: **central difference, h = 10⁻⁵, ten digits.** That is what `check_gradients` does. Its tolerance of $10^{-6}$ is
# far above the noise, and far below any real mistake.
#
# ### And in float32?
#
# A float32 has about 7 digits. **Predict** the best h and the best error for the central difference in float32.


# %%
def valley(dtype):
    """h and the relative error of the central difference, everything computed in this dtype"""
    steps = (10.0 ** np.arange(0, -7.25, -0.25)).astype(dtype)
    one, two = dtype(1), dtype(2)
    slope = (f(one + steps) - f(one - steps)) / (two * steps)
    assert slope.dtype == dtype
    return steps, abs(slope.astype(np.float64) - exact) / exact


figure, axis = plt.subplots(figsize=(7.5, 3), layout="constrained")
for dtype, colour, marker in ((np.float32, VERMILION, "o"), (np.float64, BLUE, "s")):
    steps, error = valley(dtype)
    axis.loglog(steps, np.maximum(error, 1e-12), marker + "-", color=colour, markersize=3, label=dtype.__name__)
    print(f"{dtype.__name__}: best error {error.min():.0e} at h = {steps[error.argmin()]:.0e}")
axis.axhline(1e-6, color=GREY, linestyle="--", label="tolerance of check_gradients")
axis.set(xlabel="h", ylabel="relative error")
axis.legend(frameon=False, fontsize=8)
assert valley(np.float32)[1].min() > 1e-6

# %% [markdown]
# The whole valley lies above the tolerance: float32 has no good h. Some h may hit a few digits more by luck, but one
# cannot know which. So gradients are **checked in float64**, even though nets are trained in float32. The code is the
# same; only the arrays differ.
#
# ## The chain rule
#
# A computation is a chain of small steps. Each knows its own derivative, and nothing of the others. Take
#
# $$u = x^2, \quad v = \sin u, \quad y = 3 v$$
#
# $$\frac{dy}{dx} = \frac{dy}{dv} \cdot \frac{dv}{du} \cdot \frac{du}{dx} = 3 \cdot \cos u \cdot 2x$$
#
# We go from the end to the beginning and always keep one number: how much y moves when *this* value moves. The house
# writes `dv` for it: `dv` is short for $\partial y / \partial v$, the gradient *at* v.

# %%
x = 0.7
u = x**2
v = np.sin(u)
y = 3 * v

dy = 1.0
dv = dy * 3
du = dv * np.cos(u)
dx = du * 2 * x

h = 1e-5
numeric = (3 * np.sin((x + h) ** 2) - 3 * np.sin((x - h) ** 2)) / (2 * h)
print(f"chain rule {dx:.12f}\nnumeric    {numeric:.12f}")
assert abs(dx - numeric) < 1e-9

# %% [markdown]
# Two things to notice. The backward lines are the forward lines in reverse order. And they need values of the forward
# pass: `u` and `x`. What backward needs must be kept.
#
# ### A value that is used twice
#
# Now let x take two ways to y:
#
# $$u = x^2, \quad v = \sin x, \quad y = u \cdot v$$
#
# **Predict.** What is `dx`, if you know the contribution by way of u and the one by way of v: their product, their
# sum, or the larger one?

# %%
x = 0.7
u = x**2
v = np.sin(x)
y = u * v

dy = 1.0
du, dv = dy * v, dy * u  # a product hands to each factor the other one
dx_by_u, dx_by_v = du * 2 * x, dv * np.cos(x)
dx = dx_by_u + dx_by_v

numeric = ((x + h) ** 2 * np.sin(x + h) - (x - h) ** 2 * np.sin(x - h)) / (2 * h)
print(f"by u {dx_by_u:.6f}, by v {dx_by_v:.6f}, sum {dx:.6f}, numeric {numeric:.6f}")
assert abs(dx - numeric) < 1e-9

# %% [markdown]
# The sum. If x moves, u and v both move, and to first order their effects on y simply add. This is the one rule that
# people forget most often, since nothing in the code reminds you of it:
#
# > **A value that was used twice gets the sum of the gradients from both uses.**
#
# In a ResNet each unit's input is used twice, by the shortcut and by the residual branch. In batch norm each x is
# used three times. A bias is used at every pixel.
#
# Two more rules, and you have all that this project needs:
#
# - $y = a + b$: an addition hands its gradient to both sides unchanged, `da = dy`, `db = dy`.
# - $y = a \cdot b$: a product hands to each factor the gradient times the other factor.
#
# ## Why from the end to the beginning?
#
# Between arrays, a derivative is a matrix, the *Jacobian*: entry (i, j) says how much output i moves when input j
# moves. The chain rule then says: multiply the Jacobians. A product of matrices may be worked out from the left or
# from the right; the result is the same, the work is not.
#
# Take a net with 784 inputs, layers of 256 and 128, and one number at the end, the loss:
#
# $$\frac{d\,loss}{dx} = J_3\, J_2\, J_1, \qquad J_1: 256 \times 784, \quad J_2: 128 \times 256, \quad J_3: 1 \times 128$$
#
# **Predict.** How many multiplications does it take to begin with $J_2 J_1$ (from the input), and how many to begin
# with $J_3 J_2$ (from the loss)?

# %%
from_the_input = 128 * 256 * 784 + 1 * 128 * 784
from_the_loss = 1 * 128 * 256 + 1 * 256 * 784
print(
    f"from the input {from_the_input:>12,}\nfrom the loss  {from_the_loss:>12,}   ({from_the_input / from_the_loss:.0f} times less)"
)

J1, J2, J3 = (rng.standard_normal(shape) for shape in ((256, 784), (128, 256), (1, 128)))
assert np.allclose(J3 @ (J2 @ J1), (J3 @ J2) @ J1)

# %% [markdown]
# The loss is *one* number. Whoever begins there carries a row vector along and never multiplies two matrices: a
# gradient of everything costs about as much as two forward passes, however many inputs there are. That is all that
# "backpropagation" is: the chain rule, worked out from the cheap end.
#
# A finite difference has to run the net once or twice for *each* of its numbers; ResNet-50 has 25 million. It is for
# checking, not for training.
#
# ## A real gradient: what a classifier wants to see
#
# The smallest classifier of pictures: flatten each to 784 numbers, multiply by a matrix w [784, 10], add a bias b
# [10]. The ten results are the *logits*; softmax makes probabilities p of them, and the loss is the cross-entropy,
# $-\log p$ of the right class, averaged over the batch. (Notebook 07 derives its gradient. Here we take it:
# $d\,logits = (p - t) / N$, with t = 1 for the right class and 0 elsewhere.)
#
# For the rest we need the rules from above. Each logit is a sum of products, $logits_{nk} = \sum_j x_{nj} w_{jk} +
# b_k$, so each w gets the gradient times its other factor, and, as it is used for every picture, the sum over all of
# them:
#
# $$dw_{jk} = \sum_n x_{nj}\, d\,logits_{nk} \quad\text{or}\quad dw = x^T\, d\,logits, \qquad db_k = \sum_n d\,logits_{nk}$$

# %%
images, labels, _, _ = fashion_mnist()
x = images.reshape(-1, 784) / 255  # [6000, 784] float64


def loss_and_gradient(w, b, x=x, labels=labels):
    """w [784, 10], b [10] -> the loss, dw [784, 10], db [10]"""
    logits = x @ w + b
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    t = np.eye(10)[labels]
    d_logits = (p - t) / len(x)
    return -np.log((p * t).sum(1)).mean(), x.T @ d_logits, d_logits.sum(0)


w, b = np.zeros((784, 10)), np.zeros(10)
loss, dw, db = loss_and_gradient(w, b)
print(f"loss {loss:.4f} = log 10 = {np.log(10):.4f};  dw {dw.shape}, db {db.shape}")

# %% [markdown]
# With zero weights, every class has probability 1/10, and the loss is log 10. The gradient dw has the shape of w, so
# column k can be shown as a picture of 28 × 28: where would more weight help class k? We show −dw, the direction
# *downhill*.
#
# **Predict.** What will the ten pictures show, for a net that has not learnt anything yet?

# %%
figure, axes = plt.subplots(2, 5, figsize=(10, 4.4), layout="constrained")
for k, axis in enumerate(axes.flat):
    limit = abs(dw).max()
    shown = axis.imshow(-dw[:, k].reshape(28, 28), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.set_title(FASHION_MNIST_CLASSES[k], fontsize=9)
    axis.set_axis_off()
bar = figure.colorbar(shown, ax=axes, shrink=0.7)
bar.set_label("-dw")

k = 9  # the formula in words
average_difference = (x[labels == k].mean(0) - x.mean(0)) / 10
assert np.allclose(-dw[:, k], average_difference)

# %% [markdown]
# Clothes. At the start, −dw of a class is (up to the factor 1/10) the mean picture of that class minus the mean
# picture of all. Gradient descent's first step on this classifier is to print the average boot into the weights of
# "Ankle boot", and to paint blue what other classes have and boots have not.
#
# ### Does the gradient keep its promise?
#
# A gradient predicts. Walk a step of length $\eta$ downhill, $w \leftarrow w - \eta\, dw$, and the loss should fall
# by $\eta \sum dw^2$, to first order.
#
# **Predict.** For which $\eta$ does the promise hold: for all, for small ones, for none exactly?

# %%
etas = np.linspace(0, 1.5, 31)
actual = [loss_and_gradient(w - eta * dw, b)[0] for eta in etas]
promised = loss - etas * (dw**2).sum()

figure, axis = plt.subplots(figsize=(6.5, 3), layout="constrained")
axis.plot(etas, promised, "--", color=GREY, label="promised by the gradient")
axis.plot(etas, actual, color=BLUE, marker="o", markersize=3, label="loss")
axis.set(xlabel="step η", ylabel="loss", ylim=(1, 3))
axis.legend(frameon=False)
small = 1e-4
fall = loss - loss_and_gradient(w - small * dw, b)[0]
print(f"η = {small}: promised {small * (dw**2).sum():.6e}, fell {fall:.6e}")
assert abs(fall / (small * (dw**2).sum()) - 1) < 1e-3

# %% [markdown]
# The line touches the curve at zero, and that is all that it promises. Small steps keep it nearly exactly; larger
# ones overshoot, and then make things worse. The learning rate is a guess at how far the tangent may be trusted.
#
# ## Checking a gradient of 7840 numbers
#
# One finite difference per entry would take 15 680 evaluations. There is a better way: walk into a *random direction*
# v, in all entries at once. The slope along v is a single number, and the gradient says what it must be:
#
# $$\frac{loss(w + h v) - loss(w - h v)}{2h} \approx \sum dw \cdot v$$
#
# A wrong gradient gives the right number only if its error is at right angles to v, and for a random v that
# practically never happens.
#
# **Predict.** Of the mistakes below, which will a single random direction find? (a) all of dw is twice too large; (b)
# one of the 7840 entries, the largest, is off by 10 %.

# %%
w = 0.1 * rng.standard_normal((784, 10))
_, dw, db = loss_and_gradient(w, b)
v = rng.standard_normal(w.shape)
h = 1e-5
numeric = (loss_and_gradient(w + h * v, b)[0] - loss_and_gradient(w - h * v, b)[0]) / (2 * h)

one_off = dw.copy()
worst = np.unravel_index(abs(dw).argmax(), dw.shape)
one_off[worst] *= 1.1
for name, gradient in (("right", dw), ("(a) doubled", 2 * dw), ("(b) one entry", one_off)):
    ours = (gradient * v).sum()
    error = abs(ours - numeric) / abs(dw).max()
    print(f"{name:14} ours {ours:+.9f}  numeric {numeric:+.9f}  error / largest gradient {error:.0e}")
    assert (error < 1e-6) == (name == "right")

# %% [markdown]
# Both. The error is divided by the *largest* gradient, not entry by entry: an entry that is nearly zero has a large
# relative error by rounding alone, and would raise false alarms.
#
# The project has this as a function. It wants a function that returns its result and a `back`, which takes the
# gradient of the result to the gradients of the arguments (the subject of notebook 02):


# %%
def classifier(x, w, b):
    def back(dy):
        return dy @ w.T, x.T @ dy, dy.sum(0)

    return x @ w + b, back


print(check_gradients(classifier, x[:5, 300:320], w[300:320], b, names=("x", "w", "b")))

# %% [markdown]
# `check_gradients` draws the upstream gradient `dy` at random as well. Why it must not be all ones is a story of its
# own, and notebook 06 tells it.
#
# ## Where no h is good: a kink
#
# ReLU, $y = \max(x, 0)$, has slope 0 on the left and 1 on the right. Take x = 10⁻⁴, close to the kink. The right
# derivative is 1.
#
# **Predict** the error of the central difference against h: for h below 10⁻⁴, and above.

# %%
x_near, h = 1e-4, 10.0 ** np.arange(-1, -8.1, -0.25)
slope = (np.maximum(x_near + h, 0) - np.maximum(x_near - h, 0)) / (2 * h)

figure, axis = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
axis.semilogx(h, slope, "o-", color=BLUE, markersize=4)
axis.axvline(x_near, color=GREY, linestyle="--")
axis.annotate("h = x", (x_near, 0.6), xytext=(-36, 0), textcoords="offset points", color=GREY)
axis.set(xlabel="h", ylabel="central difference", ylim=(0.4, 1.1))


def rectifier(x):
    y, saved = ops.relu_forward(x)
    return y, lambda dy: ops.relu_backward(dy, saved)


report = check_gradients(rectifier, np.array([-1.0, 1e-7, 0.5, 2.0]), mode="full")
print(report)
assert report.passed and report.arguments[0].kinks == 1

# %% [markdown]
# As soon as the step reaches across the kink, the difference mixes both slopes; far out it says 0.5, which is
# neither. That is no mistake in your gradient. `check_gradients` notices kinks (the slopes to the left and right
# differ by the same however small the step), leaves such entries out, and counts them in its report.
#
# ## Exercises
#
# Check yourself, with the rules of this notebook and nothing else.
#
# **relu_backward.** $y = \max(x, 0)$. `saved.y` is the output of the forward pass, of any shape; y > 0 just where x >
# 0. Return dx, of dy's shape and dtype. At x = 0 take the derivative as 0.

# %% tags=["exercise"]
from tinyresnet import exercises


def relu_backward(dy, saved):
    """dy [...], saved.y [...] -> dx [...]"""
    raise NotImplementedError("relu_backward is not written yet")


exercises.check("relu_backward", relu_backward)

# %% [markdown]
# **bias_add_backward.** $y = x + b$: x is `[..., C]`, usually `[N, H, W, C]`, and b is `[C]`. One bias is used at
# every pixel of every picture. Return dx and db.

# %% tags=["exercise"]
from tinyresnet import exercises


def bias_add_backward(dy, saved):
    """dy [..., C] -> dx [..., C], db [C]"""
    raise NotImplementedError("bias_add_backward is not written yet")


exercises.check("bias_add_backward", bias_add_backward)

# %% [markdown]
# ## What to read next
#
# - [Notebook 02](02_pullbacks.ipynb): how a whole net is put together from such pieces.
# - [Is this backward pass right?](../docs/gradcheck.md): all about `check_gradients`, with a table that reads a
#   mistake off the ratio.
