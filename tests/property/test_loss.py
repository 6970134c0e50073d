"""What holds for every input, whatever the kernel: symmetries, sums, limits of the options."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from judge import PROMISES, measure
from oracle import exact_labels
from strategies import FLOATS, any_finite, rows

import crossent


def both(z, target, **options):
    return crossent.cross_entropy_and_grad(z, target, **{"reduction": "none", **options})


def eps(x):
    return float(np.finfo(x.dtype).eps)


def same(a, b):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def close(a, b, scale=None, ulps=16):
    """Equal to some ulp, of the numbers themselves or of a scale that they cancel on."""
    a, b = np.asarray(a), np.asarray(b)
    scale = np.maximum(np.abs(a), np.abs(b)) if scale is None else scale
    tolerance = ulps * eps(a) * scale + 64 * np.finfo(a.dtype).smallest_subnormal
    with np.errstate(invalid="ignore"):
        return bool(np.all((a == b) | (np.abs(a.astype(float) - b.astype(float)) <= tolerance)))


@given(r=rows(masks=True))
def test_the_promise_holds_for_any_rows(level, r):
    loss, grad = both(r.logits, r.label)
    errors = measure(loss, grad, r.label, exact_labels(r.logits, r.label))
    assert not PROMISES[r.logits.dtype].broken(errors)


@given(r=rows(), shift=st.integers(-4000, 4000))
def test_a_shift_that_is_exact_changes_roundings_at_most(level, r, shift):
    z = np.round(np.clip(r.logits, -60, 60) * 64) / 64
    moved = (z + r.logits.dtype.type(shift)).astype(r.logits.dtype)
    assume(np.array_equal(moved.astype(float) - shift, z.astype(float)))
    assert all(close(a, b, ulps=8) for a, b in zip(both(z, r.label), both(moved, r.label), strict=True))


@given(r=rows(masks=True))
def test_gradient_rows_of_distributions_sum_to_zero(level, r):
    grad = both(r.logits, r.probs).grad.astype(float)
    mass = r.probs.astype(float).sum(axis=1)
    # Each term P·q_c and p_c is within 24 half-ulp of itself, as the accuracy tests derive; they sum to 2P.
    assert np.all(np.abs(grad.sum(axis=1)) <= 24 * eps(r.logits) * mass)


@given(r=rows(masks=True))
def test_permuting_the_classes_permutes_the_gradient(level, r):
    order = r.rng.permutation(r.logits.shape[1])
    loss, grad = both(r.logits, r.label)
    permuted = both(np.ascontiguousarray(r.logits[:, order]), np.argsort(order)[r.label])
    assert close(permuted.loss, loss)
    assert close(permuted.grad, grad[:, order])
    loss, grad = both(r.logits, r.probs)
    permuted = both(np.ascontiguousarray(r.logits[:, order]), np.ascontiguousarray(r.probs[:, order]))
    assert close(permuted.loss, loss)
    mass = r.probs.sum(axis=1, keepdims=True)
    assert close(permuted.grad, grad[:, order], scale=2 * mass)


@given(r=rows(), bad=st.sampled_from([np.nan, np.inf, -np.inf, 1.0]))
def test_ignored_rows_equal_removed_rows(level, r, bad):
    keep = r.rng.random(len(r.label)) < 0.5
    label = np.where(keep, r.label, -100)
    z = np.where(keep[:, None], r.logits, bad).astype(r.logits.dtype)
    with_ignored, removed = both(z, label), both(r.logits[keep], r.label[keep])
    assert same((with_ignored.loss[keep], with_ignored.grad[keep]), removed)
    assert not with_ignored.loss[~keep].any()
    assert not with_ignored.grad[~keep].any()
    for reduction in ("sum", "mean"):
        with_ignored = both(z, label, reduction=reduction)
        removed = both(r.logits[keep], r.label[keep], reduction=reduction)
        assert close(with_ignored.loss, removed.loss)
        assert np.array_equal(with_ignored.grad[keep], removed.grad)


@given(r=rows(masks=True), reduction=st.sampled_from(["none", "sum", "mean"]))
def test_weight_1_equals_no_weight(level, r, reduction):
    n, classes = r.logits.shape
    for target in (r.label, r.probs):
        plain = both(r.logits, target, reduction=reduction)
        for options in ({"sample_weight": np.ones(n)}, {"weight": np.ones(classes)}, {"label_smoothing": 0.0}):
            assert same(both(r.logits, target, reduction=reduction, **options), plain)
    assert same(both(r.logits, r.label, reduction="mean", normalizer=n), both(r.logits, r.label, reduction="mean"))


@given(r=rows(masks=True), smoothed=st.booleans())
def test_a_concatenation_has_the_sum_of_the_losses(level, r, smoothed):
    options = {"label_smoothing": 0.1} if smoothed and np.isfinite(r.logits).all() else {}
    cut = int(r.rng.integers(0, len(r.label) + 1))
    for target in (r.label, r.probs):
        whole, first, second = (
            both(r.logits[part], target[part], reduction="sum", **options)
            for part in (slice(None), slice(None, cut), slice(cut, None))
        )
        assert close(whole.loss, first.loss + second.loss)
        assert np.array_equal(whole.grad, np.concatenate([first.grad, second.grad]))


@given(r=rows(least=2), eps_=st.floats(0.0, 1.0))
def test_smoothing_is_linear(level, r, eps_):
    weight = r.rng.random(r.logits.shape[1]).astype(r.logits.dtype) + 0.1
    for target in (r.label, r.probs):
        none, some, all_ = (both(r.logits, target, weight=weight, label_smoothing=e) for e in (0.0, eps_, 1.0))
        assert close(some.loss, ((1 - eps_) * none.loss + eps_ * all_.loss).astype(r.logits.dtype), ulps=32)
        mass = (r.probs.sum(axis=1, keepdims=True) + 1) * 1.1
        assert close(some.grad, ((1 - eps_) * none.grad + eps_ * all_.grad).astype(r.logits.dtype), scale=2 * mass)


@given(r=rows(masks=True))
def test_a_class_without_truth_at_minus_infinity_might_as_well_not_be(level, r):
    masked = r.logits[:1] == -np.inf
    free = np.flatnonzero(~masked[0])
    z, label = r.logits[:1], r.label[:1]
    for target, fewer in ((label, np.searchsorted(free, label)), (r.probs[:1], r.probs[:1, free])):
        with_class, without = both(z, target), both(np.ascontiguousarray(z[:, free]), fewer)
        mass = 2 * r.probs[:1].sum() if target.ndim == 2 else None
        assert close(with_class.loss, without.loss)
        assert close(with_class.grad[:, free], without.grad, scale=mass)
        assert not with_class.grad[masked].any()


@given(r=rows())
def test_where_there_is_no_truth_the_logit_only_counts_in_the_softmax(level, r):
    """A row whose truth is zero has loss 0 and gradient 0, whatever its logits."""
    loss, grad = both(r.logits, np.zeros_like(r.probs))
    assert not loss.any()
    assert not grad.any()


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_there_is_no_false_zero(level, dtype, data):
    """From any margin that the dtype can express, in a row of any length."""
    reach = 87.0 if dtype == np.float32 else 708.0
    margin = data.draw(st.floats(0.0, reach))
    classes = data.draw(st.sampled_from([2, 3, 10, 33, 1000]))
    z = np.zeros((1, classes), dtype)
    z[0, -1] = margin
    loss, grad = both(z, [classes - 1])
    assert loss[0] > 0.0
    assert grad[0, -1] < 0.0
    assert np.all(grad[0, :-1] > 0.0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@given(data=st.data())
def test_finite_logits_never_give_nan(level, dtype, data):
    z = data.draw(any_finite(dtype))
    n, classes = z.shape
    label = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)))
    for target in (label, np.full(z.shape, 1.0 / classes, dtype), np.eye(classes, dtype=dtype)[label]):
        for smoothing in (0.0, 0.2):
            loss, grad = both(z, target, label_smoothing=smoothing)
            assert np.all(loss >= 0.0)
            assert np.all(np.abs(grad) <= 1.0 + 1e-6)


@given(r=rows(masks=True))
def test_a_one_hot_distribution_equals_its_label(level, r):
    one_hot = np.eye(r.logits.shape[1], dtype=r.logits.dtype)[r.label]
    labelled, spread = both(r.logits, r.label), both(r.logits, one_hot)
    assert close(spread.loss, labelled.loss)
    # Also the target's entry keeps its relative accuracy: it is minus the sum of the others, not q - 1.
    assert close(spread.grad, labelled.grad, ulps=24)


@given(r=rows(masks=True), power=st.integers(-6, 6), factor=st.floats(0.1, 10.0))
def test_the_mass_of_a_distribution_scales_its_loss(level, r, power, factor):
    loss, grad = both(r.logits, r.probs)
    doubled = both(r.logits, np.ldexp(r.probs, power))
    if np.abs(grad[grad != 0]).min(initial=1.0) > 1e-30:
        assert same(doubled, (np.ldexp(loss, power), np.ldexp(grad, power)))
    scaled = both(r.logits, (factor * r.probs).astype(r.probs.dtype))
    assert close(scaled.loss, (factor * loss).astype(loss.dtype))
    mass = factor * r.probs.sum(axis=1, keepdims=True)
    assert close(scaled.grad, (factor * grad).astype(grad.dtype), scale=2 * mass)
    as_weight = both(r.logits, r.probs, sample_weight=np.full(len(r.label), factor))
    assert close(as_weight.loss, (factor * loss).astype(loss.dtype))


@given(r=rows(), z_loss=st.floats(0.0, 2.0))
def test_z_loss_adds_the_square_of_the_log_sum_exp(level, r, z_loss):
    plain, with_z = both(r.logits, r.label), both(r.logits, r.label, z_loss=z_loss)
    z = r.logits.astype(float)
    top = z.max(axis=1)
    lse = top + np.log(np.exp(z - top[:, None]).sum(axis=1))
    expected = plain.loss + z_loss * lse**2
    # lse itself may cancel: its error is that of the largest logit.
    scale = expected + z_loss * (np.abs(top) + 1) ** 2
    assert close(with_z.loss, expected.astype(plain.loss.dtype), scale=scale)
