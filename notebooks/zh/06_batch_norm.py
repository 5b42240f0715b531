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
# # 06 · 批归一化
#
# **目标。** 读完之后，你能让批归一化的梯度走过由 26 个小步组成的图，再把它写成一行；知道这一行在几何上是什么意思，为什么 `dy` 全为 1 的检验对它视而不见，训练与推理有什么不同，以及滑动平均是做什么用的。
#
# **预备知识：** 笔记本 [01](01_chain_rule.ipynb)（一个值用了两次，梯度就是两处之和）和 [02](02_pullbacks.ipynb)（回传函数）。

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
# ## 它是做什么用的
#
# 深的网络一次又一次地乘以权重。如果每一层使数值大 20 %，三十层之后就大了 237 倍；如果变小，就会消失。我们让 8 张图片经过 20 层卷积加 ReLU，权重的大小取三种：对 ReLU 恰到好处的（方差 2 / fan_in，He et al. 2015）、它的 1.5 倍、它的一半。
#
# **预测：** 三种情况下，20 层之后数值的离散程度各是多少？如果每个卷积之后都加上批归一化呢？


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
# 没有批归一化，离散程度按几何级数变化。有了它，三条蓝线重合在一起：权重上的倍数完全不起作用。
#
# ## 定义
#
# 对每个通道，取它在这一批里的全部 n = N · H · W 个数：
#
# $$mean = \frac1n \sum x, \qquad var = \frac1n \sum (x - mean)^2, \qquad xhat = \frac{x - mean}{\sqrt{var + \epsilon}}, \qquad y = \gamma\, xhat + \beta$$
#
# x 和 y 是 `[N, H, W, C]`；mean、var、gamma、beta 都是 `[C]`。epsilon（10⁻⁵）是为了避免某个通道为常数时除以零。gamma 和 beta 是学出来的，可以恢复任何离散程度和任何均值。
#
# **预测。** x 是 `[64, 14, 14, 16]`。多少个数共用一个均值？这一层要学多少个数？

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
# 不管进来的是什么，y 的均值就是 beta，标准差就是 gamma。
#
# ## 二十六步
#
# 现在来求梯度。一个通道里的每个 x 都会推动均值和方差，而它们又推动这个通道的每个 y。看起来毫无希望，除非把它切成很小的步子，小到每一步都一目了然。前向十三步；最后一步用随机的 dy 把结果变成一个数：
#
# | 步 | 前向 | 被谁使用 |
# |---|---|---|
# | 1 | `total = x.sum(over)` | 2 |
# | 2 | `mean = total / n` | 3 |
# | 3 | `centred = x - mean` | 4 和 10 |
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
# **预测。** 拿一张纸，遮住后面的内容，写出十三步反向，从 13 到 1：上面每个等号左边的名字前加 `d_`。有两个值用了两次，是哪两个？（其中一个是 x。）

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
# 对不对呢？我们不必只看最后的结果：**中间的每个值都可以单独检验**。在它的位置上放一个稍有改动的数，让图的其余部分照常运行，看损失怎样变化。这样一来，写错的人不仅知道错了，还知道*错在哪里*。（这个主意来自 Andrej Karpathy 的 makemore 第 4 部分。）


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
# **预测。** 现在忘掉 `centred` 的第二次使用，这是最常见的错误。表中第一个 WRONG 会出现在哪里？之后的又如何？

# %%
errors = compare(backward(v, centred_twice=False))
print("  ".join(f"{name} {'ok' if error < 1e-4 else 'WRONG'}" for name, error in errors.items()))
assert next(name for name, error in errors.items() if error > 1e-4) == "centred"

# %% [markdown]
# 到 `sq` 为止都是对的；第一个错的是 `centred`，它又连累了 x。错误的位置精确到行。
#
# （注意：尽管 `centred` 错了，`mean` 和 `total` 仍然是对的。经由方差回来的那一份是 `centred` 的倍数，而一个通道里所有 `centred` 之和为零。下面会用到这一点。）
#
# ## 化成一行
#
# 现在把各步代入。从 13 到 10，`d_xhat = gamma * dy`。从 10 到 6，用 mean(·) 表示对一个通道的 n 个数求均值：
#
# $$d\_var = -\tfrac12\, inv\_std^3 \sum d\_xhat \cdot centred = -\tfrac n2\, inv\_std^2\; mean(d\_xhat \cdot xhat)$$
#
# `centred` 从两处使用收集梯度，而 $centred \cdot inv\_std = xhat$：
#
# $$d\_centred = inv\_std \cdot d\_xhat + \tfrac2n\, centred \cdot d\_var = inv\_std\, \big(d\_xhat - xhat \cdot mean(d\_xhat \cdot xhat)\big)$$
#
# 最后一步，从 centred 到 x，要减去均值；因为 mean(xhat) = 0，第二项的均值为零：
#
# $$dx = d\_centred - mean(d\_centred) = inv\_std\, \big(d\_xhat - mean(d\_xhat) - xhat \cdot mean(d\_xhat \cdot xhat)\big)$$
#
# gamma 在整个通道里都相同，可以提到前面。这就是那一行：
#
# $$\boxed{\; dx = \gamma \cdot inv\_std \cdot \big(dy - mean(dy) - xhat \cdot mean(dy \cdot xhat)\big) \;}$$
#
# **预测。** 由于 epsilon，xhat 的方差是 var / (var + epsilon)，不完全等于 1。那么这一行只是近似的吗？


# %%
def one_line(dy, xhat, gamma, inv_std):
    return gamma * inv_std * (dy - dy.mean(over) - xhat * (dy * xhat).mean(over))


dx = one_line(given["dy"], v["xhat"], given["gamma"], v["inv_std"])
difference = abs(dx - d["x"]).max() / abs(dx).max()
print(f"one line against 13 steps: {difference:.0e}")
assert difference < 1e-12

# %% [markdown]
# 它是精确的，epsilon 也算在内。推导中从来没有用到 xhat 的方差为 1，只用到它的均值为 0，而这一点确实成立。
#
# ## 这一行是什么意思
#
# 对每个通道来说，dy 是一个有 n 个数的向量。这一行从中去掉两个方向：
#
# - `mean(dy)`：方向 (1, 1, …, 1)。给所有 x 加上同一个数，什么都不会变，所以梯度不能指向这里。
# - `xhat * mean(dy * xhat)`：xhat 自己的方向。把所有 x 同时放大，（除 epsilon 外）什么都不会变，所以梯度也不能指向这里。
#
# 剩下的再乘以 gamma / std。所以 dx 是 dy 在批归一化允许通过的方向上的*投影*。
#
# **预测：** x 是一张靴子的图片，dy 分别为 (a) 处处为 1，(b) xhat 本身，即“让对比度更大”，(c) 一条连衣裙。dx 各是什么？

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
# (a) 和 (b) 什么也得不到。(c) 中，连衣裙的梯度里出现了靴子的影子：连衣裙中像靴子的那一部分被去掉了。
#
# ## 为什么全 1 的检验是瞎的
#
# 许多检验把输出加起来，再对这个和求导。这时 dy 全是 1，正是情形 (a)：正确的 dx 是**零**。所以任何在那里给出零的反向函数都能通过，不管错得多离谱。
#
# 下面有六个错误的版本，还有第七个，什么都不看就返回零。
#
# **预测：** 七个里面，全 1 的检验能发现哪些？随机的能发现哪些？


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
# 七个里只有一个。连*返回零*都能通过。一些有名的教学库正是这样测试批归一化的。随机的 dy 则把它们全部找了出来。
#
# 这个教训不限于批归一化：**在真实梯度为零的地方检验，等于没有检验。** `check_gradients` 会自己说明这一点：它把这样的参数标为 *powerless here*（检验不出来），并且不算通过。


# %%
def summed(x, gamma, beta):
    y, back = norm(x, gamma, beta)
    return y.sum(), lambda dy: back(np.full_like(y, dy))


report = check_gradients(summed, x3, gamma3, beta3, names=("x", "gamma", "beta"))
print({argument.name: argument.status for argument in report.arguments})
assert not report.passed

# %% [markdown]
# ## 对前一层的两个影响
#
# 凡是批归一化忽略的，它前面的权重就学不到。
#
# **预测。** 批归一化前面是一个卷积。(1) 它的偏置的梯度是多少？(2) 把它的权重放大十倍，y 和 dw 怎样变化？


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
# (1) 是零：均值把偏置吞掉了。所以 ResNet 单元的 `conv1` 和 `conv2` 没有偏置，由 beta 代劳。(2) y 不变，梯度则*缩小*到十分之一。权重大，学得就慢，这使得学习率偏大的训练也能稳住；而权重衰减既然改变不了这一层算出的结果，实际上调节的是它的学习率。
#
# ## 训练与推理
#
# 训练时，一张图片是与碰巧同批的其他图片一起归一化的。
#
# **预测。** 同一只靴子在 100 个不同的、每批 8 张的批里走一遍。靴子的 y 会变吗？如果这是给客户用的产品，会怎么样？

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
# 靴子得到的答案取决于它与谁同行。在训练中，这是一种噪声，没有坏处，甚至可能有好处。使用时却不行：答案不应当取决于还有谁在提问。所以推理用固定的均值和方差。
#
# ## 滑动平均
#
# 用哪些固定的数呢？训练结束时整个训练集的均值和方差。它们是一路收集起来的：每一批之后
#
# $$moving \leftarrow decay \cdot moving + (1 - decay) \cdot batch$$
#
# moving_mean 从 0 开始，moving_variance 从 1 开始。这叫滑动平均。ResNet 的 decay 是 0.997。
#
# **预测。** decay 为 0.9、0.99、0.997 时，各要多少步，平均值离目标才只差 5 %？（t 步之后，初始值还剩下 decayᵗ。）

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
# decay 越大，平均的批数越多，大约是 1 / (1 − decay) 批，起步也越慢。用 0.997 时，头一千步不能拿来测试：网络已经学会了，推理所用的数却还在从 0 和 1 出发的路上。“训练准确率 95 %，测试准确率 10 %”，往往就是这个原因。短的训练请用 0.9。
#
# 还有一个细节。归一化这一批用的是*有偏*方差，除以 n；喂给滑动方差的是*无偏*方差，除以 n − 1：它要估计的是所有图片的方差，而一批图片会低估它。
#
# **预测。** n = 4 时，两者相差多少倍？一批 32 张 14 × 14 的特征图呢？

# %%
for n, about in ((4, "n = 4"), (32 * 14 * 14, "32 maps of 14 x 14")):
    print(f"{about:20} n / (n - 1) = {n / (n - 1):.5f}")
four = rng.standard_normal((20000, 4))  # true variance 1
print(f"mean over 20000 batches of 4: biased {four.var(1).mean():.3f}, unbiased {four.var(1, ddof=1).mean():.3f}")

# %% [markdown]
# ## 推理模式及其梯度
#
# 均值和方差固定之后，批归一化就是每个通道一次乘法、一次加法：
#
# $$y = a\, x + b, \qquad a = \gamma \cdot inv\_std, \qquad b = \beta - a \cdot moving\_mean$$
#
# **预测** dx。那一行里的哪两项不见了，为什么？

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
# $dx = \gamma \cdot inv\_std \cdot dy$：均值和方差现在是常数，没有东西经由它们回来。（冻结统计量做微调时，常有人把这两个梯度弄混。）而且 a 和 b 可以乘进卷积的权重里，所以在只用不训练的网络里，批归一化完全不花时间：`tinyresnet.freeze` 做的就是这件事。
#
# ## 练习
#
# **batch_norm_graph。** 请合上前面的单元格，自己写出回来的路：`steps` 里有 `mean`、`centred`、`sq`、`var`、`inv_std` 和 `xhat`，其中 `mean = x.mean(over)`，`sq = centred**2`，`var = sq.mean(over)`，`inv_std = (var + epsilon) ** -0.5`。按顺序返回 d_xhat、d_gamma、d_beta、d_inv_std、d_var、d_sq、d_centred、d_mean、dx。

# %% tags=["exercise"]
from tinyresnet import exercises


def batch_norm_graph(dy, gamma, steps):
    """dy [..., C], gamma [C] -> d_xhat, d_gamma, d_beta, d_inv_std, d_var, d_sq, d_centred, d_mean, dx"""
    raise NotImplementedError("batch_norm_graph is not written yet")


exercises.check("batch_norm_graph", batch_norm_graph)

# %% [markdown]
# **batch_norm_backward。** 算子本身：dy `[..., C]` → dx `[..., C]`、dgamma `[C]`、dbeta `[C]`。`saved` 里有 `x`、`gamma`、`mean`、`var` 和 `inv_std`。对 `[N, C]` 也要能用。

# %% tags=["exercise"]
from tinyresnet import exercises


def batch_norm_backward(dy, saved):
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_backward is not written yet")


exercises.check("batch_norm_backward", batch_norm_backward)

# %% [markdown]
# **moving_average。** `moving_average(moving_mean, moving_variance, x, decay)`：返回这一批之后的两个平均。方差用这一批的无偏方差；如果每个通道只有一个数，系数 n / (n − 1) 取 1。

# %% tags=["exercise"]
from tinyresnet import exercises


def moving_average(moving_mean, moving_variance, x, decay):
    """moving_mean, moving_variance [C], x [..., C] -> new moving_mean, moving_variance [C]"""
    raise NotImplementedError("moving_average is not written yet")


exercises.check("moving_average", moving_average)

# %% [markdown]
# **fool_all_ones。** 现在反过来：写一个*错误的* `batch_norm_backward`，让 dy = 1 的检验接受它，而随机的检验拒绝它。dgamma 和 dbeta 也在检验之列。

# %% tags=["exercise"]
from tinyresnet import exercises


def fool_all_ones(dy, saved):
    """dy [..., C] -> a wrong dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("fool_all_ones is not written yet")


exercises.check("fool_all_ones", fool_all_ones)

# %% [markdown]
# 还有几个：`batch_norm_one_line`、`batch_norm_inference`、`batch_norm_inference_backward`，以及给出一个有错的函数的 `find_the_bug_batch_norm`。`tinyresnet exercise start NAME` 会把待写的代码放进一个文件。
#
# ## 接下来读什么
#
# - [笔记本 07](07_relu_pooling_cross_entropy.ipynb)：ReLU、池化和损失。
# - [这个反向函数对吗？](../../docs/zh/gradcheck.md#为什么上游梯度是随机的)：全 1 与随机的对比，还有一张图画出了那三项。
# - Ioffe 与 Szegedy 2015，[Batch Normalization](https://arxiv.org/abs/1502.03167)：算法 1 和算法 2，正是这个笔记本的两半。
