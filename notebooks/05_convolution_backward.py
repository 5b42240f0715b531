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
# # 05 · Convolution, backward
#
# **Goal.** Afterwards you can write both gradients of a convolution, as loops and as matrix products; you can see the
# gradient of the picture in two ways (each output scatters, each input gathers) and know where the flipped kernel
# comes from; and you know which test inputs hide which mistakes.
#
# **It presupposes** notebooks [03](03_convolution_forward.ipynb) (the forward pass, `im2col`) and
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
boot = images[np.flatnonzero(labels == 9)[:1]] / 255  # [1, 28, 28, 1]

# %% [markdown]
# ## A product and its two factors
#
# The forward pass is nothing but products that are added up:
#
# $$y_{n,p,q,k} \mathrel{+}= x_{n,h,v,c} \cdot w_{i,j,c,k} \qquad h = p \cdot stride + i - top, \quad v = q \cdot stride + j - left$$
#
# From notebook 01: an addition hands its gradient to all that was added, and a product hands to each factor the
# gradient times the other factor. So the backward pass is **the same loops**, with two lines inside:
#
# $$dx_{n,h,v,c} \mathrel{+}= dy_{n,p,q,k} \cdot w_{i,j,c,k} \qquad\qquad dw_{i,j,c,k} \mathrel{+}= dy_{n,p,q,k} \cdot x_{n,h,v,c}$$
#
# That is all, for every stride, rate and padding. If you ever get lost in flipped kernels and transposed axes, come
# back to these two lines.
#
# **Predict.** What is the shape of dw? A weight is used for every picture and every place: does the batch size N
# appear in it?


# %%
def backward_by_loops(dy, x, w, pad=1, stride=1):
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K]"""
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    (N, OH, OW, K), (KH, KW, C, _) = dy.shape, w.shape
    for n, p, q, k, i, j, c in np.ndindex(N, OH, OW, K, KH, KW, C):
        h, v = p * stride + i - pad, q * stride + j - pad
        if 0 <= h < x.shape[1] and 0 <= v < x.shape[2]:
            dx[n, h, v, c] += dy[n, p, q, k] * w[i, j, c, k]
            dw[i, j, c, k] += dy[n, p, q, k] * x[n, h, v, c]
    return dx, dw


x, w = rng.standard_normal((2, 5, 6, 3)), rng.standard_normal((3, 3, 3, 4))
for stride in (1, 2):
    y, saved = ops.conv2d_forward(x, w, stride, 1, ((1, 1), (1, 1)))
    dy = rng.standard_normal(y.shape)
    dx, dw = backward_by_loops(dy, x, w, 1, stride)
    assert np.allclose(dx, ops.conv2d_backward(dy, saved)[0]) and np.allclose(dw, ops.conv2d_backward(dy, saved)[1])
print("dx", dx.shape, "dw", dw.shape)

# %% [markdown]
# Shapes first: a gradient always has the shape of what it is the gradient of. So no N in dw. That is a *sum* over the
# batch, not a mean; if the loss is a mean over the batch, the 1/N is in dy already.
#
# ## dw: does this weight's pixel go along with the gradient?
#
# Weight (i, j) meets, over all places, the picture shifted by (i, j). So its gradient is the scalar product of that
# shifted picture with dy: are they large in the same places? For all channels at once, it is a matrix product a tap,
# `[C, N*OH*OW] @ [N*OH*OW, K]`. And all taps together, with the `im2col` matrix X of the forward pass:
#
# $$Y = X W \quad\Rightarrow\quad dW = X^T\, dY$$


# %%
def weights_gradient(dy, x, KH, KW, pad=1):
    """stride 1: dy [N, OH, OW, K], x [N, H, W, C] -> dw [KH, KW, C, K]"""
    N, OH, OW, K = dy.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    dw = np.empty((KH, KW, x.shape[3], K))
    for i in range(KH):
        for j in range(KW):
            shifted = padded[:, i : i + OH, j : j + OW]  # what tap (i, j) saw
            dw[i, j] = shifted.reshape(N * OH * OW, -1).T @ dy.reshape(N * OH * OW, K)
    return dw


y, saved = ops.conv2d_forward(x, w)
dy = rng.standard_normal(y.shape)
assert np.allclose(weights_gradient(dy, x, 3, 3), ops.conv2d_backward(dy, saved)[1])

# %% [markdown]
# Is such a gradient good for anything? Somebody has filtered 16 pictures with a secret 5 × 5 kernel, and shows us the
# pictures before and after. We begin with zeros and go downhill along dw; the loss is half the squared difference.
#
# **Predict.** How many steps until one can read the secret?

# %%
letter = np.array([[0, 1, 1, 1, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0]], float)
before = images[:16] / 255 - images[:16].mean() / 255
after, _ = ops.conv2d_forward(before, letter[:, :, None, None])

guess, speed, shown = np.zeros((5, 5, 1, 1)), 0.0, {}
for step in range(101):
    if step in (1, 5, 10, 30, 100):
        shown[step] = guess[:, :, 0, 0]
    y, saved = ops.conv2d_forward(before, guess)
    _, dw = ops.conv2d_backward((y - after) / y.size, saved._replace(input_gradient=False))  # nobody needs dx here
    speed = 0.9 * speed + dw
    guess = guess - 0.2 * speed

figure, axes = plt.subplots(1, 6, figsize=(10, 2), layout="constrained")
for axis, (title, kernel) in zip(
    axes, [*((f"step {k}", v) for k, v in shown.items()), ("the secret", letter)], strict=True
):
    axis.imshow(kernel, vmin=0, vmax=1)
    axis.set_title(title, fontsize=10)
    axis.set(xticks=[], yticks=[])
print(f"largest error after 100 steps: {abs(guess[:, :, 0, 0] - letter).max():.2f}")

# %% [markdown]
# Learning a kernel needs nothing more than this one gradient. (The `speed` is momentum: neighbouring pixels are so
# alike that plain steps would take ten times as long to tell neighbouring weights apart.)
#
# ## dx, first view: each output scatters
#
# Take the line for dx with the output in mind. Output (p, q) lays the whole kernel, times its own dy, back onto the
# pixels that it saw:


# %%
def input_gradient(dy, x_shape, w, pad=1):
    """stride 1: each tap adds its share where it had read; then the padding is cut off"""
    N, H, W, C = x_shape
    KH, KW, _, K = w.shape
    _, OH, OW, _ = dy.shape
    dx = np.zeros((N, H + 2 * pad, W + 2 * pad, C))
    for i in range(KH):
        for j in range(KW):
            dx[:, i : i + OH, j : j + OW] += dy @ w[i, j].T  # [N, OH, OW, K] @ [K, C]
    return dx[:, pad : pad + H, pad : pad + W]


y, saved = ops.conv2d_forward(x, w)
assert np.allclose(input_gradient(dy, x.shape, w), ops.conv2d_backward(dy, saved)[0])

# %% [markdown]
# Compare it with step 2 of notebook 03: the slice has moved to the other side of the assignment, `=` became `+=`, and
# w is transposed. In forward all outputs *read*, in backward the same places are *written*.
#
# In notebook 03 a white dot went forward through the kernel F, and came out turned by 180°.
#
# **Predict.** Now a white dot is the *gradient*, in the middle of dy. What does dx look like?

# %%
dot = np.zeros((1, 9, 9, 1))
dot[0, 4, 4, 0] = 1
forward, saved = ops.conv2d_forward(dot, letter[:, :, None, None])
backward, _ = ops.conv2d_backward(dot, saved)

figure, axes = plt.subplots(1, 4, figsize=(8, 2.2), layout="constrained")
titles = ("a dot", "w", "forward: y of x = dot", "backward: dx of dy = dot")
for axis, title, picture in zip(axes, titles, (dot, letter[None, :, :, None], forward, backward), strict=True):
    axis.imshow(picture[0, :, :, 0])
    axis.set_title(title, fontsize=9)
    axis.set(xticks=[], yticks=[])
assert np.array_equal(backward[0, 2:7, 2:7, 0], letter) and np.array_equal(forward[0, 2:7, 2:7, 0], letter[::-1, ::-1])

# %% [markdown]
# Upright. The one output with a gradient lays its kernel down as it is. So forward *gathers* with w, and a dot comes
# out flipped; backward *scatters* with w, and a dot comes out upright.
#
# ## dx, second view: each input gathers
#
# Now take the same line with the *pixel* in mind. Which outputs saw pixel h, and through which tap? From $h = p + i -
# top$ follows $p = h - i + top$:
#
# $$dx_h = \sum_i dy_{h - i + top}\; w_i$$
#
# As i goes up, p goes *down*. So the pixel gathers from dy with the kernel read backwards. That is a convolution
# again, of dy with the **flipped kernel**, and with input and output channels exchanged:
#
# $$dx = conv(dy,\; w'), \qquad w'_{i,j,k,c} = w_{KH-1-i,\; KW-1-j,\; c,\; k}$$
#
# **Predict.** Is this exactly the same as the scattering, also at the border?

# %%
flipped = w[::-1, ::-1].transpose(0, 1, 3, 2)  # [KH, KW, K, C]
gathered, _ = ops.conv2d_forward(dy, flipped)  # SAME, stride 1
assert np.allclose(gathered, input_gradient(dy, x.shape, w))
print("largest difference", abs(gathered - input_gradient(dy, x.shape, w)).max())

# %% [markdown]
# The same. Scatter and gather are two orders in which to go through the same products: by output or by input. The
# flip is not an extra rule; it is what the scattering looks like from the other end.
#
# Both have their use. Scattering needs `+=` into places that overlap; gathering writes each place once, which is what
# a machine with many threads likes.
#
# ### With a stride
#
# With stride 2, outputs sit on every second pixel. Let us look at one axis: eight pixels, a kernel of three, stride
# 2, padding (1, 1), so four outputs. Each colour is what one output hands back.
#
# **Predict.** Do all pixels get gradient from equally many outputs?

# %%
w_line, dy_line = np.array([0.5, 1.0, 0.75]), np.array([1.0, 0.8, 1.2, 0.6])
parts = np.zeros((4, 10))  # output, padded pixel
for p in range(4):
    parts[p, 2 * p : 2 * p + 3] = dy_line[p] * w_line
parts = parts[:, 1:9]  # without the padding

figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
bottom = np.zeros(8)
for p, (part, colour, hatch) in enumerate(
    zip(parts, (BLUE, ORANGE, GREEN, VERMILION), ("", "//", "", "//"), strict=True)
):
    axis.bar(range(8), part, bottom=bottom, color=colour, hatch=hatch, edgecolor="white", label=f"from dy[{p}]")
    bottom += part
axis.set(xlabel="pixel h", ylabel="dx[h]", xticks=range(8), ylim=(0, 2))
axis.legend(frameon=False, ncols=4, fontsize=9)
print("outputs that see each pixel:", (parts > 0).sum(0))

# %% [markdown]
# Even pixels lie under the middle of one window, odd pixels under the ends of two (the last one has a window on one
# side only). To gather one can put dy back onto the fine grid with zeros between, and then convolve with the flipped
# kernel as above; the zeros are the pixels where no window sits. (Frameworks call that a transposed convolution.)
# Multiplying by all those zeros is wasteful; scattering skips them.
#
# In two dimensions it makes a pattern. We send a gradient of ones back through a kernel of ones, and so count the
# windows that see each pixel.
#
# **Predict.** For 3 × 3, 4 × 4 and 7 × 7 kernels with stride 2: which one has no pattern?

# %%
figure, axes = plt.subplots(1, 4, figsize=(10, 2.6), layout="constrained")
for axis, (k, stride) in zip(axes, ((3, 1), (3, 2), (4, 2), (7, 2)), strict=True):
    pads = ((k - 1) // 2, k // 2)
    y, saved = ops.conv2d_forward(np.ones((1, 14, 14, 1)), np.ones((k, k, 1, 1)), stride, 1, (pads, pads))
    counts = ops.conv2d_backward(np.ones_like(y), saved)[0][0, :, :, 0]
    axis.imshow(counts, cmap="viridis", vmin=0)
    axis.set_title(
        f"{k}x{k}, stride {stride}: {counts[3:-3, 3:-3].min():.0f} to {counts[3:-3, 3:-3].max():.0f}", fontsize=9
    )
    axis.set(xticks=[], yticks=[])
    assert (counts[3:-3, 3:-3].std() == 0) == (k % stride == 0)

# %% [markdown]
# Only where the stride divides the kernel is it even. With 3 × 3 and stride 2 a pixel is seen by 1, 2 or 4 windows,
# and the gradient of a picture shows a checkerboard. Nothing is wrong then: it is the right gradient. If you see this
# pattern in a picture that a net *generates*, it comes from here (Odena, Dumoulin and Olah 2016).
#
# ### Rows that nobody saw
#
# **Predict.** 8 pixels, kernel 3, stride 2, VALID: three windows on 0–2, 2–4, 4–6. What is the gradient of pixel 7?
# And what shape would dx have, if one computed it from dy alone as (OH − 1) · stride + KH?

# %%
x8, w8 = rng.standard_normal((1, 8, 8, 1)), rng.standard_normal((3, 3, 1, 1))
y, saved = ops.conv2d_forward(x8, w8, 2, 1, "VALID")
dx, _ = ops.conv2d_backward(np.ones_like(y), saved)
print("y", y.shape, "dx", dx.shape, "of the last row:", dx[0, 7, :, 0])
print("(OH - 1) * stride + KH =", (y.shape[1] - 1) * 2 + 3)
assert not dx[0, 7].any()

# %% [markdown]
# Zero, but it must be there: 8 rows, not 7. The size of x cannot be found from y, so `saved` has to tell it. It
# happens in ResNet's very first layer: with 7 × 7, stride 2, padding (3, 3) on 224 pixels, one row and one column of
# padding are left over. An implementation that forgets this works on most sizes, and fails on that one.
#
# ## As matrices
#
# With X = `im2col(x)`, all of it is three lines:
#
# $$Y = X W, \qquad dW = X^T\, dY, \qquad dX = dY\, W^T$$
#
# and dX, a gradient for each *copy* of a pixel, goes back to the pixels by adding up the copies. That is called
# `col2im`.
#
# **Predict.** Is `col2im` the inverse of `im2col`: does `col2im(im2col(x))` give x?

# %%
y, saved = ops.conv2d_forward(boot, np.ones((3, 3, 1, 1)))
padded = np.pad(boot, ((0, 0), (1, 1), (1, 1), (0, 0)))
col = np.stack([padded[:, i : i + 28, j : j + 28, 0] for i in range(3) for j in range(3)], axis=-1)  # [1, 28, 28, 9]
back = np.zeros_like(padded)
for t, (i, j) in enumerate(np.ndindex(3, 3)):
    back[:, i : i + 28, j : j + 28, 0] += col[..., t]
back = back[:, 1:-1, 1:-1]
counts, _ = ops.conv2d_backward(np.ones_like(y), saved)  # how many windows see each pixel
print("inner pixels:", np.unique(np.round(back[boot > 0] / boot[boot > 0])), "times x")
assert np.allclose(back, counts * boot)

# %% [markdown]
# No: nine times x (six or four at the border), a copy for each window. It is the *transpose* of `im2col`, not its
# inverse. The pullback of a linear map is always its transpose, as in notebook 02.
#
# ## Which test finds which mistake?
#
# Five mistakes that people make in dx and dw, and four inputs to test them on: everything random; a kernel that is
# the same when mirrored; a stride of 2; a batch of one picture.
#
# **Predict.** Which mistake survives the mirrored kernel? Which one survives the single picture?


# %%
def wrong(mistake):
    """conv2d_backward with this mistake"""

    def conv2d_backward(dy, saved):
        x, w, stride = saved.x, saved.w, saved.stride[0]
        used = w[::-1, ::-1] if mistake == "kernel flipped" else w
        used = used.transpose(0, 1, 3, 2) if mistake == "w not transposed" else used
        N, H, W, C = x.shape
        (_, OH, OW, _), (top, left) = dy.shape, (saved.pads[0][0], saved.pads[1][0])
        dx = np.zeros((N, H + sum(saved.pads[0]), W + sum(saved.pads[1]), C))
        for i, j in np.ndindex(w.shape[:2]):
            rows, cols = slice(i, i + stride * (OH - 1) + 1, stride), slice(j, j + stride * (OW - 1) + 1, stride)
            share = dy @ used[i, j].T
            dx[:, rows, cols] = share if mistake == "= for +=" else dx[:, rows, cols] + share
        if mistake == "cut at 0":
            top = left = 0
        _, dw = ops.conv2d_backward(dy, saved)
        return dx[:, top : top + H, left : left + W], dw / N if mistake == "dw / N" else dw

    return conv2d_backward


def conv(stride):
    def fn(x, w):
        y, saved = ops.conv2d_forward(x, w, stride, 1, ((1, 1), (1, 1)))
        return y, lambda dy: ops.conv2d_backward(dy, saved)

    return fn


x, w = rng.standard_normal((2, 7, 8, 3)), rng.standard_normal((3, 3, 3, 3))
mirrored = w + w[::-1] + w[:, ::-1] + w[::-1, ::-1]
tests = {"random": (1, x, w), "mirrored w": (1, x, mirrored), "stride 2": (2, x, w), "one picture": (1, x[:1], w)}
print(f"{'':18}", *(f"{name:>12}" for name in tests))
for mistake in ("none", "kernel flipped", "w not transposed", "cut at 0", "= for +=", "dw / N"):
    found = []
    with tinyresnet.use(conv2d_backward=wrong(mistake)):
        for stride, pictures, kernel in tests.values():
            found.append(not check_gradients(conv(stride), pictures, kernel).passed)
    print(f"{mistake:18}", *(f"{'found' if f else '-':>12}" for f in found))
    assert found[0] == (mistake != "none")

# %% [markdown]
# A mirrored kernel (a mean, a Gaussian, all ones: what one likes to write down as a "simple test") cannot see a flip,
# and a single picture cannot see a mean over the batch. Random numbers, N ≥ 2, H ≠ W, strides 1 and 2: then the check
# finds them all.
#
# `tinyresnet.use(conv2d_backward=...)` replaces an op wherever it is used, in a whole ResNet too.
#
# ## dx at work: sharpening a blurred boot
#
# dx is the gradient of the *picture*. Here is a boot, blurred by a 5 × 5 mean. We look for a picture whose blur is
# the one that we see: begin with black, and go downhill along dx.
#
# **Predict.** Will it find the boot? Exactly?

# %%
blur = np.ones((5, 5, 1, 1)) / 25
seen, _ = ops.conv2d_forward(boot, blur)
guess, shown = np.zeros_like(boot), {}
for step in range(301):
    if step in (1, 10, 300):
        shown[f"step {step}"] = guess
    y, saved = ops.conv2d_forward(guess, blur)
    dx, _ = ops.conv2d_backward(y - seen, saved)
    guess = guess - 1.8 * dx

figure, axes = plt.subplots(1, 5, figsize=(10, 2.3), layout="constrained")
for axis, (title, picture) in zip(axes, {"seen": seen, **shown, "true": boot}.items(), strict=True):
    axis.imshow(picture[0, :, :, 0], vmin=0, vmax=1)
    axis.set_title(title, fontsize=10)
    axis.set(xticks=[], yticks=[])
print(f"mean error: blurred {abs(seen - boot).mean():.3f}, after 300 steps {abs(guess - boot).mean():.3f}")
assert abs(guess - boot).mean() < 0.7 * abs(seen - boot).mean()

# %% [markdown]
# Nearly. Details that the mean wiped out have almost no influence on what is seen, so their gradient is almost zero,
# and they come back very slowly. Grad-CAM, adversarial pictures and style transfer all use this gradient of the
# picture; a training step does not need it for the first layer, and leaves it out (`input_gradient=False`).
#
# ## Exercises
#
# All with stride and padding, and the first three also with a rate. `saved` is a `Conv2DSaved`: `x`, `w`, `stride`
# and `rate` (pairs), `pads` ((top, bottom), (left, right)).
#
# **conv2d_weights_gradient.** dy `[N, OH, OW, K]` → dw `[KH, KW, C, K]`. Which products contain w[i, j, c, k]?

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_weights_gradient(dy, saved):
    """dy [N, OH, OW, K] -> dw [KH, KW, C, K]"""
    raise NotImplementedError("conv2d_weights_gradient is not written yet")


exercises.check("conv2d_weights_gradient", conv2d_weights_gradient)

# %% [markdown]
# **conv2d_input_gradient.** dy `[N, OH, OW, K]` → dx `[N, H, W, C]`. Pixels that no window saw have gradient 0, and
# are there.

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_input_gradient(dy, saved):
    """dy [N, OH, OW, K] -> dx [N, H, W, C]"""
    raise NotImplementedError("conv2d_input_gradient is not written yet")


exercises.check("conv2d_input_gradient", conv2d_input_gradient)

# %% [markdown]
# **conv2d_backward.** Both together, as the op has it: return dx and dw. If you like, take your two functions from
# above.

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_backward(dy, saved):
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K]"""
    raise NotImplementedError("conv2d_backward is not written yet")


exercises.check("conv2d_backward", conv2d_backward)

# %% [markdown]
# **col2im.** `col2im(dcol, shape, stride, pads)`: dcol `[N, OH, OW, KH, KW, C]` is the gradient of `im2col(x)`,
# `shape` that of x. Return dx; a pixel gets the sum over all its copies.

# %% tags=["exercise"]
from tinyresnet import exercises


def col2im(dcol, shape, stride, pads):
    """dcol [N, OH, OW, KH, KW, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("col2im is not written yet")


exercises.check("col2im", col2im)

# %% [markdown]
# There are two more: `conv2d_bias_add_backward`, and `find_the_bug_convolution`, where a wrong function is given.
# `tinyresnet exercise start find_the_bug_convolution` writes it into a file for you.
#
# ## What to read next
#
# - [Notebook 06](06_batch_norm.ipynb): batch norm, where x goes three ways.
# - [ops/conv2d.py](../tinyresnet/ops/conv2d.py): forward and backward on one page.
# - Odena, Dumoulin and Olah 2016, [Deconvolution and Checkerboard
#   Artifacts](https://distill.pub/2016/deconv-checkerboard/).
