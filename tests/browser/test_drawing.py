"""What the triangle draws is what it says: contours, arrows, unit balls."""

from __future__ import annotations

import numpy as np
import pytest

from crossent import differential

RNG = np.random.default_rng(4)
POINTS = [(RNG.dirichlet(np.ones(3)), RNG.dirichlet(np.ones(3))) for _ in range(40)]
POINTS += [(q, np.eye(3)[i % 3]) for i, (q, _) in enumerate(POINTS[:12])]

IN_PAGE = """async (points) => {
  const { differential } = await import("crossent/differential.js");
  const { ball, reach } = await import("crossent/ternary.js");
  const { contour } = await import("crossent/plane.js");
  return points.map(([q, p]) => {
    const d = differential(q, p);
    const metrics = ["euclidean", "natural", "logit"];
    return {
      reach: metrics.map((metric) => reach(d, metric)),
      ball: metrics.map((metric) => ball(d, metric)),
      contour: contour(p, d.loss).flat(),
    };
  });
}"""


@pytest.fixture(scope="module")
def drawn(browser, exported):
    page = browser.new_page()
    page.goto(exported.as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    yield page.evaluate(IN_PAGE, [[q.tolist(), p.tolist()] for q, p in POINTS])
    page.close()


def test_each_arrow_ends_where_its_ball_has_the_steepest_descent(drawn):
    for (q, p), found in zip(POINTS, drawn, strict=True):
        d = differential(q, p)
        for metric, arrow, ball in zip(("euclidean", "natural", "logit"), found["reach"], found["ball"], strict=True):
            arrow, ball = np.array(arrow), np.array(ball)
            assert abs(arrow.sum()) < 1e-12
            np.testing.assert_allclose(ball.sum(axis=1), 0, atol=1e-12)
            along = d.velocity(metric)
            np.testing.assert_allclose(arrow / np.linalg.norm(arrow), along / np.linalg.norm(along), atol=1e-9)
            # 72 points round the ball come within cos(2.5°) of the steepest, and none beyond it.
            falls = ball @ d.ambient
            assert d.along(arrow) <= falls.min() + 1e-9 * abs(falls.min())
            assert falls.min() <= np.cos(np.radians(2.5)) * d.along(arrow) + 1e-12


def test_contours_have_one_loss_and_lie_on_the_triangle(drawn):
    for (q, p), found in zip(POINTS, drawn, strict=True):
        points = np.array(found["contour"])
        assert len(points) > 10
        np.testing.assert_allclose(points.sum(axis=1), 1, atol=1e-12)
        assert points.min() > -1e-12
        level = differential(q, p).loss
        here = p > 0
        losses = -(p[here] * np.log(np.maximum(points[:, here], 1e-15))).sum(axis=1)
        # A point is found to 1e-7 of a side; beside an edge the loss is too steep to be judged by it.
        inside = points[:, here].min(axis=1) > 1e-2
        np.testing.assert_allclose(losses[inside], level, rtol=1e-4)
