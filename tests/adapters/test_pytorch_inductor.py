"""torch.compile with its default backend, at run time: the compiled loss is the eager one."""

from __future__ import annotations

import shutil

import pytest

torch = pytest.importorskip("torch")

from crossent.torch import cross_entropy  # noqa: E402


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler")
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1, "z_loss": 1e-3}], ids=str)
def test_the_compiled_loss_is_the_eager_one(options):
    def loss(x, head, y):
        return cross_entropy(torch.relu(x) @ head, y, **options)

    generator = torch.Generator().manual_seed(0)
    x, head = torch.randn((16, 8), generator=generator), 20 * torch.randn((8, 12), generator=generator)
    y = torch.randint(0, 12, (16,), generator=generator)
    compiled = torch.compile(loss, backend="inductor", fullgraph=True)
    results = []
    for function in (loss, compiled):
        leaf = head.clone().requires_grad_()
        value = function(x, leaf, y)
        value.backward()
        results.append((value.detach(), leaf.grad))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler")
def test_a_confident_row_survives_compilation():
    compiled = torch.compile(lambda z: cross_entropy(z, torch.tensor([0])), backend="inductor", fullgraph=True)
    z = torch.tensor([[40.0, 0.0]], requires_grad=True)
    loss = compiled(z)
    loss.backward()
    assert loss.item() == pytest.approx(4.248354e-18, rel=1e-6)
    assert z.grad[0, 1].item() == pytest.approx(4.248354e-18, rel=1e-6)
