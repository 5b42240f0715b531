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
# # 09 · 空洞卷积：同样的权重，更密的特征图
#
# **目标。** 学完这一本，你能说出空洞卷积看到什么，会记 `stack_blocks_dense` 所记的那本步长与空洞率的账，并能证明：一个 ResNet 以 output stride 32、16 或 8 运行，在各特征图共有的网格上算出的数是*相同*的。
#
# **需要先会**卷积的前向（03）、`conv2d_same`（04）和瓶颈单元（08）。

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
from tinyresnet import Variables, ops
from tinyresnet.data import fashion_mnist
from tinyresnet.data.scenes import scene
from tinyresnet.resnet_utils import Block, resnet_arg_scope, stack_blocks_dense
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block
from tinyresnet.slim import arg_scope

tinyresnet.set_backend("numpy")
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#777777"
rng = np.random.default_rng(9)

clothes, labels, _, _ = fashion_mnist()
picture, _ = scene(clothes, labels, np.random.default_rng(5), side=65)
image = (picture[None] / 255.0 - 0.3).astype(np.float64)  # [1, 65, 65, 1]
figure, axes = plt.subplots(figsize=(3, 3), layout="constrained")
axes.imshow(picture[:, :, 0], cmap="gray_r")
axes.set(xticks=[], yticks=[])
print(image.shape)

# %% [markdown]
# ## 问题
#
# ResNet 的特征图比图片小 32 倍。如果每张图片只要*一个*名字，这没有问题。但如果要说出每个像素属于什么，这张图片最后的特征图只有 3×3 个像素，那就没有指望了。
#
# 可以把步长去掉。可是后面的卷积核是在每隔四个像素看一个的情况下训练出来的，现在它们看到的是相邻的像素，只是原来视野的一个小角。所有权重就都作废了。
#
# ## 一维的空洞
#
# *空洞*卷积（atrous，来自法语，意思是“带洞的”）每隔 $r$ 个数看一个：
#
# $$y_i = \sum_k x_{i + r k}\, w_k .$$
#
# **预测。** 一种做法：把 $x$ 每隔一个丢掉一个，再与 $w$ 卷积。另一种做法：什么也不丢，用空洞率 2 卷积。两个结果有哪些数相同？

# %%
x = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
w = np.array([1.0, 10, 100])


def convolve(x, w, rate=1):
    """y[i] = sum_k x[i + rate k] w[k]"""
    n = len(x) - rate * (len(w) - 1)
    return sum(w[k] * x[rate * k : rate * k + n] for k in range(len(w)))


sparse = convolve(x[::2], w)
dense = convolve(x, w, rate=2)
print("stride 2, then rate 1:", sparse)
print("no stride, rate 2:    ", dense)
assert np.array_equal(dense[::2], sparse)

# %% [markdown]
# 全部相同。密的结果里含有疏的结果，每隔一个就是；夹在中间的是新的数，是同样的权重从中间的位置看到的。
#
# 二维也一样。左边是步长 2 之后的特征图，卷积核盖住九个邻居。右边是没有步长的特征图，同一个卷积核用空洞率 2，盖住的是*同样*的九个像素（橙色），而且现在还可以放到其余的任何一个像素上。

# %%
figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.9), layout="constrained")
grid = np.stack(np.meshgrid(range(9), range(9)), -1).reshape(-1, 2)
for axis, kept, title in ((axes[0], 2, "stride 2, then rate 1"), (axes[1], 1, "no stride, rate 2")):
    on_map = (grid % kept == 0).all(1)
    axis.scatter(*grid[~on_map].T, s=14, color="#DDDDDD")
    axis.scatter(*grid[on_map].T, s=70, color=BLUE)
    seen = np.array([(4 + 2 * i, 4 + 2 * j) for i in (-1, 0, 1) for j in (-1, 0, 1)])
    axis.scatter(*seen.T, s=200, facecolors="none", edgecolors=ORANGE, linewidths=2.5)
    axis.set(title=f"{title}: {on_map.sum()} pixels", xticks=[], yticks=[], aspect="equal")

# %% [markdown]
# ## 放弃两个步长
#
# 三个 3×3 卷积，要求的步长是 2、2 和 1。我们希望最后的特征图完全不带步长。
#
# **预测。** 三个卷积各需要怎样的空洞率？注意第一个：它放弃了自己的步长，但它*自己*看的是什么？

# %%
weights = [rng.standard_normal((3, 3, c, k)) / np.sqrt(9 * c) for c, k in ((1, 8), (8, 8), (8, 1))]


def run(x, strides, rates):
    for w, stride, rate in zip(weights, strides, rates, strict=True):
        x, _ = ops.conv2d_forward(x, w, stride=stride, rate=rate, padding=((rate, rate), (rate, rate)))
        x, _ = ops.relu_forward(x)
    return x


sparse = run(image, (2, 2, 1), (1, 1, 1))
for rates in ((1, 1, 1), (2, 4, 4), (1, 2, 4)):
    dense = run(image, (1, 1, 1), rates)
    difference = abs(dense[:, ::4, ::4] - sparse).max() / abs(sparse).max()
    print(f"rates {rates}: map {dense.shape[1:3]}, differs by {difference:.1e}")
assert difference < 1e-12

# %% [markdown]
# 空洞率是 1、2、4。第一个卷积每次移动 1 而不是 2，但它的邻居还是原来那些：**放弃了一个步长，空洞率只对它*之后*的卷积增大。** 诱人的 (2, 4, 4) 是另一个网络：能运行，结果毫无意义。
#
# ## `stack_blocks_dense` 记的账
#
# `stack_blocks_dense` 为整个 ResNet 做这件事。它的单元可以是任意函数，所以我们给它一个什么也不算的单元，只记下别人向它要求的步长和空洞率。


# %%
def accountant(rows):
    def unit(net, depth, depth_bottleneck, stride, rate):
        net = net[:, ::stride, ::stride]
        rows.append((stride, rate, net.shape[1]))
        return net, lambda d: d

    return unit


def table(side, output_stride):
    """(stride, rate, side) of the 16 units of a ResNet-50 whose blocks get a map of this side"""
    rows, asked, blocks = [], [], []
    for block in resnet_50:
        blocks.append(Block(block.scope, accountant(rows), block.args))
        asked += [unit["stride"] for unit in block.args]
    stack_blocks_dense(np.zeros((1, side, side, 1)), blocks, output_stride)
    return asked, rows


resnet_50 = [
    resnet_v2_block(f"block{i + 1}", 64 * 2**i, units, stride=2 if i < 3 else 1) for i, units in enumerate((3, 4, 6, 3))
]

# %% [markdown]
# conv1 和 pool1 已经用去了 4。所以 output stride 16 留给各块的是 4；在 321×321 的图片上，各块从 81×81 开始。
#
# **预测。** 十六个单元中，第 3、7、13 个要求步长 2。output stride 为 16 时，其中哪些真的用了步长？从哪个单元起空洞率是 2？

# %%
asked, rows = table(81, output_stride=4)
print("unit      asks  takes  rate  side")
unit_names = [f"block{b + 1}/{u + 1}" for b, units in enumerate((3, 4, 6, 3)) for u in range(units)]
for name, wanted, (stride, rate, side) in zip(unit_names, asked, rows, strict=True):
    print(
        f"{name:<9}{wanted:>4}{stride:>7}{rate:>6}{side:>6}" + ("   <- gave up its stride" if stride < wanted else "")
    )
assert [rate for _, rate, _ in rows] == [1] * 13 + [2] * 3

# %% [markdown]
# 请看 block3/6：它放弃了步长，而空洞率还是 1。下一个单元才是第一个空洞率为 2 的。下面是全部四种 output stride：

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
for output_stride, colour, style in ((32, GREY, ":"), (16, BLUE, "-"), (8, ORANGE, "--"), (4, VERMILION, "-.")):
    _, rows = table(81, output_stride // 4)
    line = {"color": colour, "linestyle": style, "linewidth": 2.5, "label": f"output stride {output_stride}"}
    axes[0].step(range(1, 17), [side for _, _, side in rows], where="mid", **line)
    axes[1].step(range(1, 17), [rate for _, rate, _ in rows], where="mid", **line)
axes[0].set(xlabel="unit", ylabel="side of the map (picture 321)")
axes[1].set(xlabel="unit", ylabel="rate of conv2", yticks=[1, 2, 4, 8])
axes[1].legend(frameon=False)
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# ## 证明：同一组权重，三种 output stride
#
# TF-Slim 自己的这项测试叫 `testAtrousFullyConvolutionalValues`。这里用一个很窄但样样俱全的 ResNet：conv1、pool1、四块、八个单元。先做一次训练模式的前向，使批归一化的滑动平均适合这张图片；然后都用推理模式。
#
# **预测。** 对 65×65 的这个场景，output stride 为 32、16、8 时，最后的特征图边长各是多少？共有的像素会相差多少？

# %%
blocks = [
    resnet_v2_block(f"block{i + 1}", base_depth=2 * 2**i, num_units=2, stride=2 if i < 3 else 1) for i in range(4)
]
variables = Variables(seed=9)
with arg_scope(resnet_arg_scope(batch_norm_decay=0.0)):  # the averages are this picture's own
    resnet_v2(image, blocks, global_pool=False, variables=variables, is_training=True)


def net(output_stride, **options):
    return resnet_v2(
        image,
        blocks,
        global_pool=False,
        output_stride=output_stride,
        variables=variables,
        **{"is_training": False, **options},
    )


maps = {output_stride: net(output_stride)[0] for output_stride in (32, 16, 8, 4)}
for output_stride, dense in maps.items():
    step = 32 // output_stride
    difference = abs(dense[:, ::step, ::step] - maps[32]).max() / abs(maps[32]).max()
    print(
        f"output stride {output_stride:>2}: map {dense.shape[1:3]}, on the shared grid it differs by {difference:.1e}"
    )
    assert difference < 1e-10

# %%
channel = int(maps[32].std((0, 1, 2)).argmax())
figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), layout="constrained")
for axis, (output_stride, dense) in zip(axes, maps.items(), strict=True):
    step = 32 // output_stride
    axis.imshow(dense[0, :, :, channel], cmap="viridis", vmin=0, vmax=maps[4][..., channel].max())
    at = np.arange(3) * step
    axis.scatter(*np.meshgrid(at, at), s=90, facecolors="none", edgecolors=VERMILION, linewidths=2)
    axis.set(title=f"output stride {output_stride}", xticks=[], yticks=[])

# %% [markdown]
# 圈出来的像素，在四张图里是同样的数，只差舍入。不是差不多，就是同样的数。一个以 output stride 32 学会给图片命名的网络，可以用 8 来运行：它原来有 9 个位置可看，现在有 81 个，除了时间没有别的代价。
#
# ## 视野没有变
#
# 最后特征图的一个像素看得到图片的多少？只在那一个像素上放梯度，往回走，看图片的梯度在哪里不为零。
#
# **预测。** output stride 为 8 时步长小一些。中间那个像素的视野也会小一些吗？


# %%
def view(output_stride):
    """d (middle pixel of the last map) / d picture"""
    last, _, back = net(output_stride, gradients=True)
    d = np.zeros_like(last)
    middle = last.shape[1] // 2
    d[0, middle, middle] = 1
    return back(d)


views = {output_stride: view(output_stride) for output_stride in (32, 16, 8)}
figure, axes = plt.subplots(1, 3, figsize=(9.5, 3.3), layout="constrained")
limit = abs(views[32]).max()
for axis, (output_stride, d) in zip(axes, views.items(), strict=True):
    axis.imshow(d[0, :, :, 0], cmap="RdBu_r", vmin=-limit / 2, vmax=limit / 2)
    axis.set(title=f"output stride {output_stride}", xticks=[], yticks=[])
    print(output_stride, "largest difference from 32:", f"{abs(d - views[32]).max() / limit:.1e}")
    assert abs(d - views[32]).max() < 1e-10 * limit

# %% [markdown]
# 不只是一样大：整个梯度逐像素相同。中间的像素*就是*图片的同一个函数。
#
# ## 在哪里不再成立
#
# **在训练中。** 批归一化这时对特征图的所有像素求均值，而更密的特征图有另外的像素。
#
# **TensorFlow 带步长的 SAME，边长为偶数。** 这时 SAME 填充 (0, 1) 而不是 (1, 1)，窗口就偏了一个像素。这就是 `conv2d_same` 存在的理由（笔记本 04）。
#
# **预测。** 两者中哪一个造成的差别更大？

# %%
sparse, dense = (net(output_stride, is_training=True)[0] for output_stride in (32, 8))
print(f"training: differs by {abs(dense[:, ::4, ::4] - sparse).max() / abs(sparse).max():.2f}")

even = image[:, :64, :64]
w = weights[0]
every, _ = ops.conv2d_forward(even, w, stride=1, padding="SAME")
same, _ = ops.conv2d_forward(even, w, stride=2, padding="SAME")
ours, _ = ops.conv2d_forward(even, w, stride=2, padding=((1, 1), (1, 1)))
print(f"SAME with a stride, even side: differs by {abs(every[:, ::2, ::2] - same).max() / abs(same).max():.2f}")
print(f"conv2d_same's padding: differs by {abs(every[:, ::2, ::2] - ours).max() / abs(ours).max():.2f}")
assert np.allclose(every[:, ::2, ::2], ours) and not np.allclose(every[:, ::2, ::2], same)

# %% [markdown]
# 两个都很大。第一个不是错误，不过换一个 output stride 做微调，就是在微调另一个网络。第二个是错误，而梯度检验看不出来。
#
# ## 代价是多少
#
# **预测。** ResNet-50 在 output stride 8 时的乘法次数是 32 时的几倍？（每减半一次，像素变成四倍，但只从那里开始。）


# %%
def multiplications(output_stride):
    """Of a ResNet-50, for one picture of 224x224"""
    total, before, depth_in = 112 * 112 * 7 * 7 * 3 * 64, 56, 64  # conv1
    _, rows = table(56, output_stride // 4)
    for (_, _, side), unit in zip(rows, [unit for block in resnet_50 for unit in block.args], strict=True):
        depth, narrow = unit["depth"], unit["depth_bottleneck"]
        total += before**2 * depth_in * narrow + side**2 * (9 * narrow**2 + narrow * depth)
        if depth != depth_in:
            total += side**2 * depth_in * depth  # the projection
        before, depth_in = side, depth
    return total, side


base, _ = multiplications(32)
for output_stride in (32, 16, 8, 4):
    total, side = multiplications(output_stride)
    print(
        f"output stride {output_stride:>2}: {side:>2}x{side:<2} map, {total / 1e9:5.1f} billion, {total / base:4.1f} times"
    )
assert round(base / 1e9, 1) == 3.5

# %% [markdown]
# 所以语义分割通常取 16，作为折中；取 8 是奢侈（Chen et al. 2017，DeepLab）。
#
# ## 回到图片的尺寸
#
# 9×9 的图还不是 65×65。最后一步很普通：双线性插值，把特征图的四角放在图片的四角上。它们恰好落在那里并非偶然：65 = 8 · 8 + 1，特征图的第 $p$ 个像素以图片的第 $8p$ 个像素为中心。它的反向就是转置：特征图的每个像素，按同样的份额，从它参与混合出的那些像素收集梯度。
#
# **预测。** 在放大后的图上，让每个像素的梯度都是 1。小图的梯度之和是多少？

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 3.3), layout="constrained")
axes[0].imshow(picture[:, :, 0], cmap="gray_r")
axes[0].set(title="picture", xticks=[], yticks=[])
for axis, output_stride in zip(axes[1:], (32, 16, 8), strict=True):
    large, saved = ops.resize_bilinear_forward(maps[output_stride], (65, 65))
    axis.imshow(large[0, :, :, channel], cmap="viridis", vmin=0, vmax=maps[4][..., channel].max())
    axis.set(title=f"output stride {output_stride}, enlarged", xticks=[], yticks=[])
d_small = ops.resize_bilinear_backward(np.ones_like(large), saved)
print(f"{d_small[..., 0].sum():.1f} = 65 * 65")
assert np.isclose(d_small[..., 0].sum(), 65 * 65)

# %% [markdown]
# ## 练习
#
# **记账。** `strides` 是各单元所要求的步长的列表，`output_stride` 是整数或 `None`。返回 (stride, rate) 的列表，每个单元一对。达到 `output_stride` 之前，单元得到自己的步长，空洞率为 1；达到之后，单元得到步长 1 和当时的空洞率，*然后*空洞率才乘以它的步长。如果步长之积超过 `output_stride`，或者到最后也没有达到，就抛出 `ValueError`；`None` 表示步长全部照用。例：`stack_blocks_rates([1, 2, 2, 1], 2)` 等于 `[(1, 1), (2, 1), (1, 1), (1, 2)]`。

# %% tags=["exercise"]
from tinyresnet import exercises


def stack_blocks_rates(strides, output_stride):
    """The strides that units ask for -> (stride, rate) of each"""
    raise NotImplementedError("stack_blocks_rates is not written yet")


exercises.check("stack_blocks_rates", stack_blocks_rates)

# %% [markdown]
# **感受野。** `layers` 是由 (kernel, stride, rate) 组成的列表，离图片最近的层在最前。返回两个整数：最后特征图的一个像素沿一个轴看到图片上多大的一块（size），以及相邻两个像素所看的块错开多少个像素（jump）。没有任何层时是 1 和 1。与填充无关。

# %% tags=["exercise"]
from tinyresnet import exercises


def receptive_field(layers):
    """[(kernel, stride, rate), ...] -> size, jump"""
    raise NotImplementedError("receptive_field is not written yet")


exercises.check("receptive_field", receptive_field)

# %% [markdown]
# **空洞卷积的前向。** 步长为 1，填充为 SAME：$y$ 与 $x$ 一样大，所以总共需要 $(KH - 1) \cdot rate$ 行零，其中一半（向下取整）在上方，列也一样。用循环或逐个位置累加都可以；返回 `y` [N, H, W, K]。

# %% tags=["exercise"]
from tinyresnet import exercises


def atrous_conv2d(x, w, rate):
    """x [N, H, W, C], w [KH, KW, C, K] -> y [N, H, W, K]"""
    raise NotImplementedError("atrous_conv2d is not written yet")


exercises.check("atrous_conv2d", atrous_conv2d)

# %% [markdown]
# **双线性插值的反向。** 对每张图片、每个通道，前向是 $y = A\, x\, B^T$，其中 $A$ 的第 $p$ 行是由 $x$ 的各行混合出 $y$ 的第 $p$ 行所用的权重，$B$ 对列做同样的事。`saved.rows` 是 $A$ [OH, H]，`saved.columns` 是 $B$ [OW, W]，`saved.shape` 是 x 的形状。返回 `dx` [N, H, W, C]。

# %% tags=["exercise"]
from tinyresnet import exercises


def resize_bilinear_backward(dy, saved):
    """dy [N, OH, OW, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("resize_bilinear_backward is not written yet")


exercises.check("resize_bilinear_backward", resize_bilinear_backward)

# %% [markdown]
# ## 接下来读什么
#
# 源码笔记的 [stack_blocks_dense](../../docs/zh/resnet_utils.md#stack_blocks_dense) 用六行写出了这本账，[插图](../../docs/figures/output_stride.svg)里有每一个单元。笔记本 10 拿来整个 ResNet-50，与 PyTorch 并排比较。
