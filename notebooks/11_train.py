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
# # 11 · Training: 32 pictures by heart, then Fashion-MNIST
#
# **Goal.** After this notebook you can write a training loop, do the one test that every new net should pass first,
# recognise the trap of the moving averages, and say what a falling loss proves, and what it does not.
#
# **You need** the loss (07) and batch norm's two modes (06). All of it runs in plain NumPy.

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
# ## One step
#
# Forward, loss, backward, downhill. That is all of training; the rest is to do it often.
#
# $$v \leftarrow 0.9\, v + dw, \qquad w \leftarrow w - \eta\, v$$
#
# is the downhill part: SGD with momentum. $\eta$ is the learning rate.
#
# **Predict.** A fresh net knows nothing. There are ten classes. What should the loss be before the first step?


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
# About $\log 10$: each class gets one tenth. If your first loss is 20, or 0.01, something is wrong already, with the
# initial weights or with the labels.
#
# ## 32 pictures by heart
#
# Before anything else: let the net learn a handful of pictures by heart. It has 34 thousand numbers for 32 pictures. If
# it cannot do that, there is a bug, and no tuning will help.
#
# **Predict.** Now we shuffle the labels, so that a bag is called a boot, and a shirt a sandal. There is nothing left to
# understand. Can the net learn these 32 as well?


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
# Both curves are nearly the same. The net learns nonsense as readily as sense: the training loss says nothing about
# understanding. Only pictures that it has *not* seen do (Zhang et al. 2017 did this with a million).
#
# ## The trap of the moving averages
#
# In training mode the net names all 32 right. In inference batch norm takes the moving averages in the place of the
# batch's.
#
# **Predict.** After 60 steps, with TF-Slim's decay of 0.997: how many of the *same* 32 pictures does it name right in
# inference?

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
# One in eight: chance, for the very pictures that it knows by heart. The weights are the same in both runs! An average
# with decay 0.997 looks back over some 330 steps; after 60 it is still four fifths its initial 0 and 1. Nothing is
# broken; the net that is *tested* is another one than the net that was *trained*. With 0.9 the averages look back over
# ten steps, and lag behind for twenty.
#
# 0.997 is right for a hundred thousand steps. If your training is perfect and your test is chance, look here first.
#
# ## What a falling loss does not prove
#
# Now we break the backward pass, with `use`, in four ways:
#
# * batch norm: the term that comes back through the variance is forgotten;
# * ReLU: the gate is forgotten, all gradients pass;
# * convolution: $dx$ is computed with the kernel flipped;
# * convolution: $dx = 0$. Only what is next to the loss, and the shortcuts, get a gradient at all.
#
# **Predict.** With which of them does the loss still fall to zero?


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
# With *all* of them the loss falls, and with three of the four the net names every picture right. It is a little
# slower, and one would look for the reason in the learning rate. A wrong gradient that points roughly downhill still
# goes downhill.
#
# So a net that learns proves little about its backward pass. A gradient check takes a millisecond, and none of these
# four would survive it ([Is this backward pass right?](../docs/gradcheck.md)).
#
# ## Fashion-MNIST
#
# 6000 pictures to learn from, 1000 to test on. What is new:
#
# * **batches** of 64, in another order each epoch, each picture shifted by up to one pixel and mirrored half of the
#   time: what leaves its name true;
# * **weight decay**: each step pulls the weights of convolutions a little towards zero, $dw \leftarrow dw + \lambda w$;
# * **a schedule**: the learning rate rises for half an epoch, and falls along a cosine to zero.
#
# **Predict.** Two passes through the pictures, some ten seconds. Which share of the test pictures will be named right:
# 40, 60, 80 or 95 %?

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
# The loss falls fast, then slowly. It jumps about because each batch is another sample; near the end the learning rate
# is almost zero, so what is left of the jumping is the batches alone. Large steps find the valley, small ones its
# bottom.
#
# (`tinyresnet train` does the same for 40 epochs with a somewhat larger net, and gets to about 90 %. It saves, resumes
# bit for bit, and writes a report: [From a folder of pictures to a report](../docs/train.md).)
#
# ## Where it is wrong
#
# **Predict.** Which two of the ten classes will be confused most?

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
# And these are the mistakes that the net was *surest* of, with the place where it looked (Grad-CAM: the gradient of the
# winning logit, averaged over the last map, weighs the channels of that map).
#
# **Predict.** In how many of them would you have said the same?

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
# Some of the labels can be doubted. It is always worth the time to look at the surest mistakes: they are where the data
# is wrong, or where the net has learnt something that you did not mean.
#
# ## Exercises
#
# **Weight decay.** L2 adds $\frac{rate}{2} \sum w^2$ to the loss; work out what that adds to the gradient. Only
# `weights` decay, no biases, gamma or beta: go by the last part of `name`. Return the new `dw` and the new loss. By
# hand: w = 3, 4 with rate 0.1 adds 0.05 · 25 = 1.25.

# %% tags=["exercise"]
from tinyresnet import exercises


def weight_decay(name, w, dw, loss, rate):
    """w, dw of any shape -> new dw of this shape, new loss"""
    raise NotImplementedError("weight_decay is not written yet")


exercises.check("weight_decay", weight_decay)

# %% [markdown]
# **A step with momentum.** $accum \leftarrow momentum \cdot accum + dw$, then $w \leftarrow w - learning\ rate \cdot
# accum$, with the new accum. Return the new `w` and the new `accum`, as new arrays. By hand: w = 1, dw = 0.1, learning
# rate 2, momentum 0.9. The first step gives accum 0.1 and w 0.8, the second accum 0.19 and w 0.42.

# %% tags=["exercise"]
from tinyresnet import exercises


def momentum_step(w, accum, dw, learning_rate, momentum):
    """w, accum, dw of any shape -> new w, new accum of this shape"""
    raise NotImplementedError("momentum_step is not written yet")


exercises.check("momentum_step", momentum_step)

# %% [markdown]
# ## What to read next
#
# [From a folder of pictures to a report](../docs/train.md) has every setting and its reason, and your own pictures in
# the place of these. [step.py](../tinyresnet/training/step.py) and [loop.py](../tinyresnet/training/loop.py) are the
# loop above, with what a long run needs. Notebook 12 asks where the time goes.
