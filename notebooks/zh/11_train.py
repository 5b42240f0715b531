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
# # 11 · 训练：先背下 32 张图片，再学 Fashion-MNIST
#
# **目标。** 学完这一本，你能写出训练循环，会做每个新网络都应当先通过的那项测试，认得出滑动平均的陷阱，并且说得出损失下降证明了什么、没有证明什么。
#
# **需要先会**损失（07）和批归一化的两种模式（06）。这一本全部用普通的 NumPy 运行。

# %% tags=["setup"]
import importlib.util

missing = [
    name for name in ("tinyresnet", "numpy", "matplotlib", "threadpoolctl") if importlib.util.find_spec(name) is None
]
if missing:
    raise SystemExit(
        f'missing: {", ".join(missing)}. Run this in a cell, then restart the kernel:  %pip install "tinyresnet[notebooks]"'
    )

# %%
import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import tinyresnet
from tinyresnet import ops
from tinyresnet.data import FASHION_MNIST_CLASSES, Pictures, fashion_mnist
from tinyresnet.data.augment import Augmentation, normalisation_of
from tinyresnet.data.batches import Batches
from tinyresnet.explain import grad_cam
from tinyresnet.metrics import accuracy, confusion_matrix
from tinyresnet.optimizers import SGD, WarmupCosine
from tinyresnet.training import Config, Net, changed

tinyresnet.set_backend("numpy")
threadpool_limits(1)  # small matrices
BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#777777"

images, labels, test_images, test_labels = fashion_mnist()
normalisation = normalisation_of(images)
print(images.shape, test_images.shape)


def small_net(batch_norm_decay=0.9):
    """A ResNet v2 of three units, for 28x28 pixels."""
    settings = {"root_channels": 16, "root_stride": 2, "base_depths": [8, 16, 32], "units": [1, 1, 1]}
    return Net(changed(Config(), {**settings, "batch_norm_decay": batch_norm_decay}), num_classes=10)


# %% [markdown]
# ## 一步
#
# 前向、损失、反向、下坡。训练的全部就是这些，剩下的只是多做几次。
#
# $$v \leftarrow 0.9\, v + dw, \qquad w \leftarrow w - \eta\, v$$
#
# 这就是下坡的部分：带动量的 SGD。$\eta$ 是学习率。
#
# **预测。** 新的网络什么也不知道，一共有十个类别。第一步之前，损失应该是多少？


# %%
def step(net, variables, optimizer, x, y, learning_rate):
    """One step; returns the loss before it, and how many were named right."""
    variables.gradients.clear()
    logits, _, back = net(x, variables, is_training=True)
    loss, saved = ops.softmax_cross_entropy_forward(logits, y)
    back(ops.softmax_cross_entropy_backward(1.0, saved))
    optimizer.apply(variables, variables.gradients, learning_rate)
    return float(loss), int((logits.argmax(-1) == y).sum())


few = np.concatenate([np.flatnonzero(labels == k)[:4] for k in range(8)])  # 32 pictures of 8 classes
x, y = normalisation(images[few]), labels[few].astype(np.int64)
net = small_net()
variables = net.create_variables((28, 28, 1), seed=0)
loss, right = step(net, variables, SGD(0.9), x, y, learning_rate=0.05)
print(f"loss {loss:.2f}, log(10) = {np.log(10):.2f}, named right {right} of 32")
assert 1.8 < loss < 3.2

# %% [markdown]
# 大约是 $\log 10$：每个类别得十分之一。如果你的第一个损失是 20，或者 0.01，那就已经有问题了，不是初始权重，就是标签。
#
# ## 把 32 张图片背下来
#
# 在做别的事之前，先让网络把几张图片背下来。对 32 张图片，它有三万四千个数可用。如果连这也做不到，那就是有错误，怎样调参数都没有用。
#
# **预测。** 现在把标签打乱，于是包被叫作靴子，衬衫被叫作凉鞋，再没有什么可以理解的。网络能把这 32 张也学会吗？


# %%
def learn(y, batch_norm_decay=0.9, tested=True, **overrides):
    """The losses of 60 steps on the same 32 pictures; accuracy in training mode, and in inference."""
    net = small_net(batch_norm_decay)
    variables, optimizer = net.create_variables((28, 28, 1), seed=0), SGD(0.9)
    losses, training, inference = [], [], []
    with tinyresnet.use(**overrides):
        for _ in range(60):
            loss, right = step(net, variables, optimizer, x, y, learning_rate=0.05)
            losses.append(loss)
            training.append(right / len(y))
            if tested:
                logits, _, _ = net(x, variables, is_training=False)
                inference.append(float((logits.argmax(-1) == y).mean()))
    return losses, training, inference


shuffled = np.random.default_rng(1).permutation(y)
true_labels, wrong_labels = learn(y), learn(shuffled, tested=False)
figure, axes = plt.subplots(figsize=(7, 3.3), layout="constrained")
axes.semilogy(true_labels[0], color=BLUE, linewidth=2.5, label="true labels")
axes.semilogy(wrong_labels[0], color=VERMILION, linewidth=2.5, linestyle="--", label="shuffled labels")
axes.axhline(np.log(10), color=GREY, linewidth=1, linestyle=":")
axes.annotate("log 10", (50, np.log(10) * 1.15), color=GREY)
axes.set(xlabel="step", ylabel="loss")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
print("named right at the end:", true_labels[1][-1], "and", wrong_labels[1][-1])
assert true_labels[1][-1] == wrong_labels[1][-1] == 1.0

# %% [markdown]
# 两条曲线几乎一样。网络学胡话和学道理一样爽快：训练损失对“理解”什么也没有说。能说明问题的，只有它*没有*见过的图片（Zhang et al. 2017 用一百万张图片做过这件事）。
#
# ## 滑动平均的陷阱
#
# 在训练模式下，网络把 32 张全部说对。在推理模式下，批归一化用滑动平均代替这一批的统计量。
#
# **预测。** 经过 60 步，用 TF-Slim 的 decay 0.997：*同样*这 32 张图片，推理时它说对几张？

# %%
slow, fast = learn(y, batch_norm_decay=0.997), true_labels
figure, axes = plt.subplots(figsize=(7, 3.3), layout="constrained")
axes.plot(slow[1], color=BLUE, linewidth=2.5, label="training mode")
axes.plot(fast[2], color=GREEN, linewidth=2.5, linestyle="--", label="inference, decay 0.9")
axes.plot(slow[2], color=VERMILION, linewidth=2.5, linestyle=":", label="inference, decay 0.997")
axes.set(xlabel="step", ylabel="share named right", ylim=(0, 1.05))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
print(f"after 60 steps: training {slow[1][-1]:.0%}, inference {fast[2][-1]:.0%} and {slow[2][-1]:.0%}")
assert slow[1] == fast[1] and fast[2][-1] == 1 and slow[2][-1] < 0.3

# %% [markdown]
# 差不多是八分之一，等于乱猜，而这正是它背得滚瓜烂熟的图片。两次训练的权重是一样的！decay 为 0.997 的平均，要往回看大约 330 步；60 步之后，它的五分之四还是初始的 0 和 1。没有哪里坏了，只是被*测试*的网络与被*训练*的网络不是同一个。用 0.9，平均往回看十步，开头的二十步里落在后面。
#
# 对十万步的训练，0.997 是合适的。如果训练时完美，测试时像乱猜，请先看这里。
#
# ## 损失下降没有证明什么
#
# 现在用 `use` 以四种方式弄坏反向：
#
# * 批归一化：忘了经由方差回来的那一项；
# * ReLU：忘了门，所有梯度都通过；
# * 卷积：算 $dx$ 时把卷积核翻转了；
# * 卷积：$dx = 0$。只有紧挨着损失的部分和捷径连接还能得到梯度。
#
# **预测。** 其中哪几种，损失仍然会降到零？


# %%
def without_variance(dy, saved):
    _, dgamma, dbeta = ops.batch_norm_backward(dy, saved)
    return saved.gamma * saved.inv_std * (dy - dy.mean((0, 1, 2))), dgamma, dbeta


def without_gate(dy, saved):
    return dy


def flipped(dy, saved):
    dx, _ = ops.conv2d_backward(dy, saved._replace(w=np.ascontiguousarray(saved.w[::-1, ::-1])))
    return dx, ops.conv2d_backward(dy, saved)[1]


def without_dx(dy, saved):
    dx, dw = ops.conv2d_backward(dy, saved)
    return None if dx is None else np.zeros_like(dx), dw


broken = {
    "right": ({}, BLUE, "-"),
    "variance term forgotten": ({"batch_norm_backward": without_variance}, VERMILION, "--"),
    "ReLU's gate forgotten": ({"relu_backward": without_gate}, ORANGE, "-."),
    "kernel flipped in dx": ({"conv2d_backward": flipped}, GREEN, ":"),
    "dx of convolutions = 0": ({"conv2d_backward": without_dx}, PURPLE, (0, (1, 3))),
}
figure, axes = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
last = {}
for name, (overrides, colour, style) in broken.items():
    losses, training, _ = learn(y, tested=False, **overrides) if overrides else true_labels
    axes.semilogy(losses, color=colour, linestyle=style, linewidth=2.5, label=name)
    last[name] = losses[-1]
    print(f"{name:<26}loss {losses[-1]:.4f}   named right {training[-1]:.0%}")
axes.set(xlabel="step", ylabel="loss")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, fontsize=9)
assert last["right"] < min(last["variance term forgotten"], last["kernel flipped in dx"]) < 0.1

# %% [markdown]
# *每一种*的损失都在下降，而且四种里有三种，网络把每张图片都说对了。只是慢一点，而人们会去学习率上找原因。错误的梯度只要大致朝着下坡，就照样往下走。
#
# 所以，网络在学习，对它的反向几乎证明不了什么。一次梯度检验只要一毫秒，这四种没有一种能通过（[这个反向函数对吗？](../../docs/zh/gradcheck.md)）。
#
# ## 学习 Fashion-MNIST
#
# 6000 张用来学，1000 张用来测试。新增的是：
#
# * **分批**，每批 64 张，每一轮换一个顺序；每张图片平移至多一个像素，一半的时候左右翻转：这些都不改变它的名字；
# * **权重衰减**：每一步都把卷积的权重往零拉一点，$dw \leftarrow dw + \lambda w$；
# * **学习率的安排**：先用半轮升上去，再沿余弦降到零。
#
# **预测。** 把图片过两遍，十来秒钟。测试图片有多大比例会被说对：40 %、60 %、80 % 还是 95 %？

# %%
net = Net(changed(net.config, {"weight_decay": 0.002}), num_classes=10)
variables, optimizer = net.create_variables((28, 28, 1), seed=0), SGD(0.9, nesterov=True)
batches = Batches(
    Pictures(images, labels.astype(np.int64)), 64, normalisation, Augmentation(shift=1, flip=True), seed=0
)
epochs = 2
schedule = WarmupCosine(peak=0.1, steps=epochs * len(batches), warmup_steps=len(batches) // 2)


def probabilities(pictures):
    """uint8 [N, 28, 28, 1] -> [N, 10], in inference"""
    parts = [
        net(normalisation(pictures[i : i + 250]), variables, is_training=False)[0] for i in range(0, len(pictures), 250)
    ]
    return ops.softmax(np.concatenate(parts))


losses, tests = [], []
for epoch in range(1, epochs + 1):
    right = 0
    for x_batch, y_batch in batches.epoch(epoch):
        loss, count = step(net, variables, optimizer, x_batch, y_batch, schedule(len(losses)))
        losses.append(loss)
        right += count
    confusion = confusion_matrix(test_labels.astype(np.int64), probabilities(test_images).argmax(-1), 10)
    tests.append(accuracy(confusion))
    print(
        f"epoch {epoch}: loss {np.mean(losses[-len(batches) :]):.3f}   train {right / len(images):.3f}   test {tests[-1]:.3f}"
    )
assert tests[-1] > 0.65

# %%
figure, axes = plt.subplots(1, 2, figsize=(10, 3.3), layout="constrained")
axes[0].plot(losses, color=BLUE, linewidth=0.8, alpha=0.5)
smooth = np.convolve(losses, np.ones(15) / 15, "valid")
axes[0].plot(np.arange(len(smooth)) + 7, smooth, color=BLUE, linewidth=2.5)
axes[0].set(xlabel="step", ylabel="loss", ylim=(0, None))
axes[1].plot([schedule(i) for i in range(len(losses))], color=ORANGE, linewidth=2.5)
axes[1].set(xlabel="step", ylabel="learning rate", ylim=(0, None))
for axis in axes:
    axis.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# 损失先快后慢地下降。它上下跳动，是因为每一批都是另一个样本；接近末尾时学习率几乎为零，剩下的跳动就只来自各批本身。大步找到山谷，小步走到谷底。
#
# （`tinyresnet train` 做的是同样的事，网络稍大一些，训练 40 轮，能到 90 % 左右。它会保存、能逐位相同地接着训练，还会写报告：[从一个图片文件夹到一份报告](../../docs/zh/train.md)。）
#
# ## 错在哪里
#
# **预测。** 十个类别中，哪两个最容易弄混？

# %%
figure, axes = plt.subplots(figsize=(5.2, 4.6), layout="constrained")
wrong = confusion - np.diag(np.diag(confusion))
picture = axes.imshow(wrong, cmap="Oranges")
axes.set(
    xticks=range(10),
    yticks=range(10),
    yticklabels=FASHION_MNIST_CLASSES,
    xlabel="taken for",
    ylabel="is",
    title="mistakes of 100 each",
)
axes.set_xticklabels(FASHION_MNIST_CLASSES, rotation=60, ha="right")
for i, j in zip(*np.nonzero(wrong), strict=True):
    axes.text(j, i, wrong[i, j], ha="center", va="center", fontsize=8)
i, j = np.unravel_index((wrong + wrong.T).argmax(), wrong.shape)
print("most confused:", FASHION_MNIST_CLASSES[i], "and", FASHION_MNIST_CLASSES[j])

# %% [markdown]
# 下面是网络*最有把握*的错误，以及它看的是哪里（Grad-CAM：取胜出的 logit 的梯度，在最后的特征图上求平均，用来给各通道加权）。
#
# **预测。** 其中有几张，你也会说出同样的答案？

# %%
p = probabilities(test_images)
taken = p.argmax(-1)
sure = np.where(taken != test_labels, p.max(-1), 0).argsort()[::-1][:6]
figure, axes = plt.subplots(2, 6, figsize=(12, 4.6), layout="constrained")
for column, i in enumerate(sure):
    heat = grad_cam(net, variables, normalisation(test_images[i]), int(taken[i]), f"{net.scope}/block3")
    axes[0, column].imshow(test_images[i, :, :, 0], cmap="gray_r")
    axes[0, column].set_title(
        f"{FASHION_MNIST_CLASSES[test_labels[i]]}\nas {FASHION_MNIST_CLASSES[taken[i]]}, {p[i].max():.2f}", fontsize=9
    )
    axes[1, column].imshow(test_images[i, :, :, 0], cmap="gray_r")
    axes[1, column].imshow(heat, cmap="inferno", alpha=0.6, extent=(-0.5, 27.5, 27.5, -0.5), interpolation="bilinear")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])

# %% [markdown]
# 有些标签是可以怀疑的。花时间看一看最有把握的错误总是值得的：要么数据在那里错了，要么网络学到了你没有想让它学的东西。
#
# ## 练习
#
# **权重衰减。** L2 在损失上加 $\frac{rate}{2} \sum w^2$；请推出它给梯度加上什么。只有 `weights` 衰减，偏置、gamma、beta 都不衰减：看 `name` 的最后一段。返回新的 `dw` 和新的损失。手算一例：w = 3, 4，rate 为 0.1，损失增加 0.05 · 25 = 1.25。

# %% tags=["exercise"]
from tinyresnet import exercises


def weight_decay(name, w, dw, loss, rate):
    """w, dw of any shape -> new dw of this shape, new loss"""
    raise NotImplementedError("weight_decay is not written yet")


exercises.check("weight_decay", weight_decay)

# %% [markdown]
# **带动量的一步。** 先做 $accum \leftarrow momentum \cdot accum + dw$，再用新的 accum 做 $w \leftarrow w - learning\ rate \cdot accum$。返回新的 `w` 和新的 `accum`，都是新数组。手算一例：w = 1，dw = 0.1，学习率 2，动量 0.9。第一步得到 accum 0.1、w 0.8，第二步得到 accum 0.19、w 0.42。

# %% tags=["exercise"]
from tinyresnet import exercises


def momentum_step(w, accum, dw, learning_rate, momentum):
    """w, accum, dw of any shape -> new w, new accum of this shape"""
    raise NotImplementedError("momentum_step is not written yet")


exercises.check("momentum_step", momentum_step)

# %% [markdown]
# ## 接下来读什么
#
# [从一个图片文件夹到一份报告](../../docs/zh/train.md)讲了每项设置及其理由，还有怎样换成你自己的图片。[step.py](../../tinyresnet/training/step.py) 和 [loop.py](../../tinyresnet/training/loop.py) 就是上面的循环，加上长时间训练所需要的东西。笔记本 12 问的是时间花在哪里。
