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
# # 02 · 回传函数
#
# **目标。** 读完之后，你会写这样的层：返回结果的同时，也返回一个把梯度带回来的函数；会把这样的层拼成网络；说得出每一层要在内存里保存什么；还认得人人都会掉进去一次的两个陷阱。
#
# **预备知识：** 笔记本 [01](01_chain_rule.ipynb)：链式法则，从末尾走到开头。

# %% tags=["setup"]
import importlib.util

missing = [name for name in ("tinyresnet", "numpy", "matplotlib") if importlib.util.find_spec(name) is None]
if missing:
    raise SystemExit(
        f'missing: {", ".join(missing)}. Run this in a cell, then restart the kernel:  %pip install "tinyresnet[notebooks]"'
    )

# %%
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np

import tinyresnet
from tinyresnet import check_gradients, ops
from tinyresnet.data import digits

tinyresnet.set_backend("numpy")
plt.rcParams.update({"figure.dpi": 110, "image.cmap": "gray", "axes.spines.top": False, "axes.spines.right": False})
BLUE, VERMILION, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#777777"
rng = np.random.default_rng(0)

# %% [markdown]
# ## 层的导数是一个没有人写出来的矩阵
#
# 一层把数组 x 变成数组 y。在某个 x 附近，它是一个线性映射，矩阵就是雅可比矩阵 J：第 (i, j) 个元素表示 x[j] 动一点时，y[i] 动多少。
#
# **预测。** 一个卷积把 28 × 28 像素、16 个通道的图变成同样大小的图。它的雅可比矩阵有多少个元素？用 float32 要多少 GB？

# %%
entries = (28 * 28 * 16) ** 2
print(f"{entries:,} entries, {entries * 4 / 2**30:.1f} GiB, for one picture")

# %% [markdown]
# 没有人想要这样的东西，好在也没有人需要它。对链式法则来说，有一个*函数*就够了：给它 dy（损失在 y 处的梯度），它返回 dx（在 x 处的梯度）。
#
# $$dx = J^T dy, \qquad dx_j = \sum_i dy_i\, J_{ij}$$
#
# 每个 x[j] 去问它推动的所有输出：你有多重要（dy）？我能推动你多少（J）？因为是对输出求和，所以是 J 的*转置*。这个函数叫做该层在 x 处的**回传函数**（pullback），因为它把梯度从 y 传回 x。代码里叫 `back`。
#
# 数组很小时，可以看看 J 的样子。让这一层每次只沿一个 x 走一步，得到的就是 J 的各列。


# %%
def jacobian(layer, x):
    """layer(x) -> (y, back); the Jacobian [size of y, size of x], by central differences"""
    columns, h = [], 1e-6
    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = h
        columns.append(((layer(x + step)[0] - layer(x - step)[0]) / (2 * h)).ravel())
    return np.stack(columns, axis=-1)


def pair(forward, backward, *arguments, **options):
    """an op pair as a layer: x -> (y, back), where back gives the gradient of x alone"""

    def layer(x):
        y, saved = forward(x, *arguments, **options)

        def back(dy):
            gradients = backward(dy, saved)
            return gradients[0] if isinstance(gradients, tuple) else gradients

        return y, back

    return layer


w = rng.standard_normal((3, 3, 1, 1))
one, zero = np.ones(1), np.zeros(1)
layers = {
    "relu": pair(ops.relu_forward, ops.relu_backward),
    "subsample": pair(ops.subsample_forward, ops.subsample_backward, 2),
    "global average": pair(ops.global_avg_pool_forward, ops.global_avg_pool_backward),
    "convolution 3x3": pair(ops.conv2d_forward, ops.conv2d_backward, w),
    "max pool 2x2": pair(ops.max_pool2d_forward, ops.max_pool2d_backward, 2),
    "batch norm": pair(ops.batch_norm_forward, ops.batch_norm_backward, one, zero),
}
x = rng.standard_normal((1, 6, 6, 1))

# %% [markdown]
# **预测。** 下面是六种层在 6 × 6 像素的图上的雅可比矩阵，所以各有 36 列。红色为正，蓝色为负，白色为零。哪个是哪个？可选的有：ReLU、下采样（每隔一个像素取一个）、全局平均、3 × 3 卷积、2 × 2 最大池化、批归一化。答完再运行下一个单元格，答案在那里。

# %%
figure, axes = plt.subplots(1, 6, figsize=(11, 2.3), layout="constrained")
shuffled = [list(layers)[k] for k in (5, 3, 4, 0, 2, 1)]
for axis, letter, name in zip(axes, "abcdef", shuffled, strict=True):
    J = jacobian(layers[name], x)
    limit = 0.4 * abs(J).max()
    axis.imshow(J, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    axis.set(title=letter, xticks=[0, 35], yticks=[0, len(J) - 1])

# %%
for letter, name in zip("abcdef", shuffled, strict=True):
    J = jacobian(layers[name], x)
    y, back = layers[name](x)
    dy = rng.standard_normal(y.shape)
    assert np.allclose(back(dy).ravel(), J.T @ dy.ravel(), atol=1e-6)
    print(
        f"{letter}  {name:16} {J.shape[0]:2} x {J.shape[1]}, {np.mean(abs(J) > 1e-7):4.0%} of the entries are not zero"
    )

# %% [markdown]
# - **a** 是批归一化：每个 x 都通过均值和方差推动每个 y。六个里只有它是稠密的方阵，这也是它的梯度在本项目里最难的原因。
# - **b** 是卷积：斜的带子。每一行都是同样的九个数，因为处处用的是同一个卷积核。
# - **c** 是最大池化：每行一个 1，在胜出者的位置。**f** 是下采样：每行也是一个 1，但位置永远不变。
# - **d** 是 ReLU：对角线上有 1 也有 0。
# - **e** 是平均：只有一行，每个元素都是 1/36。
#
# 循环里的断言把每个回传函数与转置矩阵对了一遍。而包里的回传函数从来不造矩阵：ReLU 的就是一行 `dy * (y > 0)`。
#
# ### 不用矩阵也能检验回传函数
#
# 对任意的 v 和 dy，都有 $dy \cdot (J v) = (J^T dy) \cdot v$。左边是一个斜率，有限差分求得出来；右边是 `back(dy)` 乘以 v。这一个等式*就是*笔记本 01 里的检验，`check_gradients` 就建立在它上面。

# %%
for name, layer in layers.items():
    report = check_gradients(layer, x)
    assert report.passed, report
    print(f"{name:16} error {report.arguments[0].error:.0e}")

# %% [markdown]
# ## 本项目的两种形式
#
# 最底层是**算子**，成对的纯函数：
#
# ```
# y, saved = relu_forward(x)
# dx       = relu_backward(dy, saved)
# ```
#
# `saved` 是一个具名元组，装着反向需要的东西，一点也不多。这样的一对函数容易替换，容易测试，也容易做成练习。
#
# 算子以上的一切都用**回传函数**：
#
# ```
# y, back = layer(x)
# dx      = back(dy)
# ```
#
# `back` 自己记着 `saved`，调用者不必知道那是什么。要把层拼起来，只要把它们的 back 拼起来。
#
# **链。** $y = g(f(x))$。**预测：** 两个 back 按什么顺序运行？


# %%
def chain(*layers):
    """layer after layer; back runs from the last to the first"""

    def layer(x):
        backs = []
        for part in layers:
            x, back = part(x)
            backs.append(back)

        def back(dy):
            for part_back in reversed(backs):
                dy = part_back(dy)
            return dy

        return x, back

    return layer


def residual(branch):
    """y = x + branch(x)"""

    def layer(x):
        f, branch_back = branch(x)

        def back(dy):
            return dy + branch_back(dy)  # x was used twice: the sum of both ways

        return x + f, back

    return layer


unit = residual(chain(layers["batch norm"], layers["relu"], layers["convolution 3x3"]))
net = chain(unit, unit, unit, layers["global average"])
y, back = net(x)
print(y.shape, "->", back(np.ones_like(y)).shape)
assert check_gradients(net, x).passed

# %% [markdown]
# 三十行代码，就是一个残差网络连同它的反向传播。请再看一眼 `residual`：“一个值用了两次，梯度就是两处之和”，加上“加法把梯度原样交给两边”，变成了 `dy + branch_back(dy)` 这一行。
#
# ## 权重：另外的输入
#
# 带权重的层是两个数组的函数，它的 back 有两个梯度：一个继续传给前一层，另一个留下来给优化器。本项目用字典按变量名存放两者，我们也这样做：


# %%
def dense(name, variables, gradients):
    """y = x w + b with variables name/w [C, K] and name/b [K]"""

    def layer(x):
        w = variables[f"{name}/w"]  # back uses the w of its forward pass

        def back(dy):
            gradients[f"{name}/w"] = x.T @ dy
            gradients[f"{name}/b"] = dy.sum(0)
            return dy @ w.T

        return x @ w + variables[f"{name}/b"], back

    return layer


def initial(sizes, seed=0):
    generator, variables = np.random.default_rng(seed), {}
    for k, (c, n) in enumerate(zip(sizes, sizes[1:], strict=False)):
        variables[f"{k}/w"] = generator.standard_normal((c, n)) * np.sqrt(2 / c)
        variables[f"{k}/b"] = np.zeros(n)
    return variables


# %% [markdown]
# 现在来训练它，用包里自带的 1438 张 8 × 8 像素的手写数字：64 → 32 → 10，中间一个 ReLU。普通的梯度下降，300 步，每步用全部图片。
#
# **预测。** 300 步之后，359 张测试图片它认得出多少：大约 30 %、60 %，还是 90 %？

# %%
train_images, train_labels, test_images, test_labels = digits()
train_x, test_x = (images.reshape(len(images), -1) / 255 for images in (train_images, test_images))

variables, gradients = initial((64, 32, 10)), {}
net = chain(dense("0", variables, gradients), layers["relu"], dense("1", variables, gradients))
losses = []
for _ in range(300):
    logits, back = net(train_x)
    loss, saved = ops.softmax_cross_entropy_forward(logits, train_labels)
    back(ops.softmax_cross_entropy_backward(1.0, saved))
    for name in variables:
        variables[name] = variables[name] - 0.5 * gradients[name]
    losses.append(loss)
found = net(test_x)[0].argmax(1)
accuracy = (found == test_labels).mean()

figure, (curve, *pictures) = plt.subplots(
    1, 7, figsize=(11, 2.4), width_ratios=(3, 1, 1, 1, 1, 1, 1), layout="constrained"
)
curve.plot(losses, color=BLUE)
curve.set(xlabel="step", ylabel="loss", title=f"test accuracy {accuracy:.1%}")
for axis, k in zip(pictures, np.flatnonzero(found != test_labels), strict=False):
    axis.imshow(test_images[k, :, :, 0])
    axis.set_title(f"{test_labels[k]}, taken for {found[k]}", fontsize=8)
    axis.set_axis_off()
assert accuracy > 0.9

# %% [markdown]
# 右边是几张被它认成别的数字的图片。
#
# ## 陷阱一：晚绑定
#
# TF-Slim 的写法是一遍又一遍地写 `net = ...`。而在 Python 里，函数是在*运行*时才去查名字的，不是在定义时。所以提到 `net` 的回传函数，看到的是 `net` 最后的值。
#
# **预测。** 下面先算 2 · 3 = 6，再求平方。对 dy = 1，两个 back 返回什么？正确答案是：平方处为 12；a = 2、b = 3 时 d(a · b)/da 为 3。

# %%
a, b = 2.0, 3.0


def careless():
    net, other = a, b

    def product_back(dy):
        return dy * other

    net = net * other
    other = 100.0  # the name is used again further down

    def square_back(dy):
        return dy * 2 * net

    net = net**2
    return square_back(1.0), product_back(1.0)


def product(a, b):
    return a * b, lambda dy: dy * b


def square(x):
    return x**2, lambda dy: dy * 2 * x


def careful():
    net, product_back = product(a, b)
    net, square_back = square(net)
    return square_back(1.0), product_back(1.0)


print("careless", careless(), "  careful", careful())
assert careful() == (12.0, 3.0) != careless()

# %% [markdown]
# 72 和 100：每个 back 用的都是那个名字最后的值。没有任何报错，网络照样训练，只是训练得不好。补救的办法是本项目的一条规矩：**回传函数要在它自己的函数里定义，在那里名字不会再被赋值**。ResNet 的各块可以捕获回传函数和常数，但绝不捕获 `net`。
#
# 循环变量也是如此：`[lambda dy: dy * k for k in range(3)]` 是三个一模一样的函数。
#
# ## 陷阱二：保存了什么，保存到何时
#
# 一个 back 活多久，它保存的东西就留多久。下面的网络有 30 层，每层保存一个 2 MiB 的数组。
#
# **预测。** 用两种方式倒着走这串 back：`for back in reversed(backs)` 和 `while backs: back = backs.pop()`。梯度往回走的时候，内存怎样下降？两种都下降，还是只有一种？


# %%
def saving_layer(x):
    y, saved = ops.relu_forward(x)  # saved.y is as large as x
    return y + 1, lambda dy: ops.relu_backward(dy, saved)


def memory_on_the_way_back(walk):
    """MiB in use before each step back"""
    tracemalloc.start()
    net, backs = np.ones((512, 1024), np.float32), []
    for _ in range(30):
        net, back = saving_layer(net)
        backs.append(back)
    d_net, used = np.ones_like(net), []
    del net, back
    for back in walk(backs):
        used.append(tracemalloc.get_traced_memory()[0] / 2**20)
        d_net = back(d_net)
        del back
    tracemalloc.stop()
    return used


def popped(backs):
    while backs:
        yield backs.pop()


figure, axis = plt.subplots(figsize=(6.5, 3), layout="constrained")
axis.set(xlabel="layers gone back", ylabel="MiB in use", ylim=(0, 75))
for walk, name, colour, style in ((reversed, "reversed(backs)", VERMILION, "--"), (popped, "backs.pop()", BLUE, "-")):
    used = memory_on_the_way_back(walk)
    axis.plot(used, style, color=colour, label=name)
    print(f"{name:16} from {used[0]:.0f} to {used[-1]:.0f} MiB")
    axis.legend(frameon=False)

# %% [markdown]
# 只要列表还拿着 back，back 就拿着它的数组。用 `pop()`，最后一个知道它的人松了手，梯度一走过，这一层的内存就空出来了。这很要紧，因为与此同时，权重的梯度正在变多。本项目的 `Chain` 就是这样做的；它的 back 运行之后也会放掉自己保存的东西，所以只能调用一次，第二次调用时会说明：

# %%
from tinyresnet.slim import conv2d, variable_scope

store = tinyresnet.Variables(seed=0)
with variable_scope("demo", variables=store):
    net, back = conv2d(rng.standard_normal((2, 8, 8, 3)), 4, 3)
d_inputs = back(np.ones_like(net))
print(net.shape, "->", d_inputs.shape, "and", {name: g.shape for name, g in store.gradients.items()})
try:
    back(np.ones_like(net))
except RuntimeError as error:
    print("the second time:", error)

# %% [markdown]
# 这就是包里自己的卷积层：`net, back = conv2d(net, ...)`，用 TF-Slim 的写法，再加一个回传函数。变量的梯度在变量库里，键是 TF-Slim 的变量名。
#
# ## 练习
#
# 两个回传函数，每个一两行。想一想雅可比矩阵的样子，再把它转置。
#
# **global_avg_pool_backward。** $y_{n,0,0,c} = \frac{1}{HW} \sum_{h,v} x_{n,h,v,c}$，从 `[N, H, W, C]` 到 `[N, 1, 1, C]`。`saved.shape` 是 x 的形状。返回 dx `[N, H, W, C]`。

# %% tags=["exercise"]
from tinyresnet import exercises


def global_avg_pool_backward(dy, saved):
    """dy [N, 1, 1, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("global_avg_pool_backward is not written yet")


exercises.check("global_avg_pool_backward", global_avg_pool_backward)

# %% [markdown]
# **squeeze_backward。** 前向把 x `[N, 1, 1, C]` 变成 y `[N, C]`，一个数也不改。返回 dx `[N, 1, 1, C]`。

# %% tags=["exercise"]
from tinyresnet import exercises


def squeeze_backward(dy, saved):
    """dy [N, C] -> dx [N, 1, 1, C]"""
    raise NotImplementedError("squeeze_backward is not written yet")


exercises.check("squeeze_backward", squeeze_backward)

# %% [markdown]
# ## 接下来读什么
#
# - [笔记本 03](03_convolution_forward.ipynb)：卷积，从七层循环到一次矩阵乘法。
# - [设计](../../docs/design.md)（英文）：为什么算子成对，而算子以上都用回传函数。笔记本 13 会写一个 tape，它能自动生成这些 back。
