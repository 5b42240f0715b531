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
# # 10 · ResNet-50 逐层对照 PyTorch
#
# **目标。** 学完这一本，你能把整个网络与另一种实现相比较，而且这种比较不仅说出*有*错，还说出错*在哪里*，前向和反向都是如此；你还会知道，两个都正确的网络相差多少。
#
# **需要先会**瓶颈单元（08）和 `conv2d_same`（04）。不必懂 PyTorch：下面的孪生网络只用到它的五个函数。
#
# **PyTorch** 很大，所以不在 `tinyresnet[notebooks]` 之内。没有它，这一本照样能运行；只是那些比较没有比较的对象，并且会说明这一点。

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
# ## 网络
#
# 根部，四块分别有 3、4、6、3 个单元，postnorm，均值，logits。第一次调用时创建全部变量。
#
# **预测。** 图片的边长是 64。四块末尾的特征图边长各是多少？这个网络训练多少个数：两百万、两千五百万，还是两亿五千万？

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
# ### 零会掩盖错误
#
# 刚创建的变量不适合拿来比较。所有偏置和 beta 都是 0，所有 gamma 都是 1，滑动平均都是 0 和 1。
#
# **预测。** 说出批归一化里的一个错误，在 gamma = 1、beta = 0 时谁也看不出来。


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
# 干脆忘了 gamma 或 beta，把均值和 beta 弄反，把标准差当成方差：在 1 和 0 处，这些全都是对的。现在没有一个是对的了。
#
# ## 孪生网络
#
# 同样的网络，用 PyTorch 的函数写成，依据的是论文和 TF-Slim 的源码，而不是我们的代码。它按名字取用*我们的*变量。有四处不同：
#
# | | 这里和 TensorFlow | PyTorch |
# |---|---|---|
# | 图像 | [N, H, W, C] | [N, C, H, W] |
# | 权重 | [KH, KW, C, K] | [K, C, KH, KW] |
# | 填充 | SAME，或四个数 | 前后是同一个数 |
# | pool1 | SAME：边长为偶数时是 (0, 1) | 要自己填充，填 $-\infty$ |


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
# ## 前向，逐个端点
#
# 端点的误差，是最大的差除以那里最大的数。（逐个元素地除不行：在零附近，任何误差都是无穷大。）
#
# **预测。** float32 的数有 7 位，float64 有 16 位。一层之后误差有多大？50 层之后呢？是不是每层翻一倍？


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
# 误差在增长，但很慢：五十层，由另一个库按另一种次序相加，只损失了两位。如果每层都翻一倍，就是 $2^{50}$，什么也剩不下。舍入误差的符号是随机的，大多互相抵消；而且批归一化让所有的数都保持在 1 左右。
#
# 所以在正确（1e-13）与错误之间有一道极宽的鸿沟。用 float64 作比较的人，不必为容许误差争论。
#
# ## 错在哪里？
#
# 现在有三个网络，各有一个错误：
#
# * **A**：带步长的 3×3 卷积用了 TensorFlow 的 SAME，而不是 `conv2d_same`；
# * **B**：批归一化的 epsilon 是 0.001，即 TF-Slim 的原始默认值，而不是 0.00001；
# * **C**：有人转换权重时弄错了一个：block3/unit_4/conv2 的卷积核左右颠倒了。
#
# **预测。** 对每一个：*第一个*出错的端点叫什么？然后看一看，能不能反过来读这条曲线，从它的第一次跳跃找到错误。


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
# 每条曲线都贴着底部走到错误所在之处，然后一下子跳高十个数量级。第一个出错的端点的名字说明了一切：A 始于第一个带步长的 conv2（block1/unit_3），不早也不晚；B 始于最早的批归一化；C 恰好始于那个卷积核。
#
# 假如只比较 logits，三个看上去都一样：错的。再看 B 开始时有多小：百分之一。这样的网络仍然能给图片命名，只是差一点，而且没有人会告诉你。
#
# ## 反向，逐个变量
#
# 现在用训练模式：批归一化用这一批的统计量，接上损失，再调用 `back`。把 174 个梯度与 PyTorch 自动求出的相比较。
#
# **预测。** `back` 从 logits 到 conv1 依次填入梯度。如果批归一化的反向有一个错误，哪些梯度仍然是对的？再出一个谜：174 个梯度中有 21 个是*零*。是哪些？为什么？


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
# 全部一致。那 21 个零，是 conv1、各个投影和每个 conv3 的偏置，也就是除 logits 之外的全部偏置。偏置把整个通道平移，下一次批归一化又把均值减掉，所以它什么也不改变，也就没有梯度。（在推理中它是有作用的。）如果没有先看最大的梯度有多大，“0 对 1e-19”就会像是百分之百的误差。
#
# 有了那个错误，仍然正确的有四个：logits 的两个，以及 postnorm 自己的 gamma 和 beta。*往回走*时最先出错的，是紧挨在 postnorm 前面的那些。所以反向的比较要从右往左读，它指向第一个错误梯度后面的那个算子：这里就是批归一化的 $dx$。
#
# 这个错误值得再看一眼：带着它训练，网络*照样在学*，见笔记本 11。
#
# ### 没有梯度的东西
#
# 滑动平均没有梯度，所以没有哪种梯度检验看得到它们。它们要按数值比较：旧值占 0.997，这一批的占 0.003，其中方差取*无偏*的那一种。

# %%
worst = max((float(abs(store[name] - value).max()) for name, value in their_averages.items()), default=0.0)
print(len(their_averages), "moving averages compared, largest difference", f"{worst:.0e}")
assert worst < 1e-9

# %% [markdown]
# ## 这种比较值多少
#
# * 孪生网络有多*独立*，它就有多大价值。把自己的误解抄到两边的人，看不出差别。所以这个项目的测试还保存着 TF-Slim 自己算出的数。
# * 它需要让一切都起作用的数值（不要零和一）、既有偶数*也*有奇数的边长，以及多于一张的一批图片。
# * 在 float32 里，梯度可能差得多得多：ReLU 的输入如果离零只差一次舍入，一个网络让梯度通过，另一个不让。请先用 float64 比较。
#
# ## 练习
#
# 两个算子，各有一个错误：别人写的卷积和批归一化的反向。你手里有检验给出的数字，也有源码。先看清楚*什么*错了，再读代码。

# %%
import inspect

from tinyresnet.exercises.catalogue import find_the_bug_batch_norm as batch_norm_bug
from tinyresnet.exercises.catalogue import find_the_bug_convolution as convolution_bug

print(inspect.getsource(convolution_bug.wrong_conv2d_backward))
print(inspect.getsource(batch_norm_bug.suspect))

# %% [markdown]
# **卷积。** 用 `wrong_conv2d_backward` 训练的网络，在 225×225 的图片上一切正常，在 224×224 上却不如预期。填充采用 `conv2d_same` 时，任何梯度检验都查不出问题；换成 SAME、步长 2 就能查出来。返回错误的名字，以及正确的 `dx` 和 `dw`。名字是 `"kernel_flipped"`、`"weights_not_transposed"`、`"kh_kw_swapped"`、`"overlaps_overwritten"`、`"stride_ignored"`、`"rate_ignored"`、`"crop_on_the_wrong_side"`、`"dw_batch_mean"` 之一。

# %% tags=["exercise"]
from tinyresnet import exercises


def find_the_bug_convolution(dy, saved):
    """dy [N, OH, OW, K] -> name of the bug, dx [N, H, W, C], dw [KH, KW, C, K]"""
    raise NotImplementedError("find_the_bug_convolution is not written yet")


exercises.check("find_the_bug_convolution", find_the_bug_convolution)

# %% [markdown]
# **批归一化。** 它是为全连接层写的，在那里通过了所有测试；在卷积网络里却训练得不对。返回错误的名字，以及正确的 `dx` [..., C]、`dgamma` [C]、`dbeta` [C]。名字是 `"mean_term_forgotten"`、`"variance_term_forgotten"`、`"gamma_forgotten"`、`"inv_std_forgotten"`、`"unbiased_variance"`、`"dgamma_of_x"`、`"pixels_not_counted"`、`"channels_counted"` 之一。

# %% tags=["exercise"]
from tinyresnet import exercises


def find_the_bug_batch_norm(dy, saved):
    """dy [..., C] -> the name of suspect's mistake, and the right dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("find_the_bug_batch_norm is not written yet")


exercises.check("find_the_bug_batch_norm", find_the_bug_batch_norm)

# %% [markdown]
# **一个小题：squeeze。** 网络在末尾把 logits [N, 1, 1, C] 变成 [N, C]。`saved.shape` 是 (N, 1, 1, C)。返回 `dx`；可以是 `dy` 的视图。

# %% tags=["exercise"]
from tinyresnet import exercises


def squeeze_backward(dy, saved):
    """dy [N, C] -> dx [N, 1, 1, C]"""
    raise NotImplementedError("squeeze_backward is not written yet")


exercises.check("squeeze_backward", squeeze_backward)

# %% [markdown]
# ## 接下来读什么
#
# [tests/nets/torch_twin.py](../../tests/nets/torch_twin.py) 就是这个孪生网络，适用于家族里的每个网络和每种 output stride。[TF-Slim 函数对照表](../../docs/zh/tf_slim_map.md)列出了与 TF-Slim 的不同之处及其理由。笔记本 11 训练一个网络。
