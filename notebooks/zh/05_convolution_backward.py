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
# # 05 · 卷积的反向
#
# **目标。** 读完之后，你会用循环、也会用矩阵乘法写出卷积的两个梯度；能从两个角度看图片的梯度（每个输出往外撒，每个输入往里收），知道翻转的卷积核从何而来；还知道哪种测试输入会掩盖哪种错误。
#
# **预备知识：** 笔记本 [03](03_convolution_forward.ipynb)（前向、`im2col`）和 [02](02_pullbacks.ipynb)（回传函数）。

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
# ## 一个乘积和它的两个因子
#
# 前向无非是一些乘积加在一起：
#
# $$y_{n,p,q,k} \mathrel{+}= x_{n,h,v,c} \cdot w_{i,j,c,k} \qquad h = p \cdot stride + i - top, \quad v = q \cdot stride + j - left$$
#
# 笔记本 01 说过：加法把梯度原样交给每个加数，乘法交给每个因子的是梯度乘以另一个因子。所以反向就是**同样的循环**，里面换成两行：
#
# $$dx_{n,h,v,c} \mathrel{+}= dy_{n,p,q,k} \cdot w_{i,j,c,k} \qquad\qquad dw_{i,j,c,k} \mathrel{+}= dy_{n,p,q,k} \cdot x_{n,h,v,c}$$
#
# 全部内容就是这些，对任何步长、空洞率和填充都成立。如果哪天你在翻转的卷积核和转置的轴里迷了路，就回到这两行。
#
# **预测。** dw 是什么形状？一个权重用在每张图片的每个位置上，那么批的大小 N 会出现在形状里吗？


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
# 先看形状：梯度的形状永远与它所属的那个量相同，所以 dw 里没有 N。它是对整批的*求和*，不是平均；如果损失是整批的平均，1/N 已经在 dy 里了。
#
# ## dw：这个权重看到的像素，与梯度同进退吗？
#
# 权重 (i, j) 在所有位置上遇到的，是平移了 (i, j) 的图片。所以它的梯度就是这张平移后的图片与 dy 的内积：两者是不是在同样的地方大？把所有通道合在一起，卷积核的每个元素做一次矩阵乘法 `[C, N*OH*OW] @ [N*OH*OW, K]`。再把所有元素合在一起，用前向的 `im2col` 矩阵 X：
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
# 这样的梯度有什么用？有人用一个秘密的 5 × 5 卷积核处理了 16 张图片，并把处理前后的图片都给我们看。我们从零出发，沿 dw 下坡；损失是差的平方的一半。
#
# **预测。** 要走多少步，才看得出秘密是什么？

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
# 学会一个卷积核，需要的就只是这一个梯度。（`speed` 是动量：相邻的像素太相似了，如果只走普通的步子，要花十倍的时间才能把相邻的权重区分开。）
#
# ## dx 的第一种看法：每个输出往外撒
#
# 从输出的角度读 dx 那一行：输出 (p, q) 把整个卷积核乘以自己的 dy，放回它看过的那些像素上。


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
# 与笔记本 03 的第二步对照：切片移到了赋值号的另一边，`=` 变成 `+=`，w 转置了。前向时所有输出去*读*的地方，反向时就往那里*写*。
#
# 在笔记本 03 里，一个白点向前经过卷积核 F，出来时旋转了 180°。
#
# **预测。** 现在白点是*梯度*，在 dy 的正中间。dx 是什么样子？

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
# 是正的。唯一有梯度的那个输出，把卷积核原样放了下去。所以前向是用 w 往里*收*，一个点出来是翻转的；反向是用 w 往外*撒*，一个点出来是正的。
#
# ## dx 的第二种看法：每个输入往里收
#
# 现在从*像素*的角度读同一行。哪些输出看到了像素 h，分别通过卷积核的哪个元素？由 $h = p + i - top$ 得 $p = h - i + top$：
#
# $$dx_h = \sum_i dy_{h - i + top}\; w_i$$
#
# i 增大时，p *减小*。所以像素是倒着读卷积核，从 dy 里收集。这又是一个卷积：用**翻转的卷积核**去卷 dy，并且交换输入与输出通道：
#
# $$dx = conv(dy,\; w'), \qquad w'_{i,j,k,c} = w_{KH-1-i,\; KW-1-j,\; c,\; k}$$
#
# **预测。** 它与往外撒的结果完全相同吗？边缘处也相同吗？

# %%
flipped = w[::-1, ::-1].transpose(0, 1, 3, 2)  # [KH, KW, K, C]
gathered, _ = ops.conv2d_forward(dy, flipped)  # SAME, stride 1
assert np.allclose(gathered, input_gradient(dy, x.shape, w))
print("largest difference", abs(gathered - input_gradient(dy, x.shape, w)).max())

# %% [markdown]
# 相同。撒与收，是把同样的那些乘积按两种顺序走一遍：按输出走，或按输入走。翻转不是一条额外的规则，只是从另一头看“撒”的样子。
#
# 两者各有用处。撒要对重叠的位置做 `+=`；收则每个位置只写一次，线程很多的机器喜欢这样。
#
# ### 带步长时
#
# 步长为 2 时，输出每隔一个像素才有一个。先看一个轴：八个像素，卷积核为 3，步长 2，填充 (1, 1)，所以有四个输出。每种颜色是一个输出交还的梯度。
#
# **预测。** 每个像素得到的梯度，都来自同样多的输出吗？

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
# 偶数像素在一个窗口的正中，奇数像素在两个窗口的两端（最后一个像素只有一边有窗口）。想用“收”的方式，可以把 dy 摆回细的网格，中间填零，再像上面那样与翻转的卷积核做卷积；那些零就是没有窗口的像素。（框架里称之为转置卷积。）与这么多零相乘很浪费，“撒”则会跳过它们。
#
# 在二维上它会形成图案。我们让全 1 的梯度经过全 1 的卷积核传回来，这样就数出了每个像素被几个窗口看到。
#
# **预测。** 步长为 2 时，3 × 3、4 × 4、7 × 7 的卷积核，哪一个没有图案？

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
# 只有步长能整除卷积核大小时才是均匀的。3 × 3、步长 2 时，一个像素被 1、2 或 4 个窗口看到，图片的梯度于是呈棋盘状。这并不是错，梯度本该如此。如果在网络*生成*的图片里见到这种图案，来源就在这里（Odena、Dumoulin 与 Olah 2016）。
#
# ### 没有人看到的行
#
# **预测。** 8 个像素，卷积核 3，步长 2，VALID：三个窗口在 0–2、2–4、4–6 上。像素 7 的梯度是多少？如果只由 dy 用 (OH − 1) · stride + KH 来算，dx 会是什么形状？

# %%
x8, w8 = rng.standard_normal((1, 8, 8, 1)), rng.standard_normal((3, 3, 1, 1))
y, saved = ops.conv2d_forward(x8, w8, 2, 1, "VALID")
dx, _ = ops.conv2d_backward(np.ones_like(y), saved)
print("y", y.shape, "dx", dx.shape, "of the last row:", dx[0, 7, :, 0])
print("(OH - 1) * stride + KH =", (y.shape[1] - 1) * 2 + 3)
assert not dx[0, 7].any()

# %% [markdown]
# 是零，但它必须在那里：8 行，不是 7 行。x 的大小无法由 y 推出，必须由 `saved` 告诉我们。ResNet 的第一层就是这种情况：224 个像素上 7 × 7、步长 2、填充 (3, 3)，会剩下一行一列填充。忘了这一点的实现，在大多数尺寸上都能用，偏偏在这个尺寸上出错。
#
# ## 写成矩阵
#
# 设 X = `im2col(x)`，全部内容就是三行：
#
# $$Y = X W, \qquad dW = X^T\, dY, \qquad dX = dY\, W^T$$
#
# dX 是像素的每份*副本*的梯度，把各份副本加起来，就回到了像素上。这叫 `col2im`。
#
# **预测。** `col2im` 是 `im2col` 的逆吗？也就是说，`col2im(im2col(x))` 等于 x 吗？

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
# 不是：是 x 的九倍（边缘处六倍或四倍），每个窗口一份副本。它是 `im2col` 的*转置*，不是逆。线性映射的回传函数永远是它的转置，与笔记本 02 里一样。
#
# ## 哪种测试能发现哪种错误？
#
# 人们在 dx 和 dw 上常犯的五种错误，四种测试输入：全部随机；左右、上下对称的卷积核；步长 2；只有一张图片的一批。
#
# **预测。** 哪种错误能躲过对称的卷积核？哪种能躲过单独一张图片？


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
# 对称的卷积核（均值、高斯、全 1：人们爱用来做“简单测试”的那些）看不出翻转；单独一张图片看不出对整批取了平均。用随机数，N ≥ 2，H ≠ W，步长 1 和 2 都试，这样的检验就能把它们全部找出来。
#
# `tinyresnet.use(conv2d_backward=...)` 会在所有用到这个算子的地方替换它，整个 ResNet 里也一样。
#
# ## dx 的用处：把模糊的靴子变清晰
#
# dx 是*图片*的梯度。这里有一只靴子，被 5 × 5 的均值模糊过。我们要找一张图片，使它模糊之后正好是我们看到的样子：从全黑开始，沿 dx 下坡。
#
# **预测。** 能找到那只靴子吗？分毫不差吗？

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
# 差不多。被均值抹掉的细节，对看到的结果几乎没有影响，所以它们的梯度几乎为零，恢复得非常慢。Grad-CAM、对抗样本和风格迁移，用的都是图片的这个梯度；训练时第一层用不到它，就省去不算（`input_gradient=False`）。
#
# ## 练习
#
# 都带步长和填充，前三个还带空洞率。`saved` 是一个 `Conv2DSaved`：`x`、`w`、`stride` 和 `rate`（各是一对数）、`pads` ((top, bottom), (left, right))。
#
# **conv2d_weights_gradient。** dy `[N, OH, OW, K]` → dw `[KH, KW, C, K]`。哪些乘积里含有 w[i, j, c, k]？

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_weights_gradient(dy, saved):
    """dy [N, OH, OW, K] -> dw [KH, KW, C, K]"""
    raise NotImplementedError("conv2d_weights_gradient is not written yet")


exercises.check("conv2d_weights_gradient", conv2d_weights_gradient)

# %% [markdown]
# **conv2d_input_gradient。** dy `[N, OH, OW, K]` → dx `[N, H, W, C]`。没有窗口看到的像素，梯度为 0，但它们必须在。

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_input_gradient(dy, saved):
    """dy [N, OH, OW, K] -> dx [N, H, W, C]"""
    raise NotImplementedError("conv2d_input_gradient is not written yet")


exercises.check("conv2d_input_gradient", conv2d_input_gradient)

# %% [markdown]
# **conv2d_backward。** 两者合在一起，与算子的形式相同：返回 dx 和 dw。可以直接用你上面写的两个函数。

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_backward(dy, saved):
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K]"""
    raise NotImplementedError("conv2d_backward is not written yet")


exercises.check("conv2d_backward", conv2d_backward)

# %% [markdown]
# **col2im。** `col2im(dcol, shape, stride, pads)`：dcol `[N, OH, OW, KH, KW, C]` 是 `im2col(x)` 的梯度，`shape` 是 x 的形状。返回 dx；一个像素的梯度是它所有副本的梯度之和。

# %% tags=["exercise"]
from tinyresnet import exercises


def col2im(dcol, shape, stride, pads):
    """dcol [N, OH, OW, KH, KW, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("col2im is not written yet")


exercises.check("col2im", col2im)

# %% [markdown]
# 另外还有两个：`conv2d_bias_add_backward`，以及 `find_the_bug_convolution`，后者给出一个有错的函数。`tinyresnet exercise start find_the_bug_convolution` 会把它写进一个文件。
#
# ## 接下来读什么
#
# - [笔记本 06](06_batch_norm.ipynb)：批归一化，x 在那里兵分三路。
# - [ops/conv2d.py](../../tinyresnet/ops/conv2d.py)：前向和反向写在同一页上。
# - Odena、Dumoulin 与 Olah 2016，[Deconvolution and Checkerboard Artifacts](https://distill.pub/2016/deconv-checkerboard/)。
