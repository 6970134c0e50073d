"""Losses as they are written every day, none of them a mistake: not a word about any."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from crossent.torch import doctor

BATCH = 32


def labels(n_classes, n=BATCH):
    return torch.randint(0, n_classes, (n,))


def policy_with_entropy(model):
    logits, actions = model(torch.randn(BATCH, 6)), labels(4)
    q = F.softmax(logits, dim=1)
    entropy = -(q * torch.log(q + 1e-8)).sum(dim=1).mean()
    chosen = F.log_softmax(logits, dim=1).gather(1, actions[:, None]).squeeze(1)
    return -(chosen * torch.randn(BATCH)).mean() - 0.01 * entropy


def distribution_objects(model):
    policy = torch.distributions.Categorical(logits=model(torch.randn(BATCH, 6)))
    return -(policy.log_prob(policy.sample()) * torch.randn(BATCH)).mean() - 0.01 * policy.entropy().mean()


def focal_by_hand(model):
    losses = F.cross_entropy(model(torch.randn(BATCH, 6)), labels(4), weight=torch.ones(4) * 2, reduction="none")
    return ((1 - torch.exp(-losses)) ** 2 * losses).mean()


def distilled(model):
    x = torch.randn(BATCH, 6)
    logits, teacher = model(x), torch.randn(BATCH, 4)
    soft = F.kl_div(F.log_softmax(logits / 4, dim=1), F.softmax(teacher / 4, dim=1), reduction="batchmean")
    return 16 * soft + F.cross_entropy(logits, labels(4))


def mixed_up(model):
    logits, one, other = model(torch.randn(BATCH, 6)), labels(4), labels(4)
    return 0.3 * F.cross_entropy(logits, one) + 0.7 * F.cross_entropy(logits, other)


def both_ways(model):
    a, b = (F.normalize(model(torch.randn(BATCH, 6)).repeat(1, 64) + torch.randn(BATCH, 256), dim=1) for _ in "ab")
    similar = 14 * a @ b.T
    return (F.cross_entropy(similar, torch.arange(BATCH)) + F.cross_entropy(similar.T, torch.arange(BATCH))) / 2


def pixels_with_void(model):
    target = torch.randint(0, 4, (3, 8, 8))
    target[:, :, -1] = 255
    return F.cross_entropy(model(torch.randn(3, 8, 8, 6)).permute(0, 3, 1, 2), target, ignore_index=255)


def tokens_flattened(model):
    text = torch.randint(0, 4, (6, 13))
    return F.cross_entropy(model(torch.randn(6, 12, 6)).reshape(-1, 4), text[:, 1:].reshape(-1))


def many_labels(model):
    return F.binary_cross_entropy_with_logits(model(torch.randn(BATCH, 6)), (torch.rand(BATCH, 4) < 0.2).float())


def soft_pixels(model):
    return F.binary_cross_entropy(torch.sigmoid(model(torch.rand(BATCH, 6))), torch.rand(BATCH, 4), reduction="sum")


def recomputed(model):
    y = labels(4)
    return checkpoint(lambda x: F.cross_entropy(model(x), y), torch.randn(BATCH, 6), use_reentrant=False)


def connectionist(model):
    lengths = torch.full((5,), 7), torch.full((5,), 3)
    return F.ctc_loss(F.log_softmax(model(torch.randn(7, 5, 6)), dim=-1), torch.randint(1, 4, (5, 3)), *lengths)


LOSSES = [
    *(policy_with_entropy, distribution_objects, focal_by_hand, distilled, mixed_up, both_ways, pixels_with_void),
    *(tokens_flattened, many_labels, soft_pixels, recomputed, connectionist),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_an_ordinary_loss_is_no_finding(loss):
    torch.manual_seed(0)
    model = nn.Linear(6, 4)
    optimizer = torch.optim.Adam(model.parameters())
    with doctor() as report:
        for _ in range(5):
            optimizer.zero_grad()
            loss(model).backward()
            optimizer.step()
    assert report.findings == []
    assert report.notes == []


def test_several_backwards_of_different_tasks_are_no_accumulation():
    torch.manual_seed(0)
    heads = nn.ModuleList([nn.Linear(6, 4), nn.Linear(6, 3)])
    optimizer = torch.optim.Adam(heads.parameters())
    with doctor() as report:
        for _ in range(3):
            optimizer.zero_grad()
            for head, rows in zip(heads, (32, 8), strict=True):
                F.cross_entropy(head(torch.randn(rows, 6)), labels(head.out_features, rows)).backward()
            optimizer.step()
    assert report.findings == []


@pytest.mark.parametrize("scaler", [False, True])
def test_accumulation_with_its_own_denominator_is_no_finding(scaler):
    torch.manual_seed(0)
    model = nn.Linear(6, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scale = torch.amp.GradScaler("cpu", enabled=scaler)
    sizes = (5, 17, 10)
    with doctor() as report:
        for _ in range(3):
            for n in sizes:
                loss = F.cross_entropy(model(torch.randn(n, 6)), labels(4, n)) * n / sum(sizes)
                scale.scale(loss).backward()
            scale.step(optimizer)
            scale.update()
            optimizer.zero_grad()
    assert report.findings == []


def test_letters_of_a_text_are_not_imbalanced():
    torch.manual_seed(0)
    text = "the quick brown fox jumps over the lazy dog and runs away from it all the time " * 20
    letters = sorted(set(text))
    codes = torch.tensor([letters.index(one) for one in text])
    model = nn.Sequential(nn.Embedding(len(letters), 16), nn.Linear(16, len(letters)))
    optimizer = torch.optim.Adam(model.parameters())
    with doctor() as report:
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(codes[:-1]), codes[1:]).backward()
            optimizer.step()
    assert report.findings == []
