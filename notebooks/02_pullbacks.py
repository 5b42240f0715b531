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
# # 02 · Pullbacks
#
# **Goal.** Afterwards you can write a layer that returns its result together with the function that takes the
# gradient back, put such layers together into a net, say what each of them has to keep in memory, and name the two
# traps that everybody falls into once.
#
# **It presupposes** notebook [01](01_chain_rule.ipynb): the chain rule, from the end to the beginning.

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
# ## The derivative of a layer is a matrix that nobody writes down
#
# A layer takes an array x to an array y. Close to one x it is a linear map, and its matrix is the Jacobian J: entry
# (i, j) says how much y[i] moves when x[j] moves.
#
# **Predict.** A convolution takes 28 × 28 pixels of 16 channels to the same. How many entries has its Jacobian, and
# how many gigabytes are that in float32?

# %%
entries = (28 * 28 * 16) ** 2
print(f"{entries:,} entries, {entries * 4 / 2**30:.1f} GiB, for one picture")

# %% [markdown]
# Nobody wants that. Fortunately nobody needs it. For the chain rule it is enough to have one *function*: given dy,
# the gradient of the loss at y, it returns dx, the gradient at x.
#
# $$dx = J^T dy, \qquad dx_j = \sum_i dy_i\, J_{ij}$$
#
# Each x[j] asks all the outputs that it moves: how much do you matter (dy), and how much do I move you (J)? It is J
# *transposed*, as we sum over the outputs. This function is called the **pullback** of the layer at x, as it pulls a
# gradient back from y to x. In code it is called `back`.
#
# For small arrays we can look at J. Give the layer a step along one x at a time; the answers are the columns.


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
# **Predict.** Here are the Jacobians of six layers on a picture of 6 × 6 pixels, so 36 columns each. Red is positive,
# blue negative, white zero. Which is which? Choose from ReLU, subsample (every second pixel), global average, 3 × 3
# convolution, 2 × 2 max pool, batch norm. Then run the next cell, which says it.

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
# - **a**, batch norm: every x moves every y, through the mean and the variance. It is the only dense square of the
#   six, and therefore has the hardest gradient of the project.
# - **b**, the convolution: diagonal bands. The same nine numbers in every row, as the same kernel is used everywhere.
# - **c**, max pool: one 1 a row, where the winner stands. **f**, subsample: one 1 a row as well, but always in the
#   same places.
# - **d**, ReLU: a diagonal of ones and zeros.
# - **e**, the average: one row, each entry 1/36.
#
# The last line of the loop checked each pullback against the transposed matrix. And the pullbacks of the package
# never build one: ReLU's is `dy * (y > 0)`, a line.
#
# ### A test of a pullback that needs no matrix
#
# For any v and any dy, $dy \cdot (J v) = (J^T dy) \cdot v$. The left side is a slope that a finite difference can
# find, the right side is `back(dy)` times v. This one equation *is* the check of notebook 01, and `check_gradients`
# is built on it.

# %%
for name, layer in layers.items():
    report = check_gradients(layer, x)
    assert report.passed, report
    print(f"{name:16} error {report.arguments[0].error:.0e}")

# %% [markdown]
# ## The house's two forms
#
# At the bottom stand the **ops**, pairs of pure functions:
#
# ```
# y, saved = relu_forward(x)
# dx       = relu_backward(dy, saved)
# ```
#
# `saved` is a named tuple with what backward needs and nothing more. Such a pair is easy to replace, to test and to
# write as an exercise.
#
# Everything above the ops uses **pullbacks**:
#
# ```
# y, back = layer(x)
# dx      = back(dy)
# ```
#
# `back` remembers `saved` by itself, so the caller need not know what it is. To put layers together, one only has to
# put their backs together.
#
# **A chain.** $y = g(f(x))$. **Predict**: in which order do the two backs run?


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
# That was a residual net with its backward pass, in thirty lines. Look at `residual` once more. The rule "a value
# that was used twice gets the sum" and the rule "an addition hands its gradient to both sides" have become the line
# `dy + branch_back(dy)`.
#
# ## Weights: the other inputs
#
# A layer with weights is a function of two arrays, and its back has two gradients. One goes on to the layer before;
# the other stays, for the optimizer. The package keeps both kinds in a dictionary, under the variable's name. So do
# we:


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
# Now train it, on the 1438 handwritten digits of 8 × 8 pixels that come with the package: 64 → 32 → 10, with a ReLU
# between. Plain gradient descent, 300 steps with all pictures at once.
#
# **Predict.** Which share of the 359 test pictures will it know after 300 steps: about 30 %, 60 %, 90 %?

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
# On the right stand some that it takes for another digit.
#
# ## Trap 1: late binding
#
# TF-Slim's style writes `net = ...` again and again. In Python a function looks up a name *when it runs*, not when it
# was made. So a pullback that mentions `net` sees whatever `net` is in the end.
#
# **Predict.** The cell computes 2 · 3 = 6, then squares it. What do the two backs return for dy = 1? The right
# answers are 12 for the square, and 3 for d(a · b)/da at a = 2, b = 3.

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
# 72 and 100: each back used the value that its name had at the end. Nothing is raised, and the net trains, badly. The
# remedy is a rule of this project: **a pullback is made in a function of its own, where the names are never assigned
# again**. The blocks of a ResNet may capture pullbacks and constants, never `net`.
#
# The same happens with a loop variable: `[lambda dy: dy * k for k in range(3)]` is three times the same function.
#
# ## Trap 2: what is kept, and until when
#
# A back keeps what it saved for as long as *it* is alive. The following net has 30 layers; each saves an array of 2
# MiB.
#
# **Predict.** We run back through the list of backs in two ways: `for back in reversed(backs)`, and `while backs:
# back = backs.pop()`. How does memory fall while the gradient walks back: in both? In which one?


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
# As long as the list holds a back, the back holds its arrays. With `pop()` the last one to know it lets go, and the
# memory of a layer is free as soon as the gradient has passed. This matters, since at the same time the gradients of
# the weights are growing. The package's `Chain` does it so, and its backs also let go of what they saved once they
# have run: they can be called once, and say so the second time:

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
# This is the package's own convolution layer: `net, back = conv2d(net, ...)`, in TF-Slim's words with a pullback
# added. The gradients of its variables are in the store, under TF-Slim's names.
#
# ## Exercises
#
# Two pullbacks that are a line or two each. Think of the Jacobian's picture, and transpose it.
#
# **global_avg_pool_backward.** $y_{n,0,0,c} = \frac{1}{HW} \sum_{h,v} x_{n,h,v,c}$, from `[N, H, W, C]` to `[N, 1, 1,
# C]`. `saved.shape` is the shape of x. Return dx `[N, H, W, C]`.

# %% tags=["exercise"]
from tinyresnet import exercises


def global_avg_pool_backward(dy, saved):
    """dy [N, 1, 1, C] -> dx [N, H, W, C]"""
    raise NotImplementedError("global_avg_pool_backward is not written yet")


exercises.check("global_avg_pool_backward", global_avg_pool_backward)

# %% [markdown]
# **squeeze_backward.** The forward pass takes x `[N, 1, 1, C]` to y `[N, C]`, without changing a number. Return dx
# `[N, 1, 1, C]`.

# %% tags=["exercise"]
from tinyresnet import exercises


def squeeze_backward(dy, saved):
    """dy [N, C] -> dx [N, 1, 1, C]"""
    raise NotImplementedError("squeeze_backward is not written yet")


exercises.check("squeeze_backward", squeeze_backward)

# %% [markdown]
# ## What to read next
#
# - [Notebook 03](03_convolution_forward.ipynb): the convolution, from seven loops to one matrix product.
# - [The design](../docs/design.md): why ops are pairs, and everything above them pullbacks. Notebook 13 writes a
#   tape, which makes the backs by itself.
