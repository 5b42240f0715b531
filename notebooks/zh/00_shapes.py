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
# # 00 · 形状：一个像素的旅程
#
# **目标。** 读完之后，你能看懂 `[N, H, W, C]` 这样的形状，说得出一个数在内存中的位置，能心算 ResNet 每张特征图的大小，还知道网络深处的一个数看到过图片上的哪些像素。
#
# **预备知识：** Python，用过 NumPy 数组。不需要微积分。
#
# 每个笔记本里，单元格之前都有一个问题：**预测。** 请先把答案写在纸上，再运行。猜错比猜对更有价值：它告诉你，你心里的图景在哪里出了偏差。

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
from tinyresnet import ops
from tinyresnet.data import FASHION_MNIST_CLASSES, fashion_mnist

tinyresnet.set_backend("numpy")
plt.rcParams.update({"figure.dpi": 110, "image.cmap": "gray", "axes.spines.top": False, "axes.spines.right": False})
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"

# %% [markdown]
# ## 一张图片就是一个数组
#
# 这个包自带 6000 张训练用、1000 张测试用的服装小图（Fashion-MNIST）。每张有 28 × 28 个灰度像素，一个像素占一个字节：0 是黑，255 是白。
#
# **预测。** 存放这 6000 张图片的数组是什么形状？占多少字节？然后运行。

# %%
images, labels, test_images, test_labels = fashion_mnist()
print(images.shape, images.dtype, f"{images.nbytes:,} bytes")
assert images.nbytes == 6000 * 28 * 28 * 1

# %% [markdown]
# 一共四个轴，顺序永远不变，整个项目都遵守：
#
# | 轴 | 字母 | 这里 | 含义 |
# |---|---|---|---|
# | 0 | N | 6000 | 这一批里的第几张图片 |
# | 1 | H | 28 | 第几行，从上往下数 |
# | 2 | W | 28 | 第几列，从左往右数 |
# | 3 | C | 1 | 第几个通道：灰度图为 1，红绿蓝为 3，网络内部可以是 64 或 2048 |
#
# 这种顺序叫 NHWC。TensorFlow 用它；PyTorch 用 NCHW。没有谁更正确，但把两者混用往往不报任何错误，下面就会看到。

# %%
figure, axes = plt.subplots(1, 10, figsize=(11, 1.5), layout="constrained")
for k, axis in enumerate(axes):
    first = np.flatnonzero(labels == k)[0]
    axis.imshow(images[first, :, :, 0])
    axis.set_title(FASHION_MNIST_CLASSES[k], fontsize=8)
    axis.set_axis_off()
boot = images[np.flatnonzero(labels == 9)[0]]
print("boot:", boot.shape)

# %% [markdown]
# 用整数取下标会去掉一个轴，用切片则保留。本项目的算子要求四个轴，所以单独一张图片也要写成只有一张的一批。
#
# **预测**这四个形状。

# %%
for text, array in (
    ("images[7]          ", images[7]),
    ("images[7:8]        ", images[7:8]),
    ("images[:, :, :, 0] ", images[:, :, :, 0]),
    ("images[:, 14, 14]  ", images[:, 14, 14]),
):
    print(text, array.shape)

# %% [markdown]
# ## 一个数在内存中的位置
#
# 内存只有一个轴。数组在里面一行接一行地排着：最后一个下标变化最快。对每个轴，NumPy 会告诉你，要走多少字节才到下一个元素，这叫数组的 *strides*。（卷积也有步长 stride，那是另一回事。）
#
# **预测：** 形状为 `[8, 28, 28, 3]` 的 float32 数组，四个 strides 各是多少？一个 float32 占四个字节。请从最右边算起。

# %%
batch = np.zeros((8, 28, 28, 3), np.float32)
print(batch.strides)
assert batch.strides == (28 * 28 * 3 * 4, 28 * 3 * 4, 3 * 4, 4)

# %% [markdown]
# 可见在 NHWC 中，同一个像素的各个通道在内存里彼此相邻。沿通道做矩阵乘法时，内存恰好从左到右读过去，所以这种顺序适合在 CPU 上做卷积。
#
# 现在来看那个错误。把三张图片放进一张彩色图的三个通道：衬衫作红色，靴子作绿色，包作蓝色。然后我们想得到 PyTorch 那样的 `[C, H, W]`。下面两种写法给出的形状都对：
#
# - `np.moveaxis(x, 2, 0)` 或 `x.transpose(2, 0, 1)`：轴交换位置，每个数仍属于原来的像素和通道。
# - `x.reshape(3, 28, 28)`：数在内存里的顺序不变，只是重新数了一遍。
#
# **预测。** 用第二种写法，第一个“通道”会是什么样子？

# %%
colour = np.concatenate([images[np.flatnonzero(labels == k)[0]] for k in (6, 9, 8)], axis=-1)  # [28, 28, 3]
right, wrong = np.moveaxis(colour, 2, 0), colour.reshape(3, 28, 28)
assert right.shape == wrong.shape == (3, 28, 28)

figure, axes = plt.subplots(1, 7, figsize=(11, 1.9), layout="constrained")
axes[0].imshow(colour)
axes[0].set_title("[28, 28, 3]", fontsize=9)
for k in range(3):
    axes[1 + k].imshow(right[k])
    axes[1 + k].set_title(f"moveaxis [{k}]", fontsize=9, color=BLUE)
    axes[4 + k].imshow(wrong[k])
    axes[4 + k].set_title(f"reshape [{k}]", fontsize=9, color=VERMILION)
for axis in axes:
    axis.set_axis_off()

# %% [markdown]
# 重排后的数组形状是对的，没有一行 Python 报错。用它训练网络，甚至还能学到一点东西。发生了什么？内存里的前 784 个数是图片上部三分之一，三个通道交错在一起；错图的每一行，是原图三个通道的三分之一行。
#
# 请记住：**转置会移动数，reshape 只是把数重新数一遍。** 形状对，不等于数组对。
#
# ## 数：从字节到浮点数
#
# **预测。** `a` 里只有一个字节 200。`a + 100` 是多少？

# %%
a = np.array([200], np.uint8)
print(a + 100, a.astype(np.float32) + 100)

# %% [markdown]
# 一个字节数到 255 就从 0 重新开始：300 − 256 = 44，而且没有警告。所以在计算之前，图片要先变成 float32。网络喜欢零附近的数，因此还要减去训练图片的均值，再除以标准差。梯度检验需要更多位数字，用的是 float64。

# %%
x = images.astype(np.float32) / 255
mean, std = x.mean(), x.std()
x = (x - mean) / std
print(
    f"mean {mean:.3f}, std {std:.3f}  ->  mean {abs(x.mean()):.3f}, std {x.std():.3f}, from {x.min():.2f} to {x.max():.2f}"
)

# %% [markdown]
# ## 卷积会改变形状
#
# 卷积让一个小窗口（*卷积核*）在图片上滑动。在每个位置，把窗口下的像素与卷积核的权重相乘，再加起来，得到一个数。K 个卷积核在每个位置给出 K 个数，也就是输出的 K 个通道，称为*特征图*。
#
# - x：图像 `[N, H, W, C]`
# - w：权重 `[KH, KW, C, K]`：K 个卷积核，每个有 KH × KW 个像素、C 个通道
# - y：特征图 `[N, OH, OW, K]`
#
# C 消失了，因为对它求了和；K 出现了；N 不变。
#
# **预测：** 八张灰度图，16 个 3 × 3 的卷积核，步长 2（窗口每次移动两个像素），填充方式 SAME，y 的形状是什么？

# %%
rng = np.random.default_rng(0)
w = rng.standard_normal((3, 3, 1, 16), dtype=np.float32)
y, saved = ops.conv2d_forward(x[:8], w, stride=2, padding="SAME")
print(x[:8].shape, w.shape, "->", y.shape)
assert y.shape == (8, 14, 14, 16)

# %% [markdown]
# 特征图是什么样子？取四个一眼能看懂的卷积核。第一个寻找上亮下暗的地方，第二个寻找左亮右暗的地方；第三个求平均，第四个从像素里减去平均。
#
# **预测。** 四张特征图中，哪一张在靴子内部几乎是均匀的？

# %%
down = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]]) / 4
kernels = np.stack([down, down.T, np.ones((3, 3)) / 9, np.pad([[1.0]], 1) - np.ones((3, 3)) / 9], axis=-1)
maps, _ = ops.conv2d_forward(boot[None] / 255, kernels[:, :, None, :])  # [1, 28, 28, 4]

figure, axes = plt.subplots(1, 5, figsize=(10, 2.2), layout="constrained")
axes[0].imshow(boot[:, :, 0])
axes[0].set_title("x", fontsize=9)
for k, name in enumerate(("edges, horizontal", "edges, vertical", "mean", "pixel - mean")):
    axes[1 + k].imshow(maps[0, :, :, k], cmap="RdBu_r", vmin=-1, vmax=1)
    axes[1 + k].set_title(f"y[..., {k}]: {name}", fontsize=9)
for axis in axes:
    axis.set_axis_off()

# %% [markdown]
# 红色为正，蓝色为负，白色为零。凡是靴子亮度均匀的地方，两个边缘核与最后一个核的输出都是白色：它们的权重之和为零，所以只看得到变化。ResNet 的卷积核没有人手写，都是学出来的；第一层会学到许多与此相似的核。
#
# ## 特征图有多大？
#
# 设一个轴上有 n 个像素，卷积核为 k，步长为 s。规则只有三条：
#
# | 填充 | 周围的零 | 输出 |
# |---|---|---|
# | VALID | 没有 | $\lfloor (n - k)/s \rfloor + 1$ |
# | SAME | 需要多少就补多少 | $\lceil n/s \rceil$ |
# | 显式 | 前后一共 p 个 | $\lfloor (n + p - k)/s \rfloor + 1$ |
#
# 第一条和第三条数的是：窗口在掉出边缘之前能移动多少次。SAME 则是由结果来定义的：步长为 1 时输出与输入一样大，与卷积核完全无关。
#
# **预测**之后再运行：n = 28、k = 3、s = 2，VALID 与 SAME 各是多少？n = 29 呢？


# %%
def output_size(n, k, s, padding):
    """n pixels, a kernel of k, a stride of s; padding "SAME", "VALID" or a number of zeros"""
    if padding == "SAME":
        return -(-n // s)  # ceil
    return (n + (0 if padding == "VALID" else padding) - k) // s + 1


print("n   VALID  SAME   (k = 3, s = 2)")
for n in (28, 29):
    print(n, f"{output_size(n, 3, 2, 'VALID'):5d} {output_size(n, 3, 2, 'SAME'):5d}")

for n in range(7, 40):
    for k in (1, 2, 3, 7):
        for s in (1, 2, 3):
            tall, narrow = np.zeros((1, n, 9, 1)), np.zeros((k, 1, 1, 1))
            for padding in ("SAME", "VALID"):
                assert ops.conv2d_forward(tall, narrow, (s, 1), 1, padding)[0].shape[1] == output_size(n, k, s, padding)

# %% [markdown]
# SAME 和 VALID 都要取整，但方向不同。对一串层，请逐层计算；到最后才取整一次，是错的。
#
# ## 穿过整个 ResNet
#
# 现在让一只 224 × 224 像素的靴子穿过 ResNet-50。权重是随机的，什么都没有训练，但这不影响形状。
#
# 带步长的层有这些，每一层都减半并向上取整：`conv1`（7 × 7）、`pool1`（3 × 3），以及 `block1`、`block2`、`block3` 的最后一个单元。`block4` 没有。
#
# **预测**每一层之后特征图的边长：224 → ? → ? → ? → ? → ? → ?

# %%
from tinyresnet.resnet_v2 import resnet_v2_50

large, _ = ops.resize_bilinear_forward((boot[None] / 255).astype(np.float32), (224, 224))
large = np.repeat((large - mean) / std, 3, axis=-1)  # [1, 224, 224, 3]
variables = tinyresnet.Variables(seed=0)
logits, end_points, _ = resnet_v2_50(large, num_classes=10, is_training=False, variables=variables)

stages = ("conv1", "block1", "block2", "block3", "block4")
print(f"{'images':12}{str(large.shape):>22}{large.size:>12,} numbers")
for stage in stages:
    map_ = end_points[f"resnet_v2_50/{stage}"]
    print(f"{stage:12}{str(map_.shape):>22}{map_.size:>12,} numbers")
print(f"{'global_pool':12}{str(end_points['global_pool'].shape):>22}{end_points['global_pool'].size:>12,} numbers")
print(f"{'logits':12}{str(logits.shape):>22}{logits.size:>12,} numbers")

# %% [markdown]
# 224 → 112 → 56 → 28 → 14 → 7 → 7。（`pool1`，即 56，不是端点，所以表中没有。）从 block1 到 block3，每次边长减半，通道加倍，所以特征图里的数只剩一半。最后对 49 个位置求平均，整张图片只剩下 2048 个数。
#
# 权重是随机的，靴子还剩下什么吗？**预测：** 在哪几张图里，你还认得出它是靴子？

# %%
figure, axes = plt.subplots(1, 6, figsize=(11, 2.2), layout="constrained")
axes[0].imshow(large[0, :, :, 0])
axes[0].set_title("images 224x224", fontsize=9)
for axis, stage in zip(axes[1:], stages, strict=True):
    map_ = end_points[f"resnet_v2_50/{stage}"][0].std(-1)  # over the channels
    axis.imshow(map_)
    axis.set_title(f"{stage} {map_.shape[0]}x{map_.shape[1]}", fontsize=9)
for axis in axes:
    axis.set_axis_off()

# %% [markdown]
# 图中画的是每个位置上各通道的离散程度。卷积让相邻的东西保持相邻，所以即使权重是随机的，也看得出靴子，只是越来越粗。“特征图”这个名字就是这个意思：它仍然是一张图。
#
# ## 权重在哪里，被计算的数又在哪里？
#
# 一层有 KH · KW · C · K 个权重，与图片多大无关；它的特征图有 OH · OW · K 个数，与卷积核多大无关。前者随通道数的平方增长，后者随边长的平方缩小。
#
# **预测。** 哪一块的权重最多？哪一块的特征图里数最多？

# %%
weights = {
    stage: sum(variables[name].size for name in variables.trainable if name.startswith(f"resnet_v2_50/{stage}/"))
    for stage in stages
}
units = {stage: [m.size for name, m in end_points.items() if f"/{stage}/" in name] for stage in stages[1:]}
held = {"conv1": end_points["resnet_v2_50/conv1"].size} | {stage: sum(sizes) for stage, sizes in units.items()}

figure, axis = plt.subplots(figsize=(7, 2.8), layout="constrained")
at = np.arange(len(stages))
axis.bar(at - 0.2, [weights[s] / 1e6 for s in stages], 0.38, color=VERMILION, label="weights")
axis.bar(
    at + 0.2,
    [held[s] / 1e6 for s in stages],
    0.38,
    color=BLUE,
    hatch="//",
    edgecolor="white",
    label="numbers in maps, 1 image",
)
axis.set_xticks(at, stages)
axis.set_ylabel("millions")
axis.legend(frameon=False)
print({stage: f"{count:,}" for stage, count in weights.items()})
assert max(weights, key=weights.get) == "block4" and max(held, key=held.get) == "block1"

# %% [markdown]
# 它们各在一头。权重集中在末尾，那里通道多；一批图片所占的内存花在开头，那里特征图大。所以批变大，多占的是 `block1` 的内存；权重文件变大，则是因为 `block4`。
#
# ## 一个像素看到过什么？
#
# 网络深处的一个数取决于图片上的一个窗口，称为它的*感受野*。不用任何理论就能把它量出来：改动一个像素，看这个数变不变。为了一次试遍所有像素，我们做一批图片：第 k 份副本改动第 k 个像素。
#
# 先叠三个步长为 1 的 3 × 3 卷积，再把第一个的步长换成 2，观察每张特征图正中间的位置。
#
# **预测。** 步长为 1 时，经过 1、2、3 层之后，中间的位置看到的窗口有几个像素宽？带步长 2 时呢？


# %%
def seen(strides, size=21):
    """for each layer: which pixels [size, size] of the picture move the middle place of its map"""
    generator, fields = np.random.default_rng(1), []
    plain = generator.standard_normal((1, size, size, 1))
    changed = plain + np.eye(size * size).reshape(-1, size, size, 1)  # [size*size, size, size, 1]
    for stride in strides:
        w = generator.standard_normal((3, 3, 1, 1))
        plain, changed = (ops.conv2d_forward(net, w, stride, 1, ((1, 1), (1, 1)))[0] for net in (plain, changed))
        middle = plain.shape[1] // 2
        difference = changed[:, middle, middle, 0] - plain[0, middle, middle, 0]
        fields.append(abs(difference).reshape(size, size) > 1e-9)
    return fields


figure, axes = plt.subplots(2, 3, figsize=(6.4, 4.4), layout="constrained")
for row, strides in zip(axes, ((1, 1, 1), (2, 1, 1)), strict=True):
    for k, (axis, field) in enumerate(zip(row, seen(strides), strict=True)):
        axis.imshow(field, cmap="Blues", vmin=0, vmax=1.3)
        axis.set_title(f"strides {strides[: k + 1]}: {field.any(0).sum()} pixels", fontsize=9)
        axis.set(xticks=[], yticks=[])
assert [field.any(0).sum() for field in seen((1, 1, 1))] == [3, 5, 7]
assert [field.any(0).sum() for field in seen((2, 1, 1))] == [3, 7, 11]

# %% [markdown]
# 3、5、7：每一层 3 × 3 增加一圈，宽一个像素。带步长时是 3、7、11：步长 2 之后，特征图上相邻的两个位置在图片上相距两个像素，所以之后每一层增加的那一圈宽两个像素。
#
# 记账只需要两个数，开始时都是 1：
#
# $$\text{size} \leftarrow \text{size} + (k - 1) \cdot \text{rate} \cdot \text{jump}, \qquad \text{jump} \leftarrow \text{jump} \cdot s$$
#
# `jump` 是特征图上相邻位置在图片上相距的像素数；`rate` 是空洞率，除空洞卷积（笔记本 09）外都是 1。
#
# **预测：** 经过 `conv1`（7 × 7，步长 2）、`pool1`（3 × 3，步长 2），再加一个步长为 1 的 3 × 3，size 和 jump 各是多少？

# %%
size, jump = 1, 1
for name, k, s in (("conv1", 7, 2), ("pool1", 3, 2), ("3x3", 3, 1)):
    size, jump = size + (k - 1) * jump, jump * s
    print(f"{name:6} sees {size:3d} pixels, neighbours are {jump} apart")
assert (size, jump) == (19, 4)

# %% [markdown]
# ResNet-50 最后一张特征图的一个位置看到 483 × 483 个像素，比 224 × 224 的图片还大：多出来的是填充。
#
# ## 练习
#
# 写出下面的函数并运行单元格。`exercises.check` 会用几组输入试你的函数，并说出它的看法；只要还是占位的代码，它就说还没有写。在终端里，`tinyresnet exercise show NAME` 可以看到题目。
#
# **feature_map_sizes。** 给定图片一个轴上的大小和一串层，返回每一层之后特征图的大小。每层是 `(kernel, stride, rate, padding)`，其中 padding 为 `"SAME"` 或 `"VALID"`。带空洞率的卷积核跨越 (kernel − 1) · rate + 1 个像素。

# %% tags=["exercise"]
from tinyresnet import exercises


def feature_map_sizes(size, layers):
    """size, [(kernel, stride, rate, padding), ...] -> [size after each layer]"""
    raise NotImplementedError("feature_map_sizes is not written yet")


exercises.check("feature_map_sizes", feature_map_sizes)

# %% [markdown]
# **receptive_field。** 给定一串 `(kernel, stride, rate)`，返回 `(size, jump)`：最后一张特征图的一个数沿一个轴看到过多少像素，以及相邻两个位置在图片上相距多少像素。

# %% tags=["exercise"]
from tinyresnet import exercises


def receptive_field(layers):
    """[(kernel, stride, rate), ...] -> size, jump"""
    raise NotImplementedError("receptive_field is not written yet")


exercises.check("receptive_field", receptive_field)

# %% [markdown]
# ## 接下来读什么
#
# - [笔记本 01](01_chain_rule.ipynb)：链式法则，以及检验导数时怎样选步长 h。
# - 什么尺寸下特征图与图片的四角对齐：[resnet_v2，什么任务用什么尺寸](../../docs/zh/resnet_v2.md#什么任务用什么尺寸)。
# - [设计](../../docs/design.md)用一页写下了整个项目的约定（英文）。
