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
# # 13 · Write your own tape
#
# **Goal.** After this notebook you have written automatic differentiation in sixty lines, trained a ResNet with it,
# seen that it gives the very gradients of the hand-written backward pass, and know what a tape does for you and what it
# hides.
#
# **You need** pullbacks (02), and the bottleneck unit (08).

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
# ## The idea
#
# In this project every block has its `back`, written by hand in the mirror order of its forward pass. That is dull
# work, and always the same. So let a program do it: **while the forward pass runs, write down each op with its
# pullback; afterwards read the list backwards.** The list is the *tape*.
#
# A value on the tape remembers three things: its array, the values that it was made of, and the pullback that takes its
# gradient to theirs.


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
# Eight functions, and none of them needed a new derivative: the op pairs had all that was to be known.
#
# Now the way back. Each value collects gradients from everybody who used it. When it has them *all*, its pullback runs
# once, and hands on to its parents.
#
# **Predict.** In $y = x + F(x)$, $x$ is used twice. In which order must the values be visited so that $x$ comes only
# after both of its users?


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
# That is all of it. `in_order` puts every value after its parents; reversed, every value comes before its parents, and
# after all its users. The line with the plus is rule 2 of notebook 08, for every place in every net at once.
#
# Test it on numbers first: $y = x + x$, and $z = y + x$.
#
# **Predict.** $dz/dx$?

# %%
x = Value(np.array([2.0]))
y = add(x, x)
z = add(y, x)
backward(z, np.ones(1))
print("dz/dx =", x.gradient)
assert x.gradient == 3

# %% [markdown]
# ## A residual unit on the tape
#
# **Predict.** There is no `back` in the next cell at all. Which line decides that the projection's gradient goes
# through preact, and the identity's past it?


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
# The argument: `conv_bias(preact, ...)` or `subsample(x, ...)`. Who is used is who gets the gradient; the tape need not
# be told.
#
# ## Against the hand-written backward pass
#
# The same net, with the same weights: once by the house's `resnet_v2`, whose `back` was written by hand, and once on
# our tape.
#
# **Predict.** Will the gradients agree to 6 digits, to 15, or to the last bit?

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
# To the last bit. The tape calls the same pullbacks in an order that gives the same sums. It is no other mathematics,
# only a secretary.
#
# ## What was written down
#
# The tape of one unit with a projection, in the order in which it was written. "from" says which lines a step has read;
# weights are left out.
#
# **Predict.** Which line is read twice?

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
# One line has two users: preact, which the projection and conv1 both read. That is where the hand-written `back` says
# `ops.add(d_preact, d_shortcut)`.
#
# ## Why the order matters
#
# One could also write `backward` as a recursion: hand the gradient to the parents, and let each parent do the same at
# once, without waiting for its other users. The sums come out right.
#
# **Predict.** Stack L units $x + F(x)$. How many times does the recursion run a pullback, for L = 5, 10, 20?


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
# Each unit doubles it, as every addition sends two messengers back, and each of them walks the whole rest of the net
# alone. At a microsecond each, the 66 units of a ResNet-200 would take five million years. So a tape must be read in an
# order in which each value waits for all its users. The hand-written `back` has that order because a person wrote it
# so.
#
# ## Why once only
#
# `backward` sets `value.back` to `None` when it is done, which lets go of the activations.
#
# **Predict.** What happens if one calls `backward` a second time on the same loss?

# %%
net, x = Net(store), Value(pictures)
loss = net(x, truth, blocks)
backward(loss)
first = x.gradient
backward(loss)
print("the picture's gradient after a second call is the first one's:", x.gradient is first)

# %% [markdown]
# Nothing at all, in silence. A tape that *kept* everything would have added the gradients twice, in silence. Both are
# the questions that people ask most about tapes. The house's pullbacks refuse: a second call raises `RuntimeError`, and
# says why.
#
# ## Training on the tape
#
# **Predict.** Six pictures, 25 steps, learning rate 0.1, no momentum: by which factor does the loss fall?

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
# ## A mistake, on the tape
#
# Our lifted ops look up `ops.conv2d_backward` when they are called. So `use` reaches into the tape as well, and a wrong
# op of yours makes a tape wrong as it makes a hand-written net wrong. A tape differentiates nothing by itself: it is as
# right as its pullbacks.


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
# ## Why this project has none
#
# | | a tape | by hand |
# |---|---|---|
# | a new block | nothing to write | its `back`, in mirror order |
# | where gradients add | in one line, for all nets | to be seen in each block |
# | order | has to be computed | written down |
# | when memory is freed | when the tape says so | `pop` by `pop`, see notebook 12 |
# | a mistake | hides in an op | hides in an op, or in a block |
#
# A tape is what you want to *work* with. To *learn* what happens, it hides just the lines that matter. Now you have
# seen both, and that they are the same.
#
# ## Exercises
#
# Two composites: what two lines of a tape do, as one op. With `tinyresnet.use(...)` your function then works on the
# tape above, and in the hand-written nets.
#
# **Batch norm and ReLU together.** What came last goes back first. `saved.relu.y` is the output; `saved.batch_norm.x`
# [..., C] and `.gamma`, `.mean`, `.var`, `.inv_std` [C] are those of the batch norm before it. Return `dx` [..., C],
# `dgamma` [C], `dbeta` [C].

# %% tags=["exercise"]
from tinyresnet import exercises


def batch_norm_relu_backward(dy, saved):
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_relu_backward is not written yet")


exercises.check("batch_norm_relu_backward", batch_norm_relu_backward)

# %% [markdown]
# **Convolution and bias together.** $y = \text{conv}(x, w) + b$. The part of the convolution you may call:
# `ops.conv2d_backward(d_convolved, saved.conv2d)` gives `dx` and `dw`. Return `dx`, `dw` and `db` [K].

# %% tags=["exercise"]
from tinyresnet import exercises


def conv2d_bias_add_backward(dy, saved):
    """dy [N, OH, OW, K] -> dx [N, H, W, C], dw [KH, KW, C, K], db [K]"""
    raise NotImplementedError("conv2d_bias_add_backward is not written yet")


exercises.check("conv2d_bias_add_backward", conv2d_bias_add_backward)

# %% [markdown]
# ## What to read next
#
# You are through. What remains is the house itself: [resnet_v2.py](../tinyresnet/resnet_v2.py) with its [source
# notes](../docs/resnet_v2.md), and [Design](../docs/design.md), which says why it is built as it is. For tapes in
# earnest: micrograd is the smallest well-known one (94 lines, scalars), and autograd, JAX and PyTorch are the large
# ones.
