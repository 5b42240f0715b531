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
# # 08 · 预激活瓶颈单元：梯度在哪里相加
#
# **目标。** 学完这一本，你能用算子写出 ResNet v2 的残差单元和它的反向传播，说出梯度在哪两个地方相加，并用数字说明捷径连接为什么必须是恒等映射。
#
# **需要先会**回传函数（02），并且知道卷积（03、05）、批归一化（06）和 ReLU（07）做什么。它们的反向怎样实现不必知道：这里只是调用。

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
# ## 两条规则
#
# **加法把梯度原样交给两边。** 若 $y = a + b$，则 $da = dy$，$db = dy$：$a$ 增加多少，$y$ 就增加多少。
#
# **一个值用了两次，它的梯度就是两处梯度之和。** 如果 $a$ 和 $b$ 都依赖 $x$，那么 $x$ 的微小变化沿两条路到达 $y$，两份变化相加。
#
# 最小的残差单元是 $y = x + \sin x$，其中都是普通的数。
#
# **预测。** 在 $x = 0$ 处，$dy/dx$ 是多少？如果忘了两条路中的一条，又会是多少？

# %%
x0, h = 0.0, 1e-5
numeric = ((x0 + h + np.sin(x0 + h)) - (x0 - h + np.sin(x0 - h))) / (2 * h)
through_shortcut, through_branch = 1.0, np.cos(x0)
print("numeric", round(numeric, 6), "  shortcut", through_shortcut, " branch", through_branch)
assert np.isclose(numeric, through_shortcut + through_branch)

# %% [markdown]
# 这一本剩下的内容就是这两条规则，只不过数换成了数组。
#
# ## 单元
#
# 设 $x$ 是输入，$F$ 是*残差分支*：
#
# $$y = \text{shortcut}(x) + F(x), \qquad F(x) = \text{conv3}(\text{conv2}(\text{conv1}(\text{preact}(x)))) .$$
#
# | 步骤 | 内容 | 通道 |
# |---|---|---|
# | preact | 批归一化、ReLU | C |
# | conv1 | 1×1 卷积、批归一化、ReLU | C / 4 |
# | conv2 | 3×3 卷积、批归一化、ReLU | C / 4 |
# | conv3 | 1×1 卷积，后面什么都不接 | C |
#
# 两个 1×1 卷积把通道收少再放出来：费计算的 3×3 在*瓶颈*里工作。
#
# **预测。** C = 256 时，这样一个单元有多少权重？256 个通道上两个普通的 3×3 卷积又有多少？

# %%
narrow = 64
unit_weights = 256 * narrow + 9 * narrow * narrow + narrow * 256
plain_weights = 2 * 9 * 256 * 256
print(f"bottleneck {unit_weights:,}, two plain 3x3 {plain_weights:,}: {plain_weights / unit_weights:.0f} times as many")

# %% [markdown]
# ## 手写前向与反向
#
# 一层返回它的输出和它的回传函数（笔记本 02）。下面用算子的前向与反向做出我们需要的两种层。（它们只保留 $x$ 的梯度；权重的梯度由同样的调用得到，这里丢掉，好让单元短一些。）


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
# 现在写单元。把 `back` 从前向的末尾读到开头：还是那几行，像照镜子一样。
#
# **预测。** 先不要看最后一行：$dx$ 是哪两项之和？


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
# ### 哪些来自捷径连接，哪些来自分支
#
# **预测。** 只在 $y$ 的一个像素上放梯度。捷径连接把它放到 $x$ 的哪些像素上？只有一个 3×3 卷积的分支，又把它放到哪些像素上？

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
# 捷径连接把它放回原处，一点不少。分支把它散到 3×3 个像素上，这在意料之中。但请看远处的像素：它们不是黑的，大约有千分之一。批归一化的均值把一个通道里的每个像素都与其余像素连在一起，八张图片都是如此。（推理时均值和方差是常数，远处的像素就恰好为零。）
#
# ### 什么也不做的单元
#
# **预测。** 把 conv3 的权重设为零。$y$ 是什么？$dx$ 又是什么？

# %%
nothing = {**p, "conv3": np.zeros_like(p["conv3"])}
y, back = identity_unit(x, nothing)
dy = rng.standard_normal(y.shape)
print(np.array_equal(y, x), np.array_equal(back(dy), dy))
assert np.array_equal(y, x) and np.array_equal(back(dy), dy)

# %% [markdown]
# 两个方向上都是恒等映射，连最后一位都相同。单元只要让权重变小，就能学会什么也不做。普通的三层堆叠则要把恒等映射*学*出来，这很难；残差学习的用意正在这里（He et al. 2015）。
#
# ## 另一个地方：投影
#
# 通道数改变的地方不可能恒等，由一个 1×1 卷积代替。它读的是 **preact**，不是 $x$。
#
# **预测。** 两条路现在晚一步才分开。梯度在哪里相加？


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
# 看图：左边在 inputs 处汇合，右边在 preact 处汇合，再一起穿过它。
#
# ![瓶颈单元的前向与反向](../../docs/figures/bottleneck.svg)
#
# ### 四个错误
#
# 下面是人们常犯的错误。对每一个都**预测**：梯度检验会发现吗？我们的梯度与真正梯度之比会是 0、2，还是没有规律？


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
# 全都发现了。只有减半的那一个，比值说明了问题所在：加法不是把梯度*分*给两边，而是给每一边都交出全部。其余几个，都是漏掉了或者送错了某个在每个像素上都不同的东西。
#
# ## 捷径连接为什么必须是恒等映射
#
# 把 32 个单元叠起来，跟着梯度从最后一个走到第一个。捷径连接为恒等映射时，$x_{l+1} = x_l + F(x_l)$，所以
#
# $$\frac{dE}{dx_l} = \frac{dE}{dx_L} \Big( 1 + \frac{d}{dx_l} \sum_{i=l}^{L-1} F(x_i) \Big) .$$
#
# 最后一个单元的梯度完整地到达前面的每一个单元，这就是那个 1。没有捷径连接时，梯度是 32 个因子的*连乘积*。
#
# **预测。** 有三个网络，捷径连接分别是 $x$、$x/2$ 和没有。经过 32 个单元，梯度的大小变成原来的几倍：1、10、1000，还是更多？

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
# 在对数坐标上是直线：每过一个单元乘一个固定的倍数，所以是连乘积。你也许以为梯度会*消失*；有了批归一化，它是爆炸，因为每次批归一化都要除以输入的离散程度。捷径连接为恒等映射时梯度也在增大，但只是一百倍，而不是一百万倍：每加一个单元，离散程度就大一些，分支所加的那一份与那个 1 相比也就越来越小。
#
# ## 为什么要*预*激活
#
# ResNet v1 在加法*之后*有一个 ReLU：$y = \max(x + F(x), 0)$。让我们只看捷径连接带着的那部分梯度，走过两种单元各 32 个，看有多少能够到达。
#
# **预测。** ReLU 的门大约有一半是关着的。那么到达的是 $2^{-32}$ 吗？


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
# 没有 $2^{-32}$ 那么糟：原来为正的数多半还是正的，所以开着的总是那几扇门。但是丢掉的就永远丢掉了，而且越深丢得越多。在 v2 里没有东西挡路，所以全部到达。两篇论文的差别就在这里；也因此，ResNet v2 在最末尾还需要一次批归一化和 ReLU（`postnorm`）。
#
# ## 带步长的单元
#
# 每块的最后一个单元把特征图缩小：conv2 的步长是 2，捷径连接每隔一个像素取一个，即 `ops.subsample_forward`。
#
# **预测。** $x$ 的像素中，有多大一部分经由捷径连接什么也得不到？

# %%
kept, saved = ops.subsample_forward(x, 2)
dx = ops.subsample_backward(np.ones_like(kept), saved)
print("map", x.shape[1:3], "->", kept.shape[1:3], "  pixels with nothing:", float((dx == 0).mean()))
assert (dx == 0).mean() == 0.75

# %% [markdown]
# 四分之三被丢掉了，它们的梯度只来自分支。
#
# ## 库里的单元
#
# `tinyresnet.resnet_v2.bottleneck` 与 TF-Slim 的函数逐行对应，下面就是它的 `back`。它把权重放在变量库里，用 TF-Slim 的名字。把我们的权重放进那个变量库，它就必须给出我们的数。

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
# 现在去读 [`bottleneck`](../../tinyresnet/resnet_v2.py)：里面再没有新东西了。（它的 conv3 有偏置，在这里是零；还有滑动平均，训练时并不读取。）[源码笔记](../../docs/zh/resnet_v2.md#bottleneck)里有 ResNet-50 每个单元的形状。
#
# ## 练习
#
# **单元的反向。** `conv3_back(d)` 等函数由一步的输出的梯度求输入的梯度，每个只能调用一次（库里也是这样：回传函数用完就放掉激活值）。`projection` 说明捷径连接从哪里分出：`True` 表示从 preact，`False` 表示从 inputs。返回 `d_inputs` [N, H, W, C]。

# %% tags=["exercise"]
from tinyresnet import exercises


def bottleneck_backward(d_output, preact_back, conv1_back, conv2_back, conv3_back, shortcut_back, projection):
    """d_output [N, H, W, C] -> d_inputs [N, H, W, C]"""
    raise NotImplementedError("bottleneck_backward is not written yet")


exercises.check("bottleneck_backward", bottleneck_backward)

# %% [markdown]
# **下采样。** `saved.shape` 是 x 的形状，`saved.factor` 是步长。`y = x[:, ::factor, ::factor]`。返回 `dx` [N, H, W, C]。

# %% tags=["exercise"]
from tinyresnet import exercises


def subsample_backward(dy, saved):
    """dy [N, ceil(H/f), ceil(W/f), C] -> dx [N, H, W, C]"""
    raise NotImplementedError("subsample_backward is not written yet")


exercises.check("subsample_backward", subsample_backward)

# %% [markdown]
# ## 接下来读什么
#
# 笔记本 09 把单元叠成块，并用带空洞的卷积核让特征图保持较大的尺寸。He et al. 2016，[Identity Mappings in Deep Residual Networks](https://arxiv.org/abs/1603.05027)，用九页讲了这一本所测量的东西。
