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
# # 01 · 链式法则，以及怎样选 h
#
# **目标。** 读完之后，你能手算一小段计算的梯度，用有限差分检验它，会为这个检验选步长 h，并知道能指望多少位数字；你还会明白，为什么网络要从末尾往开头求导。
#
# **预备知识：** 笔记本 [00](00_shapes.ipynb)（形状），以及 $x^2$、$e^x$、$\sin x$ 的导数。

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
plt.rcParams.update({"figure.dpi": 110, "image.cmap": "gray", "axes.spines.top": False, "axes.spines.right": False})
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
rng = np.random.default_rng(0)

# %% [markdown]
# ## 导数是一个承诺
#
# 导数说的是：输入动一点点，输出动多少。
#
# $$f(x + h) \approx f(x) + f'(x)\, h$$
#
# 所以不用任何微积分也能检验它：把 x 移动一个小量 h，看看 f，再相除。显而易见的做法有两种。
#
# - 前向差分：$(f(x + h) - f(x)) / h$
# - 中心差分：$(f(x + h) - f(x - h)) / (2h)$
#
# **预测。** h 是不是越小越好？取 $f(x) = e^{\sin x}$，x = 1。h 从 1 减小到 10⁻¹⁶，请画出两者的误差随 h 变化的草图。


# %%
def f(x):
    return np.exp(np.sin(x))


def derivative(x):
    return np.exp(np.sin(x)) * np.cos(x)  # the chain rule: outer derivative times inner derivative


x, exact = 1.0, derivative(1.0)
h = 10.0 ** np.arange(0, -16.25, -0.25)
forward = abs((f(x + h) - f(x)) / h - exact) / exact
central = abs((f(x + h) - f(x - h)) / (2 * h) - exact) / exact

figure, axis = plt.subplots(figsize=(7.5, 3.8), layout="constrained")
axis.loglog(h, forward, "o-", color=VERMILION, markersize=3, label="forward difference")
axis.loglog(h, central, "s-", color=BLUE, markersize=3, label="central difference")
axis.loglog(h, h, ":", color=VERMILION, label="h")
axis.loglog(h, h**2, ":", color=BLUE, label="h²")
axis.loglog(h, 1e-16 / h, "--", color=GREY, label="1e-16 / h")
axis.set(xlabel="h", ylabel="relative error", ylim=(1e-13, 10))
axis.legend(frameon=False, fontsize=8)
print(
    f"best: forward {forward.min():.0e} at h = {h[forward.argmin()]:.0e}, central {central.min():.0e} at h = {h[central.argmin()]:.0e}"
)

# %% [markdown]
# 这是一个山谷，有两面坡。
#
# **右坡是微积分。** 泰勒级数说明了差分漏掉了什么：
#
# $$\frac{f(x + h) - f(x)}{h} = f'(x) + \frac{h}{2} f''(x) + \dots$$
#
# $$\frac{f(x + h) - f(x - h)}{2h} = f'(x) + \frac{h^2}{6} f'''(x) + \dots$$
#
# 误差按 h 或按 h² 下降。中心差分里含 $f''$ 的项抵消了：多算的那一次函数值，换来的就是这个。
#
# **左坡是算术。** float64 约有 16 位数字。h 很小时，f(x + h) 与 f(x − h) 几乎每一位都相同；相减之后只剩最后几位，而那几位正是舍入。$10^{-16}$ 的误差除以 h，h 越小它越大。到 $h = 10^{-16}$ 时，x + h *就是* x，“导数”为零。
#
# **谷底**在两坡相交处：
#
# | 差分 | 两坡 | 最佳 h | 该处误差 |
# |---|---|---|---|
# | 前向 | $h$ 与 $10^{-16}/h$ | $10^{-8}$ | $10^{-8}$ |
# | 中心 | $h^2$ 与 $10^{-16}/h$ | $10^{-5}$ | 约 $10^{-10}$ |
#
# 所以：**用中心差分，h = 10⁻⁵，得十位数字。** `check_gradients` 就是这样做的。它的容许值 $10^{-6}$ 远高于噪声，又远低于任何真正的错误。
#
# ### float32 呢？
#
# float32 约有 7 位数字。**预测：** 用 float32 做中心差分，最佳的 h 和最小的误差是多少？


# %%
def valley(dtype):
    """h and the relative error of the central difference, everything computed in this dtype"""
    steps = (10.0 ** np.arange(0, -7.25, -0.25)).astype(dtype)
    one, two = dtype(1), dtype(2)
    slope = (f(one + steps) - f(one - steps)) / (two * steps)
    assert slope.dtype == dtype
    return steps, abs(slope.astype(np.float64) - exact) / exact


figure, axis = plt.subplots(figsize=(7.5, 3), layout="constrained")
for dtype, colour, marker in ((np.float32, VERMILION, "o"), (np.float64, BLUE, "s")):
    steps, error = valley(dtype)
    axis.loglog(steps, np.maximum(error, 1e-12), marker + "-", color=colour, markersize=3, label=dtype.__name__)
    print(f"{dtype.__name__}: best error {error.min():.0e} at h = {steps[error.argmin()]:.0e}")
axis.axhline(1e-6, color=GREY, linestyle="--", label="tolerance of check_gradients")
axis.set(xlabel="h", ylabel="relative error")
axis.legend(frameon=False, fontsize=8)
assert valley(np.float32)[1].min() > 1e-6

# %% [markdown]
# 整个山谷都在容许值之上：float32 没有合适的 h。某个 h 也许碰巧多准几位，但无从知道是哪一个。所以尽管网络用 float32 训练，梯度要**用 float64 检验**。代码相同，只是数组不同。
#
# ## 链式法则
#
# 一次计算是一串小步。每一步只知道自己的导数，对其他步一无所知。例如
#
# $$u = x^2, \quad v = \sin u, \quad y = 3 v$$
#
# $$\frac{dy}{dx} = \frac{dy}{dv} \cdot \frac{dv}{du} \cdot \frac{du}{dx} = 3 \cdot \cos u \cdot 2x$$
#
# 我们从末尾走到开头，手里始终只拿着一个数：*这个*值动一点，y 动多少。本项目把它写成 `dv`：它是 $\partial y / \partial v$ 的简写，即 v *处*的梯度。

# %%
x = 0.7
u = x**2
v = np.sin(u)
y = 3 * v

dy = 1.0
dv = dy * 3
du = dv * np.cos(u)
dx = du * 2 * x

h = 1e-5
numeric = (3 * np.sin((x + h) ** 2) - 3 * np.sin((x - h) ** 2)) / (2 * h)
print(f"chain rule {dx:.12f}\nnumeric    {numeric:.12f}")
assert abs(dx - numeric) < 1e-9

# %% [markdown]
# 有两点值得注意。反向的几行，就是前向的几行倒过来；而且它们用到了前向的值 `u` 和 `x`。反向需要的东西，必须保存下来。
#
# ### 一个值用了两次
#
# 现在让 x 经两条路到达 y：
#
# $$u = x^2, \quad v = \sin x, \quad y = u \cdot v$$
#
# **预测。** 已知经过 u 的贡献和经过 v 的贡献，`dx` 等于什么：两者之积、两者之和，还是较大的那个？

# %%
x = 0.7
u = x**2
v = np.sin(x)
y = u * v

dy = 1.0
du, dv = dy * v, dy * u  # a product hands to each factor the other one
dx_by_u, dx_by_v = du * 2 * x, dv * np.cos(x)
dx = dx_by_u + dx_by_v

numeric = ((x + h) ** 2 * np.sin(x + h) - (x - h) ** 2 * np.sin(x - h)) / (2 * h)
print(f"by u {dx_by_u:.6f}, by v {dx_by_v:.6f}, sum {dx:.6f}, numeric {numeric:.6f}")
assert abs(dx - numeric) < 1e-9

# %% [markdown]
# 是两者之和。x 动的时候，u 和 v 都动；在一阶近似下，它们对 y 的影响直接相加。这是最容易忘记的一条规则，因为代码里没有任何东西提醒你：
#
# > **一个值用了两次，它的梯度就是两处梯度之和。**
#
# 在 ResNet 里，每个单元的输入都用了两次：捷径连接和残差分支。在批归一化里，每个 x 用了三次。一个偏置在每个像素上都用了一次。
#
# 再加两条规则，整个项目所需的就齐了：
#
# - $y = a + b$：加法把梯度原样交给两边，`da = dy`，`db = dy`。
# - $y = a \cdot b$：乘法交给每个因子的，是梯度乘以另一个因子。
#
# ## 为什么从末尾往开头走？
#
# 在数组之间，导数是一个矩阵，叫*雅可比矩阵*：第 (i, j) 个元素表示第 j 个输入动一点时，第 i 个输出动多少。链式法则于是变成：把雅可比矩阵乘起来。矩阵连乘可以从左边算起，也可以从右边算起；结果相同，工作量却不同。
#
# 设一个网络有 784 个输入，中间两层为 256 和 128，末尾是一个数，即损失：
#
# $$\frac{d\,loss}{dx} = J_3\, J_2\, J_1, \qquad J_1: 256 \times 784, \quad J_2: 128 \times 256, \quad J_3: 1 \times 128$$
#
# **预测。** 先算 $J_2 J_1$（从输入开始）要多少次乘法？先算 $J_3 J_2$（从损失开始）呢？

# %%
from_the_input = 128 * 256 * 784 + 1 * 128 * 784
from_the_loss = 1 * 128 * 256 + 1 * 256 * 784
print(
    f"from the input {from_the_input:>12,}\nfrom the loss  {from_the_loss:>12,}   ({from_the_input / from_the_loss:.0f} times less)"
)

J1, J2, J3 = (rng.standard_normal(shape) for shape in ((256, 784), (128, 256), (1, 128)))
assert np.allclose(J3 @ (J2 @ J1), (J3 @ J2) @ J1)

# %% [markdown]
# 损失只是*一个*数。从那里出发，手里一直只是一个行向量，永远不必把两个矩阵相乘：求出全部梯度的代价大约是两次前向，不管输入有多少个。所谓“反向传播”不过如此：链式法则，从便宜的那一端算起。
#
# 有限差分则要为*每一个*数运行一两次网络；ResNet-50 有两千五百万个数。它用来检验，不用来训练。
#
# ## 一个真实的梯度：分类器想看到什么
#
# 最小的图片分类器：把每张图片摊平成 784 个数，乘以矩阵 w [784, 10]，加上偏置 b [10]。得到的十个数叫 *logits*；softmax 把它们变成概率 p，损失是交叉熵，即正确类别的 $-\log p$ 在这一批上的平均。（它的梯度在笔记本 07 里推导，这里直接拿来用：$d\,logits = (p - t) / N$，正确的类别 t = 1，其余为 0。）
#
# 其余部分用上面的规则就够了。每个 logit 是一些乘积之和，$logits_{nk} = \sum_j x_{nj} w_{jk} + b_k$，所以每个 w 得到梯度乘以另一个因子；而它在每张图片上都用到，所以再对所有图片求和：
#
# $$dw_{jk} = \sum_n x_{nj}\, d\,logits_{nk} \quad\text{即}\quad dw = x^T\, d\,logits, \qquad db_k = \sum_n d\,logits_{nk}$$

# %%
images, labels, _, _ = fashion_mnist()
x = images.reshape(-1, 784) / 255  # [6000, 784] float64


def loss_and_gradient(w, b, x=x, labels=labels):
    """w [784, 10], b [10] -> the loss, dw [784, 10], db [10]"""
    logits = x @ w + b
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    t = np.eye(10)[labels]
    d_logits = (p - t) / len(x)
    return -np.log((p * t).sum(1)).mean(), x.T @ d_logits, d_logits.sum(0)


w, b = np.zeros((784, 10)), np.zeros(10)
loss, dw, db = loss_and_gradient(w, b)
print(f"loss {loss:.4f} = log 10 = {np.log(10):.4f};  dw {dw.shape}, db {db.shape}")

# %% [markdown]
# 权重为零时，每一类的概率都是 1/10，损失是 log 10。梯度 dw 的形状与 w 相同，所以第 k 列可以当作 28 × 28 的图片来看：在哪里增加权重，对第 k 类有利？我们画的是 −dw，即*下坡*的方向。
#
# **预测。** 网络还什么都没有学，这十张图会是什么样子？

# %%
figure, axes = plt.subplots(2, 5, figsize=(10, 4.4), layout="constrained")
for k, axis in enumerate(axes.flat):
    limit = abs(dw).max()
    shown = axis.imshow(-dw[:, k].reshape(28, 28), cmap="RdBu_r", vmin=-limit, vmax=limit)
    axis.set_title(FASHION_MNIST_CLASSES[k], fontsize=9)
    axis.set_axis_off()
bar = figure.colorbar(shown, ax=axes, shrink=0.7)
bar.set_label("-dw")

k = 9  # the formula in words
average_difference = (x[labels == k].mean(0) - x.mean(0)) / 10
assert np.allclose(-dw[:, k], average_difference)

# %% [markdown]
# 是衣服。一开始，某一类的 −dw（除去系数 1/10）就是这一类的平均图片减去所有图片的平均。对这个分类器来说，梯度下降的第一步，就是把平均的靴子印进 “Ankle boot” 的权重里，再把别的类别有、而靴子没有的地方涂成蓝色。
#
# ### 梯度守信吗？
#
# 梯度是一种预测。沿下坡方向走一步，步子为 $\eta$，即 $w \leftarrow w - \eta\, dw$，损失应当下降 $\eta \sum dw^2$（一阶近似）。
#
# **预测。** 对哪些 $\eta$ 这个承诺成立：全部、很小的，还是没有一个严格成立？

# %%
etas = np.linspace(0, 1.5, 31)
actual = [loss_and_gradient(w - eta * dw, b)[0] for eta in etas]
promised = loss - etas * (dw**2).sum()

figure, axis = plt.subplots(figsize=(6.5, 3), layout="constrained")
axis.plot(etas, promised, "--", color=GREY, label="promised by the gradient")
axis.plot(etas, actual, color=BLUE, marker="o", markersize=3, label="loss")
axis.set(xlabel="step η", ylabel="loss", ylim=(1, 3))
axis.legend(frameon=False)
small = 1e-4
fall = loss - loss_and_gradient(w - small * dw, b)[0]
print(f"η = {small}: promised {small * (dw**2).sum():.6e}, fell {fall:.6e}")
assert abs(fall / (small * (dw**2).sum()) - 1) < 1e-3

# %% [markdown]
# 直线在零点与曲线相切，它承诺的也仅此而已。步子小，几乎分毫不差；步子大，就会走过头，然后越走越糟。学习率，就是猜一猜这条切线能信多远。
#
# ## 检验 7840 个数的梯度
#
# 如果每个元素做一次有限差分，要算 15 680 次函数值。有更好的办法：在所有元素上同时沿一个*随机方向* v 走。沿 v 的斜率只是一个数，而梯度说得出它应该是多少：
#
# $$\frac{loss(w + h v) - loss(w - h v)}{2h} \approx \sum dw \cdot v$$
#
# 错误的梯度只有在它的误差恰好与 v 垂直时才会给出正确的数；对随机的 v，这几乎不会发生。
#
# **预测。** 下面两种错误，一个随机方向能发现哪些？(a) 整个 dw 大了一倍；(b) 7840 个元素中最大的那一个错了 10 %。

# %%
w = 0.1 * rng.standard_normal((784, 10))
_, dw, db = loss_and_gradient(w, b)
v = rng.standard_normal(w.shape)
h = 1e-5
numeric = (loss_and_gradient(w + h * v, b)[0] - loss_and_gradient(w - h * v, b)[0]) / (2 * h)

one_off = dw.copy()
worst = np.unravel_index(abs(dw).argmax(), dw.shape)
one_off[worst] *= 1.1
for name, gradient in (("right", dw), ("(a) doubled", 2 * dw), ("(b) one entry", one_off)):
    ours = (gradient * v).sum()
    error = abs(ours - numeric) / abs(dw).max()
    print(f"{name:14} ours {ours:+.9f}  numeric {numeric:+.9f}  error / largest gradient {error:.0e}")
    assert (error < 1e-6) == (name == "right")

# %% [markdown]
# 两种都能发现。误差除以的是*最大*的梯度，而不是逐个元素相除：接近零的元素，单是舍入就会造成很大的相对误差，从而误报。
#
# 本项目把它写成了一个函数。它需要一个既返回结果、又返回 `back` 的函数；`back` 把结果的梯度变成各个参数的梯度（这是笔记本 02 的主题）：


# %%
def classifier(x, w, b):
    def back(dy):
        return dy @ w.T, x.T @ dy, dy.sum(0)

    return x @ w + b, back


print(check_gradients(classifier, x[:5, 300:320], w[300:320], b, names=("x", "w", "b")))

# %% [markdown]
# `check_gradients` 的上游梯度 `dy` 也是随机取的。为什么它不能全是 1，说来话长，留到笔记本 06。
#
# ## 任何 h 都不合适的地方：折点
#
# ReLU，$y = \max(x, 0)$，左边斜率为 0，右边为 1。取 x = 10⁻⁴，离折点很近，正确的导数是 1。
#
# **预测**中心差分随 h 怎样变化：h 小于 10⁻⁴ 时如何，大于时又如何？

# %%
x_near, h = 1e-4, 10.0 ** np.arange(-1, -8.1, -0.25)
slope = (np.maximum(x_near + h, 0) - np.maximum(x_near - h, 0)) / (2 * h)

figure, axis = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
axis.semilogx(h, slope, "o-", color=BLUE, markersize=4)
axis.axvline(x_near, color=GREY, linestyle="--")
axis.annotate("h = x", (x_near, 0.6), xytext=(-36, 0), textcoords="offset points", color=GREY)
axis.set(xlabel="h", ylabel="central difference", ylim=(0.4, 1.1))


def rectifier(x):
    y, saved = ops.relu_forward(x)
    return y, lambda dy: ops.relu_backward(dy, saved)


report = check_gradients(rectifier, np.array([-1.0, 1e-7, 0.5, 2.0]), mode="full")
print(report)
assert report.passed and report.arguments[0].kinks == 1

# %% [markdown]
# 步子一跨过折点，差分就把两边的斜率混在一起；h 很大时得到 0.5，哪一边都不是。这不是你的梯度有错。`check_gradients` 会察觉折点（无论步子多小，左右两边的斜率都差那么多），把这样的元素略过，并在报告里计数。
#
# ## 练习
#
# 请检查一下自己，只用这个笔记本里的规则。
#
# **relu_backward。** $y = \max(x, 0)$。`saved.y` 是前向的输出，形状任意；y > 0 当且仅当 x > 0。返回 dx，形状与数据类型都与 dy 相同。在 x = 0 处导数取 0。

# %% tags=["exercise"]
from tinyresnet import exercises


def relu_backward(dy, saved):
    """dy [...], saved.y [...] -> dx [...]"""
    raise NotImplementedError("relu_backward is not written yet")


exercises.check("relu_backward", relu_backward)

# %% [markdown]
# **bias_add_backward。** $y = x + b$：x 是 `[..., C]`，通常为 `[N, H, W, C]`，b 是 `[C]`。同一个偏置用在每张图片的每个像素上。返回 dx 和 db。

# %% tags=["exercise"]
from tinyresnet import exercises


def bias_add_backward(dy, saved):
    """dy [..., C] -> dx [..., C], db [C]"""
    raise NotImplementedError("bias_add_backward is not written yet")


exercises.check("bias_add_backward", bias_add_backward)

# %% [markdown]
# ## 接下来读什么
#
# - [笔记本 02](02_pullbacks.ipynb)：怎样用这样的小块拼成一整个网络。
# - [这个反向函数对吗？](../../docs/zh/gradcheck.md)：关于 `check_gradients` 的一切，还有一张表，教你从比值读出错在哪里。
