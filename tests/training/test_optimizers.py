"""Each optimizer's step is its paper's, and each ends near the same minimum."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from crossent.estimators import SoftmaxClassifier
from crossent.training import Examples, Problem
from crossent.training.optimizer import Optimizer
from crossent.training.schedule import shares

N, D, H, C = 24, 5, 4, 3
RATES = np.array([0.2, 0.1, 0.3])


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    examples = Examples(rng.normal(size=(N, D)), C, labels=rng.integers(C, size=N))
    return Problem(examples, (H,), alpha=0.3, batch_size=8, center=False)


def slopes(problem, theta, batch):
    """The batch's gradient with the penalty's."""
    penalised = np.ones(len(theta))
    penalised[D * H : D * H + H] = penalised[-C:] = 0
    return problem.batch_gradient(theta, batch) + problem.alpha * theta * penalised


def batches(problem, order):
    return [order[begin:end] for begin, end in zip(problem.bounds, problem.bounds[1:])]


def run(problem, name, order, **options):
    theta = np.random.default_rng(1).normal(size=len(problem.initial_parameters(np.random.default_rng(0))))
    optimizer = Optimizer(name, 0.8, rate_scale=np.array([1.0, 2.0, 0.5, 1.0]), **options).start(theta)
    end = theta.copy()
    assert optimizer.descend(problem, end, order, problem.bounds, RATES, np.inf)[0] == 3
    scale = np.repeat([1.0, 2.0, 0.5, 1.0], [D * H, H, H * C, C])
    return theta, end, scale, optimizer


def test_adams_step_is_the_papers(problem):
    order = np.random.default_rng(2).permutation(N)
    theta, end, scale, _ = run(problem, "adam", order)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for step, (rate, batch) in enumerate(zip(RATES, batches(problem, order)), start=1):
        slope = slopes(problem, theta, batch)
        first, second = 0.8 * first + 0.2 * slope, 0.999 * second + 0.001 * slope**2
        theta = theta - scale * rate * (first / (1 - 0.8**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(end, theta, rtol=1e-10)


def test_schedule_frees_step_is_the_papers(problem):
    order = np.random.default_rng(2).permutation(N)
    x, end, scale, _ = run(problem, "schedule-free", order)
    z, weight = x.copy(), 0.0
    for rate, batch in zip(RATES, batches(problem, order)):
        y = 0.2 * z + 0.8 * x
        z = z - scale * rate * slopes(problem, y, batch)
        weight += rate**2
        x = x + rate**2 / weight * (z - x)
    np.testing.assert_allclose(end, x, rtol=1e-10)


def test_average_is_the_mean_over_the_last_steps(problem):
    order = np.random.default_rng(2).permutation(N)
    theta, _, _, whole = run(problem, "sgd", order, average_from=1)
    points = []
    optimizer = Optimizer("sgd", 0.8, rate_scale=np.array([1.0, 2.0, 0.5, 1.0])).start(theta)
    for k in range(3):
        optimizer.descend(problem, theta, order, problem.bounds[k : k + 2], RATES[k : k + 1], np.inf)
        points.append(theta.copy())
    assert whole.averaged == 2
    np.testing.assert_allclose(whole.average, np.mean(points[1:], axis=0), rtol=1e-12)


def test_dropout_leaves_out_its_share_and_keeps_the_mean(problem):
    """One step without a bias' pull: the gradient of the last layer is the hidden units' mean times the residual."""
    rng = np.random.default_rng(3)
    x = np.abs(rng.normal(size=(4000, 1)))
    data = Problem(Examples(x, 2, labels=np.zeros(4000, np.int64)), (50,), alpha=0, batch_size=4000, center=False)
    theta = np.zeros(len(data.initial_parameters(rng)))
    theta[:50] = 1.0
    moved = {}
    for dropout in (0.0, 0.4):
        end = theta.copy()
        optimizer = Optimizer("sgd", 0.0, rate_scale=np.ones(4), dropout=dropout, seed=7).start(end)
        optimizer.descend(data, end, np.arange(4000), data.bounds, np.ones(1), np.inf)
        moved[dropout] = end[100:200].reshape(50, 2)[:, 0]
    assert np.ptp(moved[0.0]) == 0
    assert np.ptp(moved[0.4]) > 0
    # Each unit's mean over 4000 rows has a standard error of 0.8 x sqrt(0.4 / 0.6 / 4000) or so.
    np.testing.assert_allclose(moved[0.4], moved[0.0], rtol=0.1)
    assert moved[0.4].mean() == pytest.approx(moved[0.0].mean(), rel=0.01)


@pytest.mark.parametrize("schedule", ["linear", "constant", "cosine"])
def test_shares_begin_with_the_warm_up_and_stay_within_one(schedule):
    share = shares(schedule, 100, warmup=10)
    assert share.shape == (100,)
    assert ((share > 0) & (share <= 1)).all()
    assert share[0] < 0.1
    assert share[-1] == 1 if schedule == "constant" else share[-1] < 0.02


def objective(model, x, y, alpha, l1_ratio=0.0):
    log_q = model.predict_log_proba(x)
    size = l1_ratio * np.abs(model.coef_).sum() + (1 - l1_ratio) / 2 * (model.coef_**2).sum()
    return -log_q[np.arange(len(y)), y].mean() + alpha * size


@pytest.mark.parametrize(
    ("options", "excess"),
    [
        ({"optimizer": "adam"}, 0.02),
        ({"optimizer": "schedule-free"}, 0.01),
        ({"schedule": "cosine"}, 0.005),
        ({"schedule": "constant", "average": True}, 0.01),
        ({"nesterov": True}, 0.005),
    ],
)
def test_every_optimizer_comes_near_the_minimum(options, excess):
    x, y = load_digits(return_X_y=True)
    x /= 16
    alpha = 1e-3
    best = objective(LogisticRegression(C=1 / (alpha * len(x)), solver="newton-cg", tol=1e-8).fit(x, y), x, y, alpha)
    model = SoftmaxClassifier(alpha=alpha, random_state=0, max_epochs=300, **options).fit(x, y)
    assert best <= objective(model, x, y, alpha) <= best * (1 + excess)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "schedule-free"])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_l1_penalty_finds_the_minimum_and_the_zeros_of_saga(optimizer, l1_ratio):
    x, y = load_iris(return_X_y=True)
    x = StandardScaler().fit_transform(x)
    alpha = 0.05
    peer = LogisticRegression(C=1 / (alpha * len(x)), l1_ratio=l1_ratio, solver="saga", tol=1e-9, max_iter=20_000)
    peer.fit(x, y)
    model = SoftmaxClassifier(
        alpha=alpha, l1_ratio=l1_ratio, optimizer=optimizer, batch_size=150, max_epochs=4000, random_state=0
    )
    if optimizer == "adam":  # the way is far along two features that are nearly one, at steps of one size
        model.set_params(learning_rate=0.05)
    model.fit(x, y)
    best = objective(peer, x, y, alpha, l1_ratio)
    assert best * (1 - 1e-6) <= objective(model, x, y, alpha, l1_ratio)
    assert objective(model, x, y, alpha, l1_ratio) <= best * 1.001
    clear = np.abs(peer.coef_) > 0.02
    assert (model.coef_[clear] != 0).all()
    if optimizer == "sgd":  # the others' steps from point to point are less even
        assert (model.coef_ == 0).sum() >= (peer.coef_ == 0).sum() - 1 > 0


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "schedule-free"])
@pytest.mark.parametrize("hidden", [(), (16,)])
def test_scale_of_the_features_does_not_matter(hidden, optimizer, scale):
    x, y = load_digits(return_X_y=True)
    scale = 2.0 ** round(np.log2(scale))
    options = {"alpha": 0, "max_epochs": 5, "random_state": 0, "optimizer": optimizer}
    with np.errstate(all="ignore"):
        model = SoftmaxClassifier(hidden, **options).set_params(learning_rate="auto")
        expected = quietly(model, x, y).predict_proba(x)
        scaled = quietly(model, x * scale, y).predict_proba(x * scale)
    np.testing.assert_allclose(scaled, expected, atol=1e-5)


def quietly(model, x, y):
    """Five epochs are few: a linear model says so."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(x, y)
