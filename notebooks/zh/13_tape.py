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
# # 13 · 自己写一条“磁带”
#
# **目标。** 学完这一本，你已经用六十行写出了自动微分，用它训练过一个 ResNet，看到它给出的梯度与手写的反向完全一样，并且知道磁带（tape）替你做了什么，又藏起了什么。
#
# **需要先会**回传函数（02）和瓶颈单元（08）。

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
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block

tinyresnet.set_backend("numpy")
BLUE, VERMILION, GREEN, ORANGE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#777777"
rng = np.random.default_rng(13)

images, labels, _, _ = fashion_mnist()
pictures = images[:6, ::2, ::2] / 255.0  # [6, 14, 14, 1]
truth = labels[:6].astype(np.int64)

# %% [markdown]
# ## 想法
#
# 在这个项目里，每一块都有手写的 `back`，次序与前向互为镜像。这是枯燥的工作，而且总是一个样。那就让程序来做：**前向运行时，把每个算子和它的回传函数记下来；之后把这张清单倒着读。** 这张清单就叫*磁带*。
#
# 磁带上的一个值记住三样东西：它的数组，它由哪些值算出，以及把它的梯度变成那些值的梯度的回传函数。


# %%
class Value:
    """An array with a memory of how it was made."""

    def __init__(self, array, parents=(), back=None, name=""):
        self.array, self.parents, self.back, self.name = array, parents, back, name
        self.gradient = None


def lift(forward, backward):
    """An op pair of arrays -> one function of Values. Arguments that are no Value (stride, ...) are constants."""

    def op(*args, **kwargs):
        inputs = [a for a in args if isinstance(a, Value)]
        y, saved = forward(*(a.array if isinstance(a, Value) else a for a in args), **kwargs)
        return Value(y, inputs, lambda dy: backward(dy, saved), forward.__name__.removesuffix("_forward"))

    return op


def add(a, b):
    """Its pullback is so short that it needs no op pair."""
    return Value(ops.add(a.array, b.array), [a, b], lambda dy: (dy, dy), "add")


conv = lift(ops.conv2d_forward, ops.conv2d_backward)
conv_bias = lift(ops.conv2d_bias_add_forward, ops.conv2d_bias_add_backward)
norm_relu = lift(ops.batch_norm_relu_forward, ops.batch_norm_relu_backward)
subsample = lift(ops.subsample_forward, ops.subsample_backward)
mean = lift(ops.global_avg_pool_forward, ops.global_avg_pool_backward)
squeeze = lift(ops.squeeze_forward, ops.squeeze_backward)
cross_entropy = lift(ops.softmax_cross_entropy_forward, ops.softmax_cross_entropy_backward)

# %% [markdown]
# 一共八个函数，没有一个需要推导新的导数：该知道的，算子的前向与反向里全都有了。
#
# 现在写回来的路。每个值从用过它的各处收集梯度。*全部*收齐之后，它的回传函数运行一次，把梯度交给它由之算出的那些值。
#
# **预测。** 在 $y = x + F(x)$ 里，$x$ 用了两次。要让 $x$ 排在它的两个使用者之后，各个值应当按什么次序访问？


# %%
def in_order(last):
    """All values that `last` was made of, each after everything it was made of."""
    order, seen, stack = [], set(), [(last, False)]
    while stack:  # a loop, as a recursion would be too deep for a deep net
        value, parents_done = stack.pop()
        if parents_done:
            order.append(value)
        elif id(value) not in seen:
            seen.add(id(value))
            stack.append((value, True))
            stack.extend((parent, False) for parent in value.parents)
    return order


def backward(last, gradient=1.0):
    """Fills .gradient of every value that `last` was made of."""
    last.gradient = gradient
    for value in reversed(in_order(last)):
        if value.back is None:
            continue  # the beginning of the tape: a picture or a weight
        gradients = value.back(value.gradient)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        for parent, d in zip(value.parents, gradients, strict=True):
            parent.gradient = d if parent.gradient is None else parent.gradient + d  # used twice: add
        value.back = value.gradient = None  # free what was saved


# %% [markdown]
# 全部就是这些。`in_order` 把每个值排在它由之算出的值之后；倒过来，每个值就排在那些值之前，也在自己的所有使用者之后。带加号的那一行，就是笔记本 08 的第二条规则，一次管住所有网络的所有地方。
#
# 先用普通的数试一试：$y = x + x$，$z = y + x$。
#
# **预测。** $dz/dx$ 是多少？

# %%
x = Value(np.array([2.0]))
y = add(x, x)
z = add(y, x)
backward(z, np.ones(1))
print("dz/dx =", x.gradient)
assert x.gradient == 3

# %% [markdown]
# ## 磁带上的残差单元
#
# **预测。** 下一个单元格里根本没有 `back`。是哪一行决定了投影的梯度要穿过 preact，而恒等映射的梯度从旁边过去？


# %%
class Net:
    """Weights by name, each a Value; a fresh one is made from the store's array."""

    def __init__(self, store):
        self.values = {name: Value(array) for name, array in store.items()}

    def __getitem__(self, name):
        return self.values[name]

    def norm_relu(self, x, scope):
        return norm_relu(x, self[f"{scope}/gamma"], self[f"{scope}/beta"])

    def unit(self, x, scope, depth, stride):
        preact = self.norm_relu(x, f"{scope}/preact")
        if x.array.shape[-1] == depth:
            shortcut = subsample(x, stride)
        else:
            shortcut = conv_bias(
                preact, self[f"{scope}/shortcut/weights"], self[f"{scope}/shortcut/biases"], stride=stride
            )
        y = conv(preact, self[f"{scope}/conv1/weights"])
        y = self.norm_relu(y, f"{scope}/conv1/BatchNorm")
        y = conv(y, self[f"{scope}/conv2/weights"], stride=stride, padding=((1, 1), (1, 1)))
        y = self.norm_relu(y, f"{scope}/conv2/BatchNorm")
        y = conv_bias(y, self[f"{scope}/conv3/weights"], self[f"{scope}/conv3/biases"])
        return add(shortcut, y)

    def __call__(self, x, labels, blocks):
        for block in blocks:
            for i, unit in enumerate(block.args, start=1):
                x = self.unit(x, f"resnet_v2/{block.scope}/unit_{i}/bottleneck_v2", unit["depth"], unit["stride"])
        x = self.norm_relu(x, "resnet_v2/postnorm")
        x = conv_bias(mean(x), self["resnet_v2/logits/weights"], self["resnet_v2/logits/biases"])
        return cross_entropy(squeeze(x), labels)


# %% [markdown]
# 是参数：`conv_bias(preact, ...)` 或者 `subsample(x, ...)`。谁被用到，谁就得到梯度；不必另外告诉磁带。
#
# ## 对照手写的反向
#
# 同一个网络，同样的权重：一次用库里的 `resnet_v2`，它的 `back` 是手写的；一次用我们的磁带。
#
# **预测。** 两者的梯度会有 6 位相同、15 位相同，还是连最后一位都相同？

# %%
blocks = [
    resnet_v2_block("block1", base_depth=4, num_units=2, stride=2),
    resnet_v2_block("block2", base_depth=8, num_units=3, stride=1),
]
store = Variables(seed=13)


def by_hand():
    """loss, d_pictures, gradients by name"""
    store.gradients.clear()
    logits, _, back = resnet_v2(pictures, blocks, num_classes=10, include_root_block=False, variables=store)
    loss, saved = ops.softmax_cross_entropy_forward(logits, truth)
    d_pictures = back(ops.softmax_cross_entropy_backward(1.0, saved))
    return loss, d_pictures, dict(store.gradients)


def on_tape():
    net, x = Net(store), Value(pictures)
    loss = net(x, truth, blocks)
    backward(loss)
    return loss.array, x.gradient, {name: v.gradient for name, v in net.values.items() if v.gradient is not None}


loss, d_pictures, gradients = by_hand()
tape_loss, tape_d_pictures, tape_gradients = on_tape()
same = sum(np.array_equal(gradients[name], tape_gradients[name]) for name in gradients)
print("loss", loss, tape_loss)
print(
    f"{same} of {len(gradients)} gradients are equal bit for bit; the pictures':",
    np.array_equal(d_pictures, tape_d_pictures),
)
assert set(gradients) == set(tape_gradients)
assert all(np.allclose(gradients[name], tape_gradients[name], rtol=1e-12, atol=1e-15) for name in gradients)
assert same == len(gradients)

# %% [markdown]
# 连最后一位都相同。磁带调用的是同样的回传函数，次序给出的也是同样的和。它不是另一种数学，只是一个秘书。
#
# ## 记下了什么
#
# 下面是带投影的一个单元的磁带，按记下的次序排列。“from” 说明一步读了哪几行；权重略去。
#
# **预测。** 哪一行被读了两次？

# %%
x = Value(pictures, name="x")
y = Net(store).unit(x, "resnet_v2/block1/unit_1/bottleneck_v2", 16, 1)
steps = [x] + [v for v in in_order(y) if v.parents]
number = {id(v): i for i, v in enumerate(steps)}
read = [i for v in steps for p in v.parents if (i := number.get(id(p))) is not None]
print("line  op                          from      map               users")
for i, v in enumerate(steps):
    sources = ", ".join(str(number[id(p)]) for p in v.parents if id(p) in number)
    print(
        f"{i:>4}  {v.name:<28}{sources:<10}{str(v.array.shape):<18}{read.count(i):>5}"
        + ("  <- adds" if read.count(i) > 1 else "")
    )
assert [read.count(i) for i in range(len(steps))].count(2) == 1

# %% [markdown]
# 有两个使用者的是 preact：投影和 conv1 都读它。手写的 `back` 里，`ops.add(d_preact, d_shortcut)` 就在那里。
#
# ## 为什么次序要紧
#
# `backward` 也可以写成递归：把梯度交给上一层的值，让它们马上照做，不等别的使用者。最后的和也是对的。
#
# **预测。** 把 L 个单元 $x + F(x)$ 叠起来。L = 5、10、20 时，递归要运行多少次回传函数？


# %%
def recursive(value, gradient):
    """Right, and never do it: returns how many pullbacks ran."""
    value.gradient = gradient if value.gradient is None else value.gradient + gradient
    if value.back is None:
        return 0
    calls, gradients = 1, value.back(gradient)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    return calls + sum(recursive(parent, d) for parent, d in zip(value.parents, gradients, strict=True))


def stack(units):
    """x -> x + relu(x), so often"""
    x = net = Value(np.array([0.5]))
    relu = lift(ops.relu_forward, ops.relu_backward)
    for _ in range(units):
        net = add(net, relu(net))
    return x, net


sizes = range(1, 13)
naive, ordered = [], []
for units in sizes:
    x, net = stack(units)
    naive.append(recursive(net, np.ones(1)))
    right = x.gradient
    x, net = stack(units)
    ordered.append(sum(v.back is not None for v in in_order(net)))
    backward(net, np.ones(1))
    assert np.array_equal(x.gradient, right) and right == 2.0**units

figure, axes = plt.subplots(figsize=(7, 3.3), layout="constrained")
axes.semilogy(sizes, naive, "o--", color=VERMILION, linewidth=2, label="recursion")
axes.semilogy(sizes, ordered, "s-", color=BLUE, linewidth=2, label="in order, once each")
axes.set(xlabel="residual units", ylabel="pullbacks run")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
print("12 units:", naive[-1], "against", ordered[-1], "   66 units, as in a ResNet-200:", f"{2 * 2.0**66:.0e}")
assert naive == [2 * 2**units - 2 for units in sizes] and ordered == [2 * units for units in sizes]

# %% [markdown]
# 每加一个单元就翻一倍，因为每个加法派两个信使往回走，而每个信使都独自走完剩下的整个网络。就算一次只要一微秒，ResNet-200 的 66 个单元也要五百万年。所以读磁带的次序，必须让每个值等齐它的所有使用者。手写的 `back` 天然有这个次序，因为写它的是人。
#
# ## 为什么只能用一次
#
# `backward` 用完之后把 `value.back` 设为 `None`，于是放掉了激活值。
#
# **预测。** 如果对同一个损失再调用一次 `backward`，会怎样？

# %%
net, x = Net(store), Value(pictures)
loss = net(x, truth, blocks)
backward(loss)
first = x.gradient
backward(loss)
print("the picture's gradient after a second call is the first one's:", x.gradient is first)

# %% [markdown]
# 什么也没有发生，一声不响。如果磁带把一切都*留着*，那就会把梯度加上两遍，同样一声不响。关于磁带，人们问得最多的就是这两件事。库里的回传函数会拒绝：第二次调用抛出 `RuntimeError`，并说明原因。
#
# ## 用磁带训练
#
# **预测。** 六张图片，25 步，学习率 0.1，没有动量：损失会降到几分之一？

# %%
weights, losses = dict(store), []
for _ in range(25):
    net = Net(weights)
    loss = net(Value(pictures), truth, blocks)
    backward(loss)
    losses.append(float(loss.array))
    for name, v in net.values.items():
        if v.gradient is not None:
            weights[name] = v.array - 0.1 * v.gradient
print("loss", *(f"{value:.3f}" for value in losses[::6]))
assert losses[-1] < losses[0] / 2

# %% [markdown]
# ## 磁带上的一个错误
#
# 我们包装的算子，在被调用时才去查 `ops.conv2d_backward`。所以 `use` 也够得到磁带里面；你的一个错误算子，会让磁带出错，就像让手写的网络出错一样。磁带自己不会求任何导数：它的回传函数有多正确，它就有多正确。


# %%
def kernel_flipped(dy, saved):
    dx, _ = ops.conv2d_backward(dy, saved._replace(w=np.ascontiguousarray(saved.w[::-1, ::-1])))
    return dx, ops.conv2d_backward(dy, saved)[1]


def loss_on_tape(pictures):
    x = Value(pictures)
    loss = Net(store)(x, truth, blocks)

    def back(d_loss):
        backward(loss, d_loss)
        return x.gradient

    return loss.array, back


noisy = pictures[:, 3:8, 3:8] + 0.1 * rng.standard_normal((6, 5, 5, 1))
print("right:", tinyresnet.check_gradients(loss_on_tape, noisy).passed)
with tinyresnet.use(conv2d_backward=kernel_flipped):
    broken = tinyresnet.check_gradients(loss_on_tape, noisy).passed
print("kernel flipped in dx:", broken)
assert not broken

# %% [markdown]
# ## 这个项目为什么没有磁带
#
# | | 磁带 | 手写 |
# |---|---|---|
# | 新的一块 | 什么也不用写 | 要写它的 `back`，次序与前向互为镜像 |
# | 梯度在哪里相加 | 写在一行里，管住所有网络 | 在每一块里都看得见 |
# | 次序 | 要算出来 | 已经写好 |
# | 内存何时释放 | 磁带说了算 | `pop` 一个放一个，见笔记本 12 |
# | 错误 | 藏在算子里 | 藏在算子里，或者块里 |
#
# 要*干活*，就用磁带。要*学习*发生了什么，它藏起来的恰恰是最要紧的那几行。现在两种你都见过了，也知道它们是一回事。
#
# ## 练习
#
# 两个组合算子：磁带上的两行，合成一个算子。用 `tinyresnet.use(...)`，你的函数就能在上面的磁带里和手写的网络里工作。
#
# **批归一化与 ReLU 合在一起。** 最后做的最先传回。`saved.relu.y` 是输出；`saved.batch_norm.x` [..., C] 以及 `.gamma`、`.mean`、`.var`、`.inv_std` [C] 属于前面的批归一化。返回 `dx` [..., C]、`dgamma` [C]、`dbeta` [C]。

# %% tags=["exercise"]
from tinyresnet import exercises


def batch_norm_relu_backward(dy, saved):
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_relu_backward is not written yet")


exercises.check("batch_norm_relu_backward", batch_norm_relu_backward)

# %% [markdown]
# **卷积与偏置合在一起。** $y = \text{conv}(x, w) + b$。卷积的那部分可以直接调用：`ops.conv2d_backward(d_convolved, saved.conv2d)` 给出 `dx` 和 `dw`。返回 `dx`、`dw` 和 `db` [K]。

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_bias_add_backward(dy, saved):
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K], db [K]"""
    raise NotImplementedError("conv2d_bias_add_backward is not written yet")


exercises.check("conv2d_bias_add_backward", conv2d_bias_add_backward)

# %% [markdown]
# ## 接下来读什么
#
# 你走完了。剩下的是这个库本身：[resnet_v2.py](../../tinyresnet/resnet_v2.py) 和它的[源码笔记](../../docs/zh/resnet_v2.md)，以及说明为什么这样建造的[设计](../../docs/design.md)。认真的磁带有：micrograd，知名的实现里最小的一个（94 行，只有标量）；大的则有 autograd、JAX 和 PyTorch。
