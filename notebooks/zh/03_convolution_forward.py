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
# # 03 · 卷积的前向：从循环到一次矩阵乘法
#
# **目标。** 读完之后，你能照着公式用循环写出卷积，会算它的工作量，能一步一步把循环搬进矩阵乘法，并说出每一步付出什么、得到什么。你会认识 `im2col` 的排列方式，也认识一种任何形状检查都发现不了的错误。
#
# **预备知识：** 笔记本 [00](00_shapes.ipynb)：`[N, H, W, C]`、卷积核 `[KH, KW, C, K]`、输出的大小。填充是下一个笔记本的主题；这里每边填 (KH − 1)/2 个零，使大小不变。

# %% tags=["setup"]
import importlib.util

missing = [name for name in ("tinyresnet", "numpy", "matplotlib") if importlib.util.find_spec(name) is None]
if missing:
    raise SystemExit(
        f'missing: {", ".join(missing)}. Run this in a cell, then restart the kernel:  %pip install "tinyresnet[notebooks]"'
    )

# %%
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import tinyresnet
from tinyresnet import ops
from tinyresnet.data import fashion_mnist

tinyresnet.set_backend("numpy")
plt.rcParams.update({"figure.dpi": 110, "image.cmap": "gray", "axes.spines.top": False, "axes.spines.right": False})
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#777777"
rng = np.random.default_rng(0)
images, labels, _, _ = fashion_mnist()
boot = images[np.flatnonzero(labels == 9)[0], :, :, 0] / 255  # [28, 28]

# %% [markdown]
# ## 一个数
#
# 把卷积核放在图片上，每个权重乘以它下面的像素，再加起来，就是输出的一个数。
#
# 这里的卷积核上面是 1，中间是 −2，下面是 1（它对细的横线有反应），窗口放在靴子的鞋底上。
#
# **预测：** 运行之前，先从图上判断结果的符号。

# %%
kernel = np.array([[1.0, 1, 1], [-2, -2, -2], [1, 1, 1]]) / 3
p, q = 20, 10  # the window's upper left pixel
window = boot[p : p + 3, q : q + 3]

figure, axes = plt.subplots(1, 4, figsize=(10, 2.8), width_ratios=(1.6, 1, 1, 1), layout="constrained")
axes[0].imshow(boot)
axes[0].add_patch(Rectangle((q - 0.5, p - 0.5), 3, 3, fill=False, edgecolor=VERMILION, linewidth=2))
for axis, title, numbers in zip(
    axes[1:], ("window", "kernel", "products"), (window, kernel, window * kernel), strict=True
):
    axis.imshow(numbers, cmap="RdBu_r", vmin=-1.3, vmax=1.3)
    axis.set_title(title)
    for (i, j), value in np.ndenumerate(numbers):
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9)
axes[3].set_title(f"products, sum {np.sum(window * kernel):+.2f}")
for axis in axes:
    axis.set_axis_off()

# %% [markdown]
# 下面是完整的定义，包含批、通道、K 个卷积核和步长：
#
# $$y_{n,p,q,k} = \sum_{i,j,c} x_{n,\; p \cdot stride + i - top,\; q \cdot stride + j - left,\; c} \cdot w_{i,j,c,k}$$
#
# 凡是读到 x 外面的地方都当作零。左边有四个自由的字母，右边有三个要求和：七层循环。
#
# ### 卷积核要翻转吗？
#
# 数学里的卷积会翻转卷积核，神经网络里不翻转；严格说来应当叫互相关。
#
# **预测。** 图片全黑，只有正中间一个白像素。卷积核的形状是字母 F。输出是什么样子：F、左右颠倒的 F，还是上下颠倒的 F？

# %%
letter = np.array([[0, 1, 1, 1, 0], [0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0]], float)
dot = np.zeros((1, 9, 9, 1))
dot[0, 4, 4, 0] = 1
y, _ = ops.conv2d_forward(dot, letter[:, :, None, None])

figure, axes = plt.subplots(1, 3, figsize=(6.5, 2.3), layout="constrained")
for axis, title, picture in zip(axes, ("x", "w", "y"), (dot[0, :, :, 0], letter, y[0, :, :, 0]), strict=True):
    axis.imshow(picture)
    axis.set_title(title)
    axis.set(xticks=[], yticks=[])
assert np.array_equal(y[0, 2:7, 2:7, 0], letter[::-1, ::-1])

# %% [markdown]
# 旋转了 180°。这并不矛盾：卷积核是原样放上去的。但白点*右边*的位置，是在自己窗口的左侧看到这个白点，所以读到的是卷积核左侧的权重。请记住这张图：在笔记本 05 里，梯度会经过同一个卷积核回来，那时 F 是正着的。
#
# ## 七层循环


# %%
def by_loops(x, w, pad=1):
    """x [N, H, W, C], w [KH, KW, C, K], stride 1 -> y [N, OH, OW, K]"""
    (N, H, W, C), (KH, KW, _, K) = x.shape, w.shape
    OH, OW = H + 2 * pad - KH + 1, W + 2 * pad - KW + 1
    y = np.zeros((N, OH, OW, K), x.dtype)
    for n in range(N):
        for p in range(OH):
            for q in range(OW):
                for k in range(K):
                    for i in range(KH):
                        for j in range(KW):
                            h, v = p + i - pad, q + j - pad
                            if 0 <= h < H and 0 <= v < W:  # zeros outside
                                for c in range(C):
                                    y[n, p, q, k] += x[n, h, v, c] * w[i, j, c, k]
    return y


def seconds(function, *arguments, repeat=3):
    """the best of a few runs"""
    best = float("inf")
    for _ in range(repeat):
        start = perf_counter()
        function(*arguments)
        best = min(best, perf_counter() - start)
    return best


x_small, w_small = rng.standard_normal((1, 6, 6, 16)), rng.standard_normal((3, 3, 16, 32))
assert np.allclose(by_loops(x_small, w_small), ops.conv2d_forward(x_small, w_small)[0])
loop_time = seconds(by_loops, x_small, w_small, repeat=1)
print(f"{loop_time * 1e3:.0f} ms for one picture of 6 x 6 pixels")

# %% [markdown]
# 结果正确，而且极慢。有多慢？公平的尺度是每次*乘加*（一个 `x * w` 连同它的加法）花多少时间。一个卷积有
#
# $$N \cdot OH \cdot OW \cdot K \cdot KH \cdot KW \cdot C$$
#
# 次乘加，也就是七层循环的乘积。下面怎样改写都不会改变这个数，改变的只是由谁来跑循环。
#
# **预测。** 从现在起我们用的这一层，x 是 `[8, 28, 28, 16]`，w 是 `[3, 3, 16, 32]`。它有多少百万次乘加？用 Python 的七层循环要跑多久？

# %%
x = rng.standard_normal((8, 28, 28, 16), dtype=np.float32)
w = rng.standard_normal((3, 3, 16, 32), dtype=np.float32)
work = 8 * 28 * 28 * 32 * 3 * 3 * 16
loop_rate = 6 * 6 * 32 * 3 * 3 * 16 / loop_time  # multiply-adds a second (at the edge a few less)
print(f"{work / 1e6:.1f} million multiply-adds; by loops about {work / loop_rate:.0f} s")

# %% [markdown]
# ## 第一步：最内三层循环变成向量乘矩阵
#
# 对 i、j、c 求和，就是一个窗口乘以一个卷积核。把窗口摊平成 KH·KW·C 个数，把 K 个卷积核排成矩阵 `[KH*KW*C, K]`：一个 `@` 就做完四层循环（i、j、c 和 k）。还剩三层。


# %%
def by_pixels(x, w, pad=1):
    (N, H, W, C), (KH, KW, _, K) = x.shape, w.shape
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    OH, OW = H + 2 * pad - KH + 1, W + 2 * pad - KW + 1
    matrix = w.reshape(KH * KW * C, K)
    y = np.empty((N, OH, OW, K), x.dtype)
    for n in range(N):
        for p in range(OH):
            for q in range(OW):
                y[n, p, q] = x[n, p : p + KH, q : q + KW].reshape(-1) @ matrix
    return y


right, _ = ops.conv2d_forward(x, w)
assert np.allclose(by_pixels(x, w), right, atol=1e-4)

# %% [markdown]
# ## 第二步：反过来，卷积核的每个元素做一次乘法
#
# 也可以保留 i 和 j 这两层短的循环，把长的交给 NumPy。通过卷积核的第 (i, j) 个元素，所有输出像素读到的是同一张图片平移 (i, j) 之后的样子。所以求和变成九次矩阵乘法 `[N*OH*OW, C] @ [C, K]`，作用在平移后的视图上。
#
# **预测。** 哪个更快：6272 次小乘法（第一步），还是 9 次大乘法（第二步）？我们会和第三步一起计时。


# %%
def by_taps(x, w, pad=1):
    (N, H, W, C), (KH, KW, _, K) = x.shape, w.shape
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    OH, OW = H + 2 * pad - KH + 1, W + 2 * pad - KW + 1
    y = np.zeros((N * OH * OW, K), x.dtype)
    for i in range(KH):
        for j in range(KW):
            y += x[:, i : i + OH, j : j + OW].reshape(-1, C) @ w[i, j]
    return y.reshape(N, OH, OW, K)


assert np.allclose(by_taps(x, w), right, atol=1e-4)

# %% [markdown]
# ## 第三步：im2col，只做一次乘法
#
# 九次乘法可以并成一次。把九张平移后的图片并排放好：每个输出像素占一行，装着它的窗口看到的全部 KH·KW·C 个数。这个矩阵叫 `im2col`，意思是“图像变成列”。于是
#
# $$Y = X\,W, \qquad Y: [N\,OH\,OW,\ K], \quad X: [N\,OH\,OW,\ KH\,KW\,C], \quad W: [KH\,KW\,C,\ K]$$
#
# 一次大的矩阵乘法（GEMM），正是那些高速库最拿手的事。


# %%
def im2col(x, KH, KW, pad=1):
    """[N, H, W, C] -> [N, OH, OW, KH, KW, C], stride 1"""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    N, H, W, C = x.shape  # of the padded picture
    OH, OW = H - KH + 1, W - KW + 1
    col = np.empty((N, OH, OW, KH, KW, C), x.dtype)
    for i in range(KH):
        for j in range(KW):
            col[:, :, :, i, j] = x[:, i : i + OH, j : j + OW]
    return col


def by_im2col(x, w, pad=1):
    KH, KW, C, K = w.shape
    col = im2col(x, KH, KW, pad)
    y = col.reshape(-1, KH * KW * C) @ w.reshape(-1, K)
    return y.reshape(*col.shape[:3], K)


assert np.allclose(by_im2col(x, w), right, atol=1e-4)

# %% [markdown]
# 步长或空洞率只改变每个元素读哪些行、哪些列，把它们加进去是下面的练习。加上之后，除了参数检查，它就是包里的 [ops/conv2d.py](../../tinyresnet/ops/conv2d.py)。
#
# 现在来比一比。**预测：** 七层循环与一次乘法相差多少倍：10、100、1000，还是更多？

# %%
rows = [("seven loops", work / loop_rate)]
rows += [
    (name, seconds(function, x, w))
    for name, function in (("1: by pixels", by_pixels), ("2: by taps", by_taps), ("3: im2col, GEMM", by_im2col))
]
print(f"{'':18}{'seconds':>10}{'million multiply-adds / s':>28}{'times faster':>14}")
for name, time in rows:
    print(f"{name:18}{time:>10.4f}{work / time / 1e6:>28,.0f}{rows[0][1] / time:>14,.0f}")

figure, axis = plt.subplots(figsize=(7.5, 2.2), layout="constrained")
axis.set_xlabel("multiply-adds per second")
axis.barh([name for name, _ in rows], [work / time for _, time in rows], color=[GREY, ORANGE, GREEN, BLUE], log=True)
axis.invert_yaxis()

# %% [markdown]
# 每一行的工作量都相同，一次乘加也不少。最内层的 Python 循环转一圈要半微秒以上，这段时间处理器本可以做几千次乘加。
#
# 第一步和第二步在你的机器上谁先谁后都有可能，常常是第一步领先，尽管它的调用次数是后者的 700 倍。调用次数不是全部：第二步的每次乘法只对 16 个通道求和，而且要把整个 y 读写九遍；第一步的每个和有 144 项，y 只写一遍。第三步两样都占：只调用一次，和又长。
#
# 其余的速度藏在哪里（线程、向量寄存器、缓存），是笔记本 12 和[速度](../../docs/zh/speed.md)那一页的主题。
#
# ## im2col 是什么样子
#
# 给 5 × 5 的图片的像素编上号、涂上颜色，看它们去了哪里：25 个输出像素各占一行，九个元素各占一列。白色是填充。
#
# **预测。** 在这 25 · 9 个位置中，中间的像素出现几次？角上的像素呢？

# %%
numbered = np.arange(1.0, 26).reshape(1, 5, 5, 1)
col = im2col(numbered, 3, 3).reshape(25, 9)

figure, axes = plt.subplots(1, 2, figsize=(9, 5.2), width_ratios=(1, 1.4), layout="constrained")
colours = plt.get_cmap("viridis").with_extremes(under="white")
for axis, numbers in zip(axes, (numbered[0, :, :, 0], col), strict=True):
    axis.imshow(numbers, cmap=colours, vmin=0.5, vmax=25, aspect="auto" if axis is axes[1] else "equal")
    for (i, j), value in np.ndenumerate(numbers):
        if value:
            axis.text(
                j, i, f"{value:.0f}", ha="center", va="center", fontsize=7, color="black" if value > 14 else "white"
            )
axes[0].set(title="picture", xticks=[], yticks=[])
axes[1].set(title="im2col", xlabel="tap (i, j)", ylabel="output pixel (p, q)", yticks=range(0, 25, 4))
axes[1].set_xticks(range(9), [f"{i},{j}" for i in range(3) for j in range(3)])
print("middle pixel:", np.sum(col == 13), "times, corner pixel:", np.sum(col == 1), "times, zeros:", np.sum(col == 0))
assert (np.sum(col == 13), np.sum(col == 1)) == (9, 4)

# %% [markdown]
# 内部的像素出现在九行里，因为有九个窗口看到它。第五列，即元素 (1, 1)，就是图片本身。这个矩阵是把图片重复了九遍，每遍平移一次，这正是它的代价：**内存变成 KH · KW 倍**。
#
# **预测。** 32 张 224 × 224 的图片，float32。ResNet 的 conv1（7 × 7，步长 2，3 个通道）、56 × 56 上 64 个通道的 3 × 3、56 × 56 上 256 个通道的 1 × 1，`im2col` 各有多大？

# %%
print(f"{'layer':24}{'x':>10}{'im2col':>12}{'times':>8}")
for name, side, k, stride, c in (
    ("7x7, stride 2, C = 3", 224, 7, 2, 3),
    ("3x3, C = 64", 56, 3, 1, 64),
    ("1x1, C = 256", 56, 1, 1, 256),
):
    x_bytes, col_bytes = 32 * side**2 * c * 4, 32 * (side // stride) ** 2 * k * k * c * 4
    print(f"{name:24}{x_bytes / 2**20:>6.0f} MiB{col_bytes / 2**20:>8.0f} MiB{col_bytes / x_bytes:>8.1f}")

# %% [markdown]
# 步长为 1 的 1 × 1 卷积核没有什么可复制的：图片*就是*它自己的 `im2col`。这时卷积就是在每个像素上做同一个小的全连接层，`x.reshape(-1, C) @ w`。ResNet 的卷积有三分之二是这样的。
#
# 因为 `im2col` 太大，所以不会为反向传播保存它，而是到时由 x 重新做一遍；与乘法相比，这花不了多少时间。
#
# ## 任何形状都看不出的错误
#
# X 的列与 W 的行必须是*同一个顺序*：(i, j, c)，c 变化最快。有人习惯通道在前，把列写成了 (c, i, j)。
#
# **预测。** NumPy 会报错吗？下面哪个测试能发现：w 随机；权重全部相等；只有一个通道，C = 1？


# %%
def wrong_order(x, w):
    KH, KW, C, K = w.shape
    col = im2col(x, KH, KW).transpose(0, 1, 2, 5, 3, 4)  # [N, OH, OW, C, KH, KW]
    return (col.reshape(-1, KH * KW * C) @ w.reshape(-1, K)).reshape(*col.shape[:3], K)


for name, pictures, weights in (
    ("w random", x, w),
    ("w all equal", x, np.ones_like(w)),
    ("C = 1", x[..., :1], w[:, :, :1]),
):
    same = np.allclose(wrong_order(pictures, weights), by_im2col(pictures, weights), atol=1e-3)
    print(f"{name:12} {'looks right' if same else 'found'}")

# %% [markdown]
# 只有随机的权重、多个通道才能发现。所以测试要用各不相同的数，C > 1、C ≠ K、H ≠ W。每个“简单”的测试输入都会掩盖某种错误：它之所以简单，就是因为里面有什么东西是相等的。
#
# ## 能不能不复制？
#
# NumPy 可以*假装*有这些窗口：`sliding_window_view` 给出一个视图，同一处内存会被读到好几次。它不花任何代价。
#
# **预测。** 那么矩阵乘法也就不需要复制了吗？

# %%
padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # [N, OH, OW, C, KH, KW]
view = view.transpose(0, 1, 2, 4, 5, 3)  # [N, OH, OW, KH, KW, C]
flat = view.reshape(-1, 3 * 3 * 16)
print("view", view.shape, "shares memory with x:", np.shares_memory(view, padded))
print("flat", flat.shape, "shares memory with x:", np.shares_memory(flat, padded))
assert np.allclose(flat @ w.reshape(-1, 32), right.reshape(-1, 32), atol=1e-4)

# %% [markdown]
# 不行。GEMM 要求各行在内存里均匀排列，而重叠的窗口无法用单一的间隔走完，所以 `reshape` 只能复制。想避免复制的库，要自己写一个直接读窗口的乘法；本项目编译出来的内核就是这样做的。
#
# ## 乘法什么时候忙，什么时候等？
#
# **预测。** 对 3 × 3 卷积，C = K = 2、8、32、128 时，第三步每秒的乘加次数是多少：既然代码一样，速度也一样吗？

# %%
speeds = {"2: by taps": [], "3: im2col, GEMM": []}
channels = (2, 8, 32, 128)
for c in channels:
    x_c, w_c = (
        rng.standard_normal((4, 28, 28, c), dtype=np.float32),
        rng.standard_normal((3, 3, c, c), dtype=np.float32),
    )
    for name, function in (("2: by taps", by_taps), ("3: im2col, GEMM", by_im2col)):
        speeds[name].append(4 * 28 * 28 * 9 * c * c / seconds(function, x_c, w_c, repeat=8))

figure, axis = plt.subplots(figsize=(6.5, 3), layout="constrained")
for (name, values), colour, marker in zip(speeds.items(), (GREEN, BLUE), "os", strict=True):
    axis.loglog(channels, values, marker + "-", color=colour, label=name)
axis.set_xticks(channels, [str(c) for c in channels])
axis.set(xlabel="channels, C = K", ylabel="multiply-adds per second")
axis.minorticks_off()
axis.legend(frameon=False)
for name, values in speeds.items():
    print(
        f"{name:16}",
        ", ".join(f"C = {c}: {value / 1e9:.2f} billion/s" for c, value in zip(channels, values, strict=True)),
    )

# %% [markdown]
# 通道很少时，每搬动一个数几乎没有多少计算：`im2col` 的每个数写一次，只用于 K 次乘加。通道很多时，复制就不算什么了，瓶颈变成处理器的计算能力。起决定作用的是每搬动一个字节做多少计算；笔记本 12 会画出两者之间的分界线（roofline）。
#
# ## 练习
#
# **conv2d_loops。** 用循环写出定义，带步长和显式的填充：`conv2d_loops(x, w, stride, pads)`，x 为 `[N, H, W, C]`，w 为 `[KH, KW, C, K]`，`pads` = ((top, bottom), (left, right))。返回 y `[N, OH, OW, K]`。部分标准答案取自 TF-Slim 自己的测试。

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_loops(x, w, stride, pads):
    """x [N, H, W, C], w [KH, KW, C, K] -> y [N, OH, OW, K]"""
    raise NotImplementedError("conv2d_loops is not written yet")


exercises.check("conv2d_loops", conv2d_loops)

# %% [markdown]
# **im2col。** `im2col(x, kernel, stride, pads)`，`kernel` = (KH, KW)：返回 `[N, OH, OW, KH, KW, C]`，其中元素 (n, p, q, i, j, c) 是输出像素 (p, q) 通过卷积核元素 (i, j) 看到的像素，在图片之外则为 0。

# %% tags=["exercise"]
from tinyresnet import exercises


def im2col(x, kernel, stride, pads):
    """x [N, H, W, C] -> col [N, OH, OW, KH, KW, C]"""
    raise NotImplementedError("im2col is not written yet")


exercises.check("im2col", im2col)

# %% [markdown]
# ## 接下来读什么
#
# - [笔记本 04](04_same_padding.ipynb)：填多少个零，填在哪里。这比想象的重要。
# - [ops/naive.py](../../tinyresnet/ops/naive.py)：每个算子的循环写法，测试用的就是它们。
# - [速度](../../docs/zh/speed.md)：一次乘法之后还有什么。
