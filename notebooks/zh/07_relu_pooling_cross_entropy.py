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
# # 07 · ReLU、池化、交叉熵
#
# **目标。** 学完这一本，你能写出 ResNet 里四个小部件的反向传播：ReLU、最大池化（包括相等的情形）、全局平均池化，以及 softmax 与交叉熵。你还能说出每一个把梯度送到*哪里*。
#
# **需要先会**链式法则和回传函数，也就是笔记本 01 和 02。卷积和批归一化不是必需的，只在最后用到一行。

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
# ## ReLU：每个数有一扇门
#
# ReLU 把负数截成零：
#
# $$y = \max(x, 0), \qquad dx = dy \cdot [x > 0].$$
#
# 每个数都有自己的一扇门。$x > 0$ 的地方门开着，梯度原样通过；其余的地方门关着，无论 $dy$ 有多大，什么都过不去。
#
# 我们需要一些带负数的东西。那就用一个小卷积在一只凉鞋上找边缘，后面接上 ReLU。
#
# **预测。** $dy$ 是随机的，一半是负数。$dx$ 里会有负数吗？在 $y$ 的图上为白色的地方，$dx$ 里会有负数吗？

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
# 可见 $dx$ 里有负数：ReLU 截掉的是负的*数值*，不是负的*梯度*。写成 `np.maximum(dy, 0)` 的人，就是把两者弄混了。而关着的门后面什么也得不到，这张图的大部分都是这样。
#
# 如果一个数对*每一张*图片都关着门，它就再也得不到梯度，它的权重也就再也不动：这叫死掉的 ReLU。在 ResNet v2 里，每个 ReLU 前面都有批归一化，它让大约一半的门开着。
#
# ### 在零点
#
# ReLU 在 $x = 0$ 处有一个折点，没有导数，约定取 0。跨过折点的有限差分，既不是 0 也不是 1。
#
# **预测。** 在 $x = 0$ 处，$(f(h) - f(-h)) / 2h$ 等于多少？

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
# 二分之一：无论约定怎么取，它都不对。所以梯度检验会察觉折点，把它们排除在外，并说出有几个（[这个反向函数对吗？](../../docs/zh/gradcheck.md)）。
#
# ## 最大池化：胜者全得
#
# 输出是每个窗口里最大的数，
#
# $$y_{pq} = \max_{i,j}\; x_{ps+i,\;qs+j} .$$
#
# 只有胜者有影响：败者稍微变大一点，$y$ 并不改变。所以每个窗口的梯度整个交给它的胜者。卷积核比步长大时窗口会重叠，一个像素若在几个窗口里都胜出，就得到它们的和。
#
# **预测。** 用 3×3 的窗口、步长 2，把 28×28 的凉鞋池化成 14×14，并让 $dy$ 处处为 1。$dx$ 的和是多少？黑色背景里所有像素一样大，那里的梯度会去哪里？

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
# 和没有变：196 个窗口各自把得到的原样交了出去。在背景里（蓝线之外），梯度落在规则的网格上：大家一样大时，按行的顺序*第一个*胜出，也就是窗口左上角的那个。在凉鞋里面，少数很亮的像素一次赢得多达四个窗口（黑色）。
#
# ### 相等的时候
#
# 再看一个诱人的一行写法：“凡是和最大值一样大的像素都得到梯度”，即 `dx += dy * (x == y)`。
#
# **预测。** $dx$ 的和会变成原来的几倍？

# %%
padded = np.pad(sandal, ((0, 0), *saved.windows.pads, (0, 0)), constant_values=-np.inf)
d_padded = np.zeros_like(padded)
for _, _, rows, cols in saved.windows.taps():  # 9 places of a window
    d_padded[:, rows, cols] += dy * (padded[:, rows, cols] == y)
print("winner takes all:", dx.sum(), "  everybody who is as large:", d_padded.sum())
assert d_padded.sum() > 3 * dx.sum()

# %% [markdown]
# 大了五倍还多，而且全在平坦的背景里。换成随机数，这个错误就看不出来，因为没有相等的数：在噪声上做梯度检验会通过。真实的图片里到处都是相等的数（ReLU 之后也是，那里零很多）。把梯度交给第一个胜者，是 PyTorch 和 TensorFlow 的做法。
#
# ### 图片之外是什么
#
# 边缘的窗口会伸到图片外面。ResNet v2 的 pool1 池化的数*还没有*经过 ReLU，所以可能全是负的。
#
# **预测。** $x$ 的所有数都不大于 −1。如果外面算作 0，池化后的图在角上是多少？应该是多少？

# %%
x = -1 - sandal
zeros_outside = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
wrong, _ = ops.max_pool2d_forward(zeros_outside, 3, stride=2, padding="VALID")
right, _ = ops.max_pool2d_forward(x, 3, stride=2, padding="SAME")
print("last row with zeros outside:", wrong[0, -1, -3:, 0], " with -inf outside:", right[0, -1, -3:, 0])
assert wrong.max() == 0 and right.max() == -1

# %% [markdown]
# 一个不在图片里的零不该胜出。所以在最大池化里，填充算作 $-\infty$；在卷积里，填充算作 0。
#
# ## 特征图的均值：人人有份
#
# ResNet 在末尾对每张特征图求均值，
#
# $$y_c = \frac{1}{HW} \sum_{h,w} x_{hwc}, \qquad dx_{hwc} = \frac{dy_c}{HW} .$$
#
# **预测。** 两种池化中，哪一种让一个像素得到的梯度*更少*？这对学习意味着什么？

# %%
maximum, saved_max = ops.max_pool2d_forward(sandal, 28, stride=28, padding="VALID")
average, saved_mean = ops.global_avg_pool_forward(sandal)
one = np.ones((1, 1, 1, 1))
to_winner, to_all = ops.max_pool2d_backward(one, saved_max), ops.global_avg_pool_backward(one, saved_mean)

for name, dx in (("max", to_winner), ("mean", to_all)):
    print(f"{name:>4}: {int((dx > 0).sum()):>3} pixels get {dx.max():.4f} each, together {dx.sum():.4f}")
assert np.isclose(to_all.sum(), 1) and to_winner.sum() == 1

# %% [markdown]
# 两者交出的总和都是 1。最大池化把它全给了一个像素，另外 783 个什么也学不到；均值则给每个像素一点。因此每一步里，所有位置的特征都在学习；也因此可以从最后的特征图上读出类激活图（网络看的是哪里）。
#
# ## softmax 与交叉熵
#
# 对每张图片，网络最后给出 K 个数，叫作 *logits*，记作 $z$。softmax 把它们变成概率，损失是真实类别 $t$ 的概率的对数取负：
#
# $$p_k = \frac{e^{z_k}}{\sum_j e^{z_j}}, \qquad \text{loss} = -\log p_t = -z_t + \log \sum_j e^{z_j} .$$
#
# 对右边求导。第一项在真实类别处给出 −1，第二项给出 $e^{z_k} / \sum_j e^{z_j}$，也就是 $p_k$。于是
#
# $$dz_k = p_k - [k = t] ,$$
#
# 如果损失是 $N$ 张图片的均值，再除以 $N$。指数全都不见了：梯度就是*概率减真相*。
#
# **预测。** logits 是 2、1、0，真实类别是第 0 类。三个梯度各是什么符号？它们的和是多少？

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
# 下坡是*逆着*梯度走：真实类别的 logit 上升，其余的下降。和为零，是因为所有 logits 同时加上一个数，什么都不会变。
#
# ### 为什么两者合成一个算子
#
# 公式里有 $e^{z}$。在 float64 里，$e^{1000}$ 是无穷大。
#
# **预测。** logits 是 1000、0、0 时，直接照公式算会得到什么？

# %%
large = np.array([[1000.0, 0, 0]])
with np.errstate(all="ignore"):
    e = np.exp(large)
    plain = -np.log((e / e.sum())[0, 1])
stable, saved = ops.softmax_cross_entropy_forward(large, np.array([1]))
print("plain formula:", plain, "  one op:", stable, "  gradient:", ops.softmax_cross_entropy_backward(1.0, saved)[0])
assert not np.isfinite(plain) and stable == 1000

# %% [markdown]
# 算子先减去最大的 logit。这不改变任何东西（所有 logits 同时减去一个数，什么都不会变），而最大的指数就成了 0。它也从不对一个已经舍入为零的概率取对数：$\log p_t = z_t - \log \sum_j e^{z_j}$ 用不着。
#
# ### 为什么不用平方误差？
#
# 也可以让 $\sum_k (p_k - [k = t])^2$ 最小，它在同一个地方为零。我们来看，对一张*错得很有把握*的图片，网络能学到什么。
#
# **预测。** 真实类别的 logit 从 −10（有把握地错）变到 10（有把握地对），另外两个保持为 0。两种梯度各在哪里最大？

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
# 对一张错得很有把握的图片，用平方误差的网络*什么也学不到*：softmax 在那里的斜率是零，而这个斜率要乘到梯度上。交叉熵恰恰从这样的图片里学得最多，因为它的对数抵消了指数。两者总是成对出现，原因就在这里。
#
# ## 全部连成一串
#
# 卷积、ReLU、最大池化、均值、损失：五步组成一个小网络，再用它们的回传函数把梯度一路送回图片。
#
# **预测。** 图片的梯度里，有没有恰好为零的像素？说出两个不同的原因。

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
# 零有两个原因：看得到这个像素的窗口里，没有一扇门开着（黑色背景，卷积处处给出 0）；或者门开着，却没有一个在自己的池化窗口里胜出。
#
# 背景里还到处是相等的数和折点，那里的有限差分说明不了什么。给图片加一点噪声，这些就都没有了，检验才是真正的检验：

# %%
noisy = picture + 0.1 * rng.standard_normal(picture.shape)
report = check_gradients(net, noisy, names=("picture",))
print(report)
assert report.passed

# %% [markdown]
# ## 一张表
#
# | 算子 | 梯度去哪里 | dx 的和 / dy 的和 |
# |---|---|---|
# | ReLU | 穿过开着的门 | 门放过多少就是多少 |
# | 最大池化 | 每个窗口的胜者，按行的顺序取第一个 | 1 |
# | 全局平均池化 | 每个像素一样多 | 1 |
# | softmax 与交叉熵 | $(p - t) / N$ | 对各类别求和为 0 |
#
# 它们的源码：[relu.py](../../tinyresnet/ops/relu.py)、[max_pool2d.py](../../tinyresnet/ops/max_pool2d.py)、[global_avg_pool.py](../../tinyresnet/ops/global_avg_pool.py)、[softmax.py](../../tinyresnet/ops/softmax.py)。每一个都比这里讲它的文字还短。
#
# ## 练习
#
# 请自己写，再让 `check` 看一看。它会说出错在哪里，而不只是说有错。
#
# **ReLU。** `dy` 是任意形状的数组；`saved.y` 是前向的输出（$y > 0$ 当且仅当 $x > 0$）。返回 `dx`。在 0 处导数取 0。

# %% tags=["exercise"]
from tinyresnet import exercises


def relu_backward(dy, saved):
    """dy [...], saved.y [...] -> dx [...]"""
    raise NotImplementedError("relu_backward is not written yet")


exercises.check("relu_backward", relu_backward)

# %% [markdown]
# **最大池化。** `saved.winner` [N, OH, OW, C] 说明每个窗口里胜出的是哪个位置，写成 `i * KW + j`；`saved.shape` 是 x 的形状；`saved.windows.taps()` 对每个位置 (i, j) 给出*填充后*图片的行和列，用法见上面讲相等的那个单元格。返回去掉填充之后的 `dx` [N, H, W, C]。

# %% tags=["exercise"]
from tinyresnet import exercises


def max_pool2d_backward(dy, saved):
    """dy [N, OH, OW, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("max_pool2d_backward is not written yet")


exercises.check("max_pool2d_backward", max_pool2d_backward)

# %% [markdown]
# **全局平均池化。** `dy` 的形状是 [N, 1, 1, C]，`saved.shape` = (N, H, W, C)。返回 `dx` [N, H, W, C]。

# %% tags=["exercise"]
from tinyresnet import exercises


def global_avg_pool_backward(dy, saved):
    """dy [N, 1, 1, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("global_avg_pool_backward is not written yet")


exercises.check("global_avg_pool_backward", global_avg_pool_backward)

# %% [markdown]
# **softmax 与交叉熵。** `dy` 是损失的梯度，一个数；`saved.probabilities` 和 `saved.targets` 的形状是 [..., K]。损失是对所有行求的均值。返回 `dlogits` [..., K]。

# %% tags=["exercise"]
from tinyresnet import exercises


def softmax_cross_entropy_backward(dy, saved):
    """dy, a number -> dlogits [..., K]"""
    raise NotImplementedError("softmax_cross_entropy_backward is not written yet")


exercises.check("softmax_cross_entropy_backward", softmax_cross_entropy_backward)

# %% [markdown]
# ## 接下来读什么
#
# 笔记本 08 把这些部件组成一个预激活单元，并仔细看梯度相加的那两个地方。[各部分的反向传播](../../docs/zh/resnet_v2.md#各部分的反向传播)把所有公式放在一张表里。
