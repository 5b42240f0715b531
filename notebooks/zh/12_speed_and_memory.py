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
# # 12 · 速度与内存
#
# **目标。** 学完这一本，你能说出一层是受运算限制还是受内存限制，会测量一步训练的时间花在哪里，能展示激活值何时释放，并且知道冻结网络做了什么。
#
# **需要先会** im2col（03）、推理模式的批归一化（06）和回传函数（02）。
#
# 这里的时间都是*你的*机器此刻的时间，每次运行都不一样，所以这一本里没有什么依赖于它们。如果装了 Numba，它的内核在第一次调用时编译，要花几秒钟，只此一次。

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
import time
import tracemalloc

import matplotlib.pyplot as plt
import numpy as np
from threadpoolctl import threadpool_limits

import tinyresnet
from tinyresnet import Variables, ops
from tinyresnet.data import fashion_mnist
from tinyresnet.ops import naive
from tinyresnet.resnet_v2 import resnet_v2, resnet_v2_block

HAVE_NUMBA = importlib.util.find_spec("numba") is not None
BACKENDS = ("numpy", "numba") if HAVE_NUMBA else ("numpy",)
print("back ends:", *BACKENDS, "" if HAVE_NUMBA else "(Numba's points are left out: pip install numba)")

tinyresnet.set_backend("numpy")
BLUE, VERMILION, GREEN, ORANGE, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#777777"
rng = np.random.default_rng(12)


def seconds(function, rounds=3):
    """The fastest of some rounds: whatever disturbs, only makes slower."""
    function()
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        function()
        found.append(time.perf_counter() - began)
    return min(found)


def random(*shape):
    return rng.standard_normal(shape, dtype=np.float32)


# %% [markdown]
# ## 同样的数，快上千倍
#
# 一个卷积，一次用纸上写的那种循环来算，一次用一个矩阵乘积来算（im2col，笔记本 03）。两者做的是同样的乘法。
#
# **预测。** 第二种快多少倍：2、20、200，还是 2000？

# %%
x, w = random(1, 8, 8, 16), random(3, 3, 16, 16)
operations = 2 * 8 * 8 * w.size
by_loops, by_product = seconds(lambda: naive.conv2d_forward(x, w), 1), seconds(lambda: ops.conv2d_forward(x, w), 20)
for name, t in (("loops", by_loops), ("im2col and matrix product", by_product)):
    print(f"{name:<27}{t * 1e3:9.3f} ms {operations / t / 1e9:9.4f} GFLOP/s")
assert np.allclose(naive.conv2d_forward(x, w)[0], ops.conv2d_forward(x, w)[0], atol=1e-4)

# %% [markdown]
# 费时间的不是运算，而是解释器：每两次乘法之间都隔着它。
#
# ## 两个上限
#
# 处理器每秒只能做这么多次运算（*峰值*），也只能搬运这么多字节（*带宽*）。一层要做 F 次运算、搬运 B 个字节，至少需要 F / 峰值，也至少需要 B / 带宽。两者之中谁说了算，由 F / B 即*计算强度*决定（Williams、Waterman 与 Patterson 2009）。
#
# 先测出这台机器的两个数。
#
# **预测。** 把两个大数组相加，每做一次运算要搬运 12 个字节：读两个数，写一个数。它能达到峰值的多大一部分？

# %%
a, b = random(1024, 1024), random(1024, 1024)
peak = 2 * 1024**3 / seconds(lambda: a @ b)
long_a, long_b = random(1 << 23), random(1 << 23)
out = np.empty_like(long_a)
bandwidth = 12 * long_a.size / seconds(lambda: np.add(long_a, long_b, out=out))
print(
    f"peak {peak / 1e9:.0f} GFLOP/s, bandwidth {bandwidth / 1e9:.0f} GB/s, they meet at {peak / bandwidth:.0f} FLOP a byte"
)
print(f"an addition reaches {bandwidth / 12 / peak:.1%} of the peak")

# %% [markdown]
# 大约百分之几，而且再巧妙也改变不了：加法在等内存。现在看 ResNet 的各层。
#
# **预测。** 下面几种各在斜坡上的哪里，或者屋顶下的哪里：批归一化加 ReLU；从 64 到 256 个通道的 1×1 卷积；64 个通道上的 3×3 卷积？

# %%
n, side = 4, 28
x64, x256 = random(n, side, side, 64), random(n, side, side, 256)
w1, w3 = random(1, 1, 64, 256), random(3, 3, 64, 64)
gamma, beta = random(256), random(256)
layers = {  # name: call, operations, bytes: each number once
    "add": (lambda: ops.add(x256, x256), x256.size, 12 * x256.size),
    "batch norm, ReLU": (lambda: ops.batch_norm_relu_forward(x256, gamma, beta), 8 * x256.size, 8 * x256.size),
    "conv 1x1": (lambda: ops.conv2d_forward(x64, w1), 2 * x64.size * 256, 4 * (x64.size + x256.size + w1.size)),
    "conv 3x3": (lambda: ops.conv2d_forward(x64, w3), 2 * 9 * x64.size * 64, 4 * (2 * x64.size + w3.size)),
}
figure, axes = plt.subplots(figsize=(8, 4.3), layout="constrained")
intensity = np.logspace(-1.5, 2.7, 50)
axes.loglog(intensity, np.minimum(peak, intensity * bandwidth) / 1e9, color=GREY, linewidth=2)
for backend, colour, marker in (("numpy", BLUE, "o"), ("numba", VERMILION, "s")):
    if backend not in BACKENDS:
        continue
    with tinyresnet.use_backend(backend):
        for name, (call, flops, moved) in layers.items():
            speed = flops / seconds(call) / 1e9
            axes.loglog(flops / moved, speed, marker, color=colour, markersize=8)
            print(f"{backend}: {name:<18}{flops / moved:6.1f} FLOP a byte {speed:8.1f} GFLOP/s")
            if backend == "numpy":
                axes.annotate(name, (flops / moved, speed), xytext=(8, -12), textcoords="offset points", color=colour)
for backend, colour, marker in (("numpy", BLUE, "o"), ("numba", VERMILION, "s")):
    axes.plot([], [], marker, color=colour, label=f"back end {backend}")
axes.set(xlabel="operations a byte", ylabel="GFLOP/s")
axes.legend(frameon=False, loc="upper left")
axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# 离两个上限都很远的点，就是有所浪费。在 NumPy 里，批归一化要把内存走七遍而不是两遍；im2col 的 3×3 卷积在相乘之前，先写出一个比特征图大九倍的矩阵。`numba` 后端的内核把这两样都省了（如果数还在缓存里，点可以落在斜坡之上；3×3 卷积可以用更少的乘法来做，所以点也可以落在屋顶之上）。[速度](../../docs/zh/speed.md)把这些步骤逐一走过，并附有数字。
#
# ## 一步的时间花在哪里
#
# 每个算子都可以换成一个会看钟的。于是我们给*训练的一步之内*的每个算子计时。
#
# （从这里开始，乘法只用一个线程：对这么小的矩阵这样更好，最后一节会说明。）
#
# **预测。** 反向比前向长多少？哪个算子花的时间最多？

# %%
threadpool_limits(1)
blocks = [resnet_v2_block(f"block{i + 1}", 16 * 2**i, num_units=2, stride=2 if i < 2 else 1) for i in range(3)]
clothes, _, _, _ = fashion_mnist()
images = clothes[:16].astype(np.float32) / 255  # [16, 28, 28, 1]
labels = np.arange(16) % 10
OPS = ("conv2d", "conv2d_bias_add", "batch_norm_relu", "subsample", "global_avg_pool")
NET = {"blocks": blocks, "num_classes": 10, "include_root_block": False}


def around(look):
    """Overrides for `use`: each op does what it did, and look(name, began, saved or None) is called after it."""

    def override(name):
        def op(*args, **kwargs):
            began = time.perf_counter()
            result = getattr(ops, name)(*args, **kwargs)
            look(name, began, result[1] if name.endswith("forward") else None)
            return result

        return op

    names = [f"{op}_{way}" for op in OPS for way in ("forward", "backward")] + ["add"]
    return {name: override(name) for name in names}


def training_step(variables, collect=False):
    logits, end_points, back = resnet_v2(images, **NET, variables=variables, collect=collect, input_gradient=False)
    _, saved = ops.softmax_cross_entropy_forward(logits, labels)
    back(ops.softmax_cross_entropy_backward(1.0, saved))
    variables.gradients.clear()
    return end_points


variables = Variables(seed=12)
training_step(variables)
spent = {}


def clock(name, began, saved):
    spent[name] = spent.get(name, 0.0) + time.perf_counter() - began


for _ in range(3):
    with tinyresnet.use(**around(clock)):
        training_step(variables)

figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
shown = [*OPS, "add"]
for i, name in enumerate(shown):
    forward, backward = (1e3 / 3 * spent.get(key, 0.0) for key in (f"{name}_forward", f"{name}_backward"))
    forward += 1e3 / 3 * spent.get(name, 0.0)
    axes.barh(i, forward, color=BLUE, label="forward" if i == 0 else None)
    axes.barh(i, backward, left=forward, color=ORANGE, label="backward" if i == 0 else None)
axes.set(yticks=range(len(shown)), yticklabels=shown, xlabel="ms a step")
axes.invert_yaxis()
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
there = sum(t for name, t in spent.items() if name.endswith("forward"))
and_back = sum(t for name, t in spent.items() if name.endswith("backward"))
print(f"backward takes {and_back / there:.1f} times as long as forward")

# %% [markdown]
# 在安静的机器上大约是两倍：每个卷积有*两个*梯度，$dx$ 和 $dw$，各与卷积本身的计算量相同。所以粗略地说，一步训练等于三次前向。
#
# ## 内存：谁留着什么，留到何时
#
# 反向需要前向保存下来的东西，所以每一层的输入都要留到它的梯度通过为止。Python 的 `tracemalloc` 会数出 NumPy 取走的每一个字节。我们在每个算子之后看一次。
#
# 同样的一步，用三种方式运行：
#
# * 照库里的做法：用 `pop()` 把回传函数从列表上取下来，每一个用完就放掉自己保存的东西；
# * 只遍历列表而不清空，就像 `for back in reversed(backs)`：我们留住每个 `saved` 来模仿它；
# * 完全没有梯度：推理。
#
# **预测。** 运行之前先画出三条曲线。每一条的最高点各在哪里？


# %%
def memory_curve(run, keep=False):
    """MB in use after each op"""
    curve, kept = [], []

    def look(name, began, saved):
        if keep:
            kept.append(saved)
        curve.append(tracemalloc.get_traced_memory()[0] / 1e6)

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] / 1e6
    with tinyresnet.use(**around(look)):
        run()
    tracemalloc.stop()
    return np.array(curve) - before


popped = memory_curve(lambda: training_step(variables))
walked = memory_curve(lambda: training_step(variables), keep=True)
inference = memory_curve(lambda: resnet_v2(images, **NET, is_training=False, variables=variables, collect=False))
figure, axes = plt.subplots(figsize=(8, 3.6), layout="constrained")
axes.plot(walked, color=VERMILION, linestyle="--", linewidth=2.5, label="walked, not emptied")
axes.plot(popped, color=BLUE, linewidth=2.5, label="pop()")
axes.plot(inference, color=GREEN, linestyle=":", linewidth=2.5, label="inference")
axes.axvline(popped.argmax(), color="#CCCCCC", zorder=0)
axes.annotate("the way back begins", (popped.argmax() + 1, 0.03), xycoords=("data", "axes fraction"), color=GREY)
axes.set(xlabel="op of the step", ylabel="MB in use", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
half_back = (popped.argmax() + len(popped)) // 2
print(f"peak: pop {popped.max():.0f}, walked {walked.max():.0f}, inference {inference.max():.0f} MB")
print(f"half-way back: pop {popped[half_back]:.0f}, walked {walked[half_back]:.0f} MB")
assert (
    popped[half_back] < 0.8 * walked[half_back]
    and popped.max() < 0.8 * walked.max()
    and inference.max() < popped.max() / 2
)

# %% [markdown]
# 前向时两者爬的是同一座山。有了 `pop()`，回来的路就是下山：一层的梯度一通过，它保存的东西就释放了，所以最高点在前向结束的地方。没有它，就什么也不放，而权重的梯度和每一层临时要用的空间还要加在上面：最高点接近回程的*末尾*，高出一半。至于推理，几乎什么也不留。
#
# ### 是什么不声不响地占住内存
#
# `collect=True` 把端点留在一个字典里。
#
# **预测。** 一步*结束*时，占用的内存多出多少？

# %%
pinned = {}
with_end_points = memory_curve(lambda: pinned.update(training_step(variables, collect=True)))
end_points_mb = sum(value.nbytes for value in pinned.values()) / 1e6
print(
    f"at the end: {popped[-1]:.0f} MB without, {with_end_points[-1]:.0f} MB with {len(pinned)} end points of {end_points_mb:.0f} MB"
)
assert with_end_points[-1] > popped[-1] + 0.5 * end_points_mb

# %% [markdown]
# 所以训练时要用 `collect=False`。一个看似无害的字典，抓住了 `pop()` 小心放掉的激活值。
#
# ## 折叠：不见了的批归一化
#
# 在推理中，批归一化对每个通道就是一个系数和一个平移，$y = s\, (x - mean) + beta$，其中 $s = gamma / \sqrt{var + \epsilon}$。如果它跟在卷积后面，两者都可以一劳永逸地并*进*卷积：
#
# $$w' = w \cdot s, \qquad b' = beta - mean \cdot s .$$
#
# **预测。** 两种结果相差多少？

# %%
w = random(3, 3, 64, 32)
gamma, beta, mean, var = rng.uniform(0.5, 2, 32), random(32), random(32), rng.uniform(0.5, 2, 32)
gamma, beta, mean, var = (value.astype(np.float32) for value in (gamma, beta, mean, var))
convolved, _ = ops.conv2d_forward(x64, w)
two_ops, _ = ops.batch_norm_inference_forward(convolved, gamma, beta, mean, var)
s = gamma / np.sqrt(var + 1e-5)
one_op, _ = ops.conv2d_bias_add_forward(x64, w * s, beta - mean * s)
print(f"differs by {abs(one_op - two_ops).max() / abs(two_ops).max():.0e} of the largest number")
assert np.allclose(one_op, two_ops, atol=1e-4 * abs(two_ops).max())

# %% [markdown]
# 只差舍入。`tinyresnet.freeze` 对整个网络做这件事：先用没有数值的空数组把网络运行一遍，看它由哪些算子组成；再把批归一化折叠进卷积，在写出结果时顺便加上捷径连接、把负数截成零；并且事先安排好全部内存。
#
# **预测。** 我们的网络在推理时调用大约 50 个算子。还剩多少步？

# %%
calls = []
with tinyresnet.use(
    **around(lambda name, began, saved: calls.append(name)),
    batch_norm_inference_relu_forward=lambda *args, **kwargs: (
        calls.append("norm") or ops.batch_norm_inference_relu_forward(*args, **kwargs)
    ),
):
    logits, _, _ = resnet_v2(images, **NET, is_training=False, variables=variables)
frozen = tinyresnet.freeze(resnet_v2, variables, input_shape=images.shape, **NET)
print(len(calls), "ops before;", frozen)
difference = abs(frozen(images) - logits).max() / abs(logits).max()
print(f"logits differ by {difference:.0e}")
assert difference < 1e-4


def plain():
    resnet_v2(images, **NET, is_training=False, variables=variables, collect=False)


for backend in BACKENDS:
    with tinyresnet.use_backend(backend):
        frozen = tinyresnet.freeze(resnet_v2, variables, input_shape=images.shape, **NET)
        print(
            f"{backend}: {seconds(plain) * 1e3:6.1f} ms as it is, {seconds(lambda f=frozen: f(images)) * 1e3:6.1f} ms frozen"
        )

# %% [markdown]
# 在 `numba` 后端，冻结的网络是一长串步骤，中间没有 Python。细节见[冻结](../../docs/zh/freeze.md)。
#
# ## 线程
#
# 一个矩阵乘积可以由几个线程分担。但是唤醒一个线程、等待最后一个做完，都要花几微秒。
#
# **预测。** 从多大的矩阵起，两个线程比一个快？有没有反而*更慢*的时候？

# %%
sizes, speedup = (16, 32, 64, 128, 256, 512, 1024), []
for size in sizes:
    a, b = random(size, size), random(size, size)
    found, repeats = [], 50 if size < 64 else 2
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(seconds(lambda a=a, b=b, repeats=repeats: [a @ b for _ in range(repeats)]))
    speedup.append(found[0] / found[1])
figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
axes.semilogx(sizes, speedup, "o-", color=BLUE, linewidth=2, base=2)
axes.axhline(1, color=GREY, linewidth=1, linestyle=":")
axes.axhline(2, color=GREY, linewidth=1, linestyle=":")
axes.set(xlabel="size of the matrices", ylabel="two threads: times as fast", ylim=(0, None))
axes.spines[["top", "right"]].set_visible(False)

# %% [markdown]
# 小矩阵得不到好处。如果同样几个核上还有别的程序在忙，两个线程甚至会慢得多，因为它们要互相等待对方轮到。所以 `tinyresnet train` 对它的小网络只用一个线程（配置里的 `threads`），大网络才用更多。
#
# ## 练习
#
# 冻结的网络略去的东西，仍然有梯度：例如 Grad-CAM 就要在推理模式下穿过网络走回去。
#
# **推理模式的批归一化，后接 ReLU。** 这里均值和方差是常数。`saved.relu.y` [..., C] 是输出；`saved.batch_norm.x` [..., C] 以及 `.gamma`、`.mean`、`.inv_std` [C] 属于批归一化。返回 `dx` [..., C]、`dgamma` [C]、`dbeta` [C]。（无论按哪种次序，`dx` 都是对的。`dgamma` 和 `dbeta` 呢？）

# %% tags=["exercise"]
from tinyresnet import exercises


def batch_norm_inference_relu_backward(dy, saved):
    """dy [..., C] -> dx [..., C], dgamma [C], dbeta [C]"""
    raise NotImplementedError("batch_norm_inference_relu_backward is not written yet")


exercises.check("batch_norm_inference_relu_backward", batch_norm_inference_relu_backward)

# %% [markdown]
# **折叠之后留下的偏置。** $y = x + b$。写出它的反向：`saved.shape` 是 x 的形状，也是 `dy` 的形状，为 [N, H, W, C] 或 [N, C]。返回 `dx` [..., C]（可以就是 `dy` 本身）和 `db` [C]。

# %% tags=["exercise"]
from tinyresnet import exercises


def bias_add_backward(dy, saved):
    """dy [..., C] -> dx [..., C], db [C]"""
    raise NotImplementedError("bias_add_backward is not written yet")


exercises.check("bias_add_backward", bias_add_backward)

# %% [markdown]
# ## 接下来读什么
#
# [速度](../../docs/zh/speed.md)：从这里的循环一步步走到微内核，每一步换来了多少。[结果](../../docs/results.md)：与 PyTorch、ONNX Runtime、OpenVINO 并排比较。笔记本 13 把你亲手做过的事自动化。
