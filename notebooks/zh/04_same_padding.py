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
# # 04 · SAME 与 conv2d_same
#
# **目标。** 读完之后，你会手算 TensorFlow 的 SAME 填充，说得出带步长的卷积的每个窗口落在哪里，能解释为什么 ResNet 在有步长的地方不用 SAME，以及为什么任何梯度检验都发现不了错误的填充。
#
# **预备知识：** 笔记本 [00](00_shapes.ipynb)（输出的大小）和 [03](03_convolution_forward.ipynb)（卷积）。

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
BLUE, VERMILION, GREEN, GREY, PALE = "#0072B2", "#D55E00", "#009E73", "#777777", "#EEF2F5"
rng = np.random.default_rng(0)
images, labels, _, _ = fashion_mnist()
boot = images[np.flatnonzero(labels == 9)[0], :, :, 0] / 255  # [28, 28]

# %% [markdown]
# ## 为什么要填充？
#
# 3 × 3 的窗口放不到最外面的像素上。VALID 干脆不放，于是每一层图片都小两个像素。SAME 则在周围补零。
#
# 我们把一只*白底*的靴子用 3 × 3 的均值连续模糊四次。
#
# **预测。** 四层之后，VALID 还剩多大？SAME 的那些零会把图片变成什么样？

# %%
white = 1 - boot[None, :, :, None]
mean = np.ones((3, 3, 1, 1)) / 9
nets = {"VALID": white, "SAME": white}
for _ in range(4):
    nets = {padding: ops.conv2d_forward(net, mean, padding=padding)[0] for padding, net in nets.items()}

figure, axes = plt.subplots(1, 3, figsize=(8, 2.7), layout="constrained")
for axis, (title, net) in zip(axes, {"x": white, **nets}.items(), strict=True):
    axis.imshow(net[0, :, :, 0], vmin=0, vmax=1)
    axis.set_title(f"{title}  {net.shape[1]}x{net.shape[2]}")
    axis.set(xticks=[], yticks=[])
corner, edge = nets["SAME"][0, 0, 0, 0], nets["SAME"][0, 0, 14, 0]
print(f"white ground after 4 layers of SAME: corner {corner:.2f}, edge {edge:.2f}")

# %% [markdown]
# 28 个像素里，VALID 吃掉了 8 个。SAME 一个不少，但零是*黑*的，黑暗从边缘渗进来，每层渗一个像素。天下没有免费的填充：网络看得出边缘在哪里。它能学会适应，只要边缘总在同一个地方。
#
# ## SAME 的规则
#
# SAME 由结果来定义：一个轴上有 $\lceil n/s \rceil$ 个窗口，与卷积核无关。由此可以推出需要多少个零，才能让最后一个窗口刚好放得下；这些零前后平分，如果是奇数，多出的一个放在图片*后面*。
#
# $$total = \max\big((\lceil n/s \rceil - 1)\, s + k - n,\; 0\big)$$
#
# $$before = \lfloor total / 2 \rfloor, \qquad after = total - before$$
#
# **预测：** k = 3、n = 4 时的 (before, after)，先是步长 1，再是步长 2；然后是 n = 5。

# %%
from tinyresnet.ops.windows import same_pads


def same(n, k, s):
    """TensorFlow's SAME along one axis -> (before, after)"""
    total = max((-(-n // s) - 1) * s + k - n, 0)
    return total // 2, total - total // 2


print("        n = 4    n = 5    n = 6    n = 7      (k = 3)")
for s in (1, 2):
    print(f"s = {s}  ", "   ".join(str(same(n, 3, s)) for n in (4, 5, 6, 7)))
assert all(same(n, k, s) == same_pads(n, k, s) for n in range(1, 40) for k in range(1, 8) for s in range(1, 4))

# %% [markdown]
# 步长 1 时是 (1, 1)，人人都这样想。步长 2 时则要看 n 是不是偶数：(0, 1) 或 (1, 1)。听起来是个小细节。我们来看看窗口都在哪里。


# %%
def draw(axis, n, s, pads, title, colour):
    """pixels as boxes, zeros hatched, each window as a bar, its middle as a dot"""
    before, after = pads
    for h in range(-before, n + after):
        inside = 0 <= h < n
        box = plt.Rectangle(
            (h - 0.5, 0), 1, 1, facecolor=PALE if inside else "white", edgecolor=GREY, hatch=None if inside else "////"
        )
        axis.add_patch(box)
        if inside:
            axis.text(h, 0.5, str(h), ha="center", va="center", fontsize=9)
    for p, first in enumerate(range(-before, n + after - 2, s)):
        axis.plot([first - 0.4, first + 2.4], [-0.5 - 0.5 * p] * 2, color=colour, linewidth=2)
        axis.plot(first + 1, -0.5 - 0.5 * p, "o", color=colour)
    axis.set(xlim=(-1.7, 6), ylim=(-3.2, 1.3), aspect="equal")
    axis.set_title(title, fontsize=9, color=colour)
    axis.set_axis_off()


figure, axes = plt.subplots(2, 3, figsize=(10, 5), layout="constrained")
for row, n in zip(axes, (4, 5), strict=True):
    draw(row[0], n, 1, same(n, 3, 1), f"n = {n}: stride 1", GREY)
    draw(row[1], n, 2, same(n, 3, 2), f"n = {n}: SAME, stride 2", VERMILION)
    draw(row[2], n, 2, (1, 1), f"n = {n}: zeros (1, 1), stride 2", BLUE)

# %% [markdown]
# 请看那些圆点，它们是窗口的中心。五个像素时一切正常：窗口在 0、2、4 上，正好是步长 1 的窗口中每隔一个取一个。四个像素时，SAME 的窗口却在 **1、3** 上。同样的权重，看到的图片错开了一个像素。
#
# 填充 (1, 1) 则不论 n 是多少，都在 0、2 上。这就是 `conv2d_same`。
#
# ## TF-Slim 的四张表
#
# TF-Slim 专门为此写了一个测试（`resnet_v2_test.py` 的 `testConv2DSameEven`）。图片是 4 × 4，像素 [h, w] = h + w；卷积核是 3 × 3，权重 [i, j] = i + j。由此得到四张表：
#
# 1. 步长为 1 的卷积
# 2. 把它下采样：每隔一个数取一个
# 3. 步长为 2 的 `conv2d_same`
# 4. 步长为 2 的 `conv2d` SAME
#
# **预测。** 表 2、3、4 中哪两张相等？请手算表 4 左上角的数：它的窗口里没有零。


# %%
def ramp(n):
    """[n, n]: row number + column number"""
    return np.add.outer(np.arange(float(n)), np.arange(float(n)))


def four_tables(n):
    x, w = ramp(n)[None, :, :, None], ramp(3)[:, :, None, None]
    dense, _ = ops.conv2d_forward(x, w, stride=1, padding="SAME")
    sub, _ = ops.subsample_forward(dense, 2)
    aligned, _ = ops.conv2d_forward(x, w, stride=2, padding=((1, 1), (1, 1)))  # what conv2d_same does for 3x3
    tensorflow, _ = ops.conv2d_forward(x, w, stride=2, padding="SAME")
    return [table[0, :, :, 0] for table in (dense, sub, aligned, tensorflow)]


def show(n):
    figure, axes = plt.subplots(1, 5, figsize=(11, 2.6), width_ratios=(4, 4, 2.4, 2.4, 2.4), layout="constrained")
    titles = ("x", "1: stride 1", "2: subsampled", "3: conv2d_same", "4: SAME")
    for axis, title, table in zip(axes, titles, [ramp(n), *four_tables(n)], strict=True):
        axis.imshow(table, cmap="Blues", vmin=0, vmax=2.2 * table.max())
        for (p, q), value in np.ndenumerate(table):
            axis.text(q, p, f"{value:.0f}", ha="center", va="center", fontsize=10)
        axis.set_title(title, color=VERMILION if "4" in title else "black", fontsize=10)
        axis.set(xticks=[], yticks=[])


show(4)
dense, sub, aligned, tensorflow = four_tables(4)
# TF-Slim, resnet_v2_test.py, testConv2DSameEven
assert np.array_equal(dense, [[14, 28, 43, 26], [28, 48, 66, 37], [43, 66, 84, 46], [26, 37, 46, 22]])
assert np.array_equal(sub, [[14, 43], [43, 84]])
assert np.array_equal(aligned, [[14, 43], [43, 84]])
assert np.array_equal(tensorflow, [[48, 37], [37, 22]])

# %% [markdown]
# 表 2 与表 3 一致。表 4 从表 1 里取了*别的*数，即奇数行、奇数列上的：48、37、37、22。
#
# **预测** 5 × 5 的图片（`testConv2DSameOdd`）：这次哪几张表一致？

# %%
show(5)
dense, sub, aligned, tensorflow = four_tables(5)
assert np.array_equal(sub, [[14, 43, 34], [43, 84, 55], [34, 55, 30]])
assert np.array_equal(sub, aligned) and np.array_equal(sub, tensorflow)

# %% [markdown]
# 边长为奇数时，三张表完全一样。所以用 5 × 5、7 × 7 或 225 × 225 来测试的人看不出任何差别，只会发现网络在 224 × 224 上差了一点。
#
# `conv2d_same` 用一句话就能说清：**结果等于步长为 1 的卷积再下采样。** 设卷积核为 k、空洞率为 r，它的填充永远相同：$(k - 1)\, r$ 个，一半在前，其余在后，然后做 VALID。


# %%
def conv2d_same(x, w, stride=1, rate=1):
    if stride == 1:
        return ops.conv2d_forward(x, w, 1, rate, "SAME")[0]
    total = (w.shape[0] - 1) * rate
    pads = (total // 2, total - total // 2)
    return ops.conv2d_forward(x, w, stride, rate, (pads, pads))[0]


for n in range(5, 20):
    for k in (1, 3, 5, 7):
        for stride in (1, 2, 3):
            x, w = rng.standard_normal((1, n, n, 2)), rng.standard_normal((k, k, 2, 3))
            assert np.allclose(conv2d_same(x, w, stride), conv2d_same(x, w)[:, ::stride, ::stride])
print("conv2d_same = stride 1, subsampled: for 180 geometries")

# %% [markdown]
# ## 一串层会偏多远？
#
# 一个像素不算多。但 ResNet-50 要减半五次，在 14 × 14 的特征图上偏一个像素，就是图片上的 16 个像素。
#
# 我们来量一量。正中间是 1、其余为零的卷积核，会把窗口中心的像素原样传下去。让图片是一道斜坡，每个像素的值*就是*它的列号。于是最后那张特征图上的每个数，都说出了自己以图片的哪一列为中心。
#
# **预测。** 64 个像素，四层步长 2。最后一张图的四个位置以哪几列为中心？`conv2d_same` 如何，SAME 又如何？

# %%
delta = np.zeros((3, 3, 1, 1))
delta[1, 1] = 1


def centres(n, layers=4, padding=((1, 1), (1, 1))):
    """the columns of an n x n picture on which the last map's places are centred"""
    net = np.broadcast_to(np.arange(float(n)), (1, n, n))[..., None]
    for _ in range(layers):
        net, _ = ops.conv2d_forward(net, delta, stride=2, padding=padding)
    return net[0, 0, :, 0].astype(int)


print("conv2d_same", centres(64), "  SAME", centres(64, padding="SAME"))
assert centres(64).tolist() == [0, 16, 32, 48] and centres(64, padding="SAME").tolist() == [15, 31, 47, 63]

# %% [markdown]
# 15 个像素：1 + 2 + 4 + 8，即每一层的偏移换算成图片上的像素。现在让图片的大小像实际中那样变化，从 49 到 96。
#
# **预测：** 用 SAME 时，*第一个*位置的中心怎样随大小变化：不变、一直增大，还是别的？

# %%
sizes = np.arange(49, 97)
first = {"SAME": [centres(n, padding="SAME")[0] for n in sizes], "conv2d_same": [centres(n)[0] for n in sizes]}

figure, axis = plt.subplots(figsize=(8, 2.8), layout="constrained")
axis.plot(sizes, first["SAME"], "o-", color=VERMILION, markersize=3, linewidth=0.8, label="SAME")
axis.plot(sizes, first["conv2d_same"], "-", color=BLUE, linewidth=2, label="conv2d_same")
axis.set(xlabel="pixels of the picture along one side", ylabel="centre of the first place", xticks=range(49, 98, 8))
axis.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
assert set(first["conv2d_same"]) == {0}
print({n: int(first["SAME"][n - 49]) for n in (63, 64, 65, 66)})

# %% [markdown]
# 是锯齿。SAME 把多余的部分平分到两头，所以每多一个像素，第一个窗口就往里走一点，最多走到 15；到 65 个像素时需要多一个窗口，一切又退回角上。图片只大了一个像素（从 64 到 65），看它的位置就左移了 15 个像素。在一种大小上训练的权重，到另一种大小上遇到的是一个错位的世界。
#
# TF-Slim 之所以写 `conv2d_same`，就是为了那条蓝线。
#
# ## 必须会合的两条分支
#
# 在带步长的残差单元里，残差分支经过一个带步长的 3 × 3 卷积；捷径连接则每隔一个像素取一个：0、2、4……然后两者相加。它们最好看的是同样的像素。
#
# 让残差分支仍然用那个只有中心为 1 的卷积核，那么它“应当”给出与捷径连接完全相同的结果。在 28 × 28 的图片上，把两者相减。
#
# **预测**两种情况下，差是什么样子。

# %%
x = boot[None, :, :, None]
shortcut, _ = ops.subsample_forward(x, 2)
figure, axes = plt.subplots(1, 3, figsize=(8, 2.6), layout="constrained")
axes[0].imshow(shortcut[0, :, :, 0])
axes[0].set_title("shortcut 14x14", fontsize=10)
for axis, (title, padding) in zip(axes[1:], (("SAME", "SAME"), ("conv2d_same", ((1, 1), (1, 1)))), strict=True):
    residual, _ = ops.conv2d_forward(x, delta, stride=2, padding=padding)
    difference = (residual - shortcut)[0, :, :, 0]
    axis.imshow(difference, cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set_title(f"residual - shortcut: {title}", fontsize=10)
    print(f"{title:12} largest difference {abs(difference).max():.2f}")
for axis in axes:
    axis.set(xticks=[], yticks=[])
assert np.array_equal(residual, shortcut)

# %% [markdown]
# 用 SAME 时，两条分支沿着靴子的每一条边缘都不一致：它们错开了一个像素。网络可以学出抵消这个偏移的卷积核，但那只适用于偶数边长，到奇数边长就错了。
#
# ## 任何梯度检验都看不到的东西
#
# 假设在应当用 `conv2d_same` 的地方，你写了 `padding="SAME"`。你照例检验了梯度。
#
# **预测：** 在 4 × 4 的图片上，`check_gradients` 对两种填充各给出什么结果？


# %%
def layer(padding):
    def fn(x, w):
        y, saved = ops.conv2d_forward(x, w, stride=2, padding=padding)
        return y, lambda dy: ops.conv2d_backward(dy, saved)

    return fn


x, w = rng.standard_normal((2, 4, 4, 3)), rng.standard_normal((3, 3, 3, 5))
for name, padding in (("conv2d_same", ((1, 1), (1, 1))), ("SAME", "SAME")):
    report = check_gradients(layer(padding), x, w, names=("x", "w"))
    golden = ops.conv2d_forward(ramp(4)[None, :, :, None], ramp(3)[:, :, None, None], 2, 1, padding)[0][0, :, :, 0]
    print(
        f"{name:12} gradients right: {report.passed};  forward as TF-Slim's: {np.array_equal(golden, [[14, 43], [43, 84]])}"
    )
    assert report.passed

# %% [markdown]
# 都通过。**函数错了，它的梯度对这个错的函数来说仍然是对的。** 梯度检验拿你的反向与*你的*前向比较。前向是不是你想要的那个，只有别人算出的数才能说明。这样的数叫标准答案（golden）；上面 TF-Slim 的那些数，就在本项目的测试和练习里。
#
# ## PyTorch，以及 TensorFlow 的权重
#
# PyTorch 中 3 × 3 用 `padding=1`、7 × 7 用 `padding=3`，即 (1, 1) 和 (3, 3)，与 `conv2d_same` 相同。PyTorch 没有带步长的 SAME。所以 TF-Slim 的 ResNet 权重可以在那里运行；而带步长的层用 SAME 的网络（MobileNet、EfficientNet），就必须手动填充。
#
# ResNet-50 里确实有一层用了带步长的 SAME：`pool1`，3 × 3，步长 2，在 112 个像素上，填充为 (0, 1)。
#
# **预测。** 它使后面所有的特征图在 224 × 224 的图片上偏移几个像素？

# %%
net = np.broadcast_to(np.arange(224.0), (1, 224, 224))[..., None]
seven = np.zeros((7, 7, 1, 1))
seven[3, 3] = 1
net = conv2d_same(net, seven, stride=2)  # conv1
net, _ = ops.conv2d_forward(net, delta, stride=2, padding="SAME")  # the middle of pool1's windows
for _ in range(3):  # block1, block2, block3
    net = conv2d_same(net, delta, stride=2)
print("the last map of ResNet-50 on 224 pixels is centred on the columns", net[0, 0, :, 0].astype(int))
assert net[0, 0, 0, 0] == 2

# %% [markdown]
# 两个：即 `conv1` 之后的特征图上的一个像素。TF-Slim 就是这样，已发布的权重也是这样训练出来的，所以保持不变。如果是 225 个像素（任何 32 n + 1 都行），所有位置都以 0、32、……、224 为中心，从一角到另一角。
#
# ## 练习
#
# **conv2d_same_padding。** `conv2d_same_padding(size, kernel, stride, rate)`，沿一个轴：返回两对数，即 `conv2d_same` 的 (before, after) 和 TensorFlow 的 SAME 的 (before, after)。带空洞率的卷积核跨越 (kernel − 1) · rate + 1 个像素。对 `conv2d_same`，不论步长是多少，都取它在步长大于 1 时所加的填充。

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_same_padding(size, kernel, stride, rate):
    """size, kernel, stride, rate -> (before, after) of conv2d_same, (before, after) of SAME"""
    raise NotImplementedError("conv2d_same_padding is not written yet")


exercises.check("conv2d_same_padding", conv2d_same_padding)

# %% [markdown]
# **subsample_backward。** 故事里属于捷径连接的那一半：前向从第一行、第一列开始，每隔 `factor` 取一个，$y_{n,p,q,c} = x_{n,\,p \cdot factor,\,q \cdot factor,\,c}$。`saved.shape` 是 x 的形状，`saved.factor` 是间隔。被丢掉的像素，梯度是多少？

# %% tags=["exercise"]
from tinyresnet import exercises


def subsample_backward(dy, saved):
    """dy [N, ceil(H/f), ceil(W/f), C] -> dx [N, H, W, C]"""
    raise NotImplementedError("subsample_backward is not written yet")


exercises.check("subsample_backward", subsample_backward)

# %% [markdown]
# ## 接下来读什么
#
# - [笔记本 05](05_convolution_backward.ipynb)：经过卷积往回走。
# - [resnet_utils，conv2d_same](../../docs/zh/resnet_utils.md#conv2d_same)：源码笔记，其中有 conv1 的数。
# - [resnet_v2，什么任务用什么尺寸](../../docs/zh/resnet_v2.md#什么任务用什么尺寸)。
