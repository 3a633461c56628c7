"""Loss balancing: totals and gradients by hand, and whole runs."""

from __future__ import annotations

import math
import sys

import pytest
import torch
from torch import nn

from atrc.errors import UserError
from atrc.network import build_network
from atrc.tasks import Depth, SemanticSegmentation
from atrc.tasks.base import alone
from atrc.training.balancing import build_balancing, require_balancing
from atrc.training.loop import fit
from atrc.training.losses import total_loss
from atrc.training.phases.train import TrainPhase
from atrc.training.recipe import NetworkConfig, OptimConfig, Recipe
from atrc.training.run.folder import read_table
from runs import break_at, last, same_run, tiny

TASKS = SemanticSegmentation(num_classes=40, weight=2.0), Depth(weight=5.0)
PAIR = ["semseg", "depth"]


def leaves():
    values = {"semseg": 3.0, "semseg/auxiliary": 0.75, "semseg/initial": 0.25, "depth": 0.5}
    return {name: torch.tensor(value, requires_grad=True) for name, value in values.items()}


def recipe(out, data, balancing, steps=4, **options):
    return tiny(out, data, steps, tasks=PAIR, balancing=balancing, **options)


def weights(run, task):
    return [float(row[f"weight/{task}"]) for row in read_table(run / "train.csv")]


def test_fixed_weights_are_the_weighted_sum_and_nothing_more(nyud_tasks):
    losses = leaves()
    fixed = build_balancing("fixed", TASKS, [])
    total = fixed.total(losses)
    assert torch.equal(total, total_loss(losses, TASKS))
    assert total.item() == 2 * (3 + 0.75 + 0.25) + 5 * 0.5
    fixed.backward(total, losses, torch.Tensor.backward, alone)
    assert [loss.grad.item() for loss in losses.values()] == [2, 2, 2, 5]
    phase = TrainPhase(build_network(NetworkConfig("timm:test_efficientnet"), nyud_tasks), Recipe())
    assert len(phase.weight_optimizer.param_groups) == 1
    assert list(phase.traces(0)) == ["lr"]
    assert not phase.balancing.state_dict()


def test_uncertainty_starts_at_the_fixed_weights_and_has_the_gradients_of_its_formula():
    losses = leaves()
    balancing = build_balancing("uncertainty", TASKS, [])
    assert balancing.weights() == pytest.approx({"semseg": 2, "depth": 5})
    total = balancing.total(losses)
    assert total.item() == pytest.approx(10.5 - math.log(2) - math.log(5))
    balancing.backward(total, losses, torch.Tensor.backward, alone)
    assert [loss.grad.item() for loss in losses.values()] == pytest.approx([2, 2, 2, 5])
    # d(exp(-s) L + s)/ds = 1 - exp(-s) L
    assert balancing.log_variance.grad.tolist() == pytest.approx([1 - 2 * 4, 1 - 5 * 0.5])


def test_a_task_without_a_valid_pixel_has_no_say_in_its_weight():
    losses = leaves() | {"depth": torch.tensor(0.0, requires_grad=True)}
    balancing = build_balancing("uncertainty", TASKS, [])
    balancing.backward(balancing.total(losses), losses, torch.Tensor.backward, alone)
    assert balancing.log_variance.grad.tolist() == pytest.approx([1 - 2 * 4, 0])


def test_a_task_with_valid_pixels_in_another_process_alone_has_its_say():
    losses = leaves() | {"depth": torch.tensor(0.0, requires_grad=True)}
    balancing = build_balancing("uncertainty", TASKS, [])
    # The other process has the same semseg and a depth of 1; a loss is the sum over pixels by the mean count.
    averaged = iter([torch.tensor([1.0, 0.5]), torch.tensor([-7.0, 1 - 5 * 0.5])])
    balancing.backward(balancing.total(losses), losses, torch.Tensor.backward, lambda _: next(averaged))
    assert balancing.log_variance.grad.tolist() == pytest.approx([-7, -1.5])


def test_the_log_variance_of_a_constant_loss_comes_to_rest_at_its_logarithm():
    balancing = build_balancing("uncertainty", TASKS, [])
    optimizer = torch.optim.SGD(balancing.parameters(), 0.05, momentum=0.9)
    constant = {"semseg": torch.tensor(4.0), "depth": torch.tensor(0.5)}
    for _ in range(400):
        optimizer.zero_grad()
        balancing.backward(balancing.total(constant), constant, torch.Tensor.backward, alone)
        optimizer.step()
    assert balancing.log_variance.tolist() == pytest.approx([math.log(4), math.log(0.5)], abs=1e-4)
    assert balancing.weights() == pytest.approx({"semseg": 0.25, "depth": 2}, abs=1e-3)


def test_sgd_trains_the_log_variances_without_decay_and_clipping_leaves_them_alone(nyud_tasks):
    what = Recipe(optim=OptimConfig(balancing="uncertainty"))
    phase = TrainPhase(build_network(what.network, nyud_tasks), what)
    decayed, learned = phase.weight_optimizer.param_groups
    assert learned["params"] == [phase.balancing.log_variance]
    assert (decayed["weight_decay"], learned["weight_decay"], learned["momentum"]) == (5e-4, 0, 0.9)
    assert all(phase.balancing.log_variance is not parameter for parameter in phase.weights)
    phase.before(20_000)
    assert learned["lr"] == decayed["lr"] == pytest.approx(0.01 * 0.5**0.9)


def test_a_broken_run_with_uncertainty_resumes_as_if_unbroken(tmp_path, nyud_folder, monkeypatch):
    whole, again = (recipe(tmp_path / name, nyud_folder, "uncertainty") for name in ("whole", "again"))
    fit(whole, progress=False)
    with monkeypatch.context() as patch:
        break_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            fit(again, progress=False)
    fit(again, resume=True, progress=False)
    assert same_run(tmp_path / "whole", tmp_path / "again")
    found = last(tmp_path / "whole").training["balancing"]["log_variance"]
    assert weights(tmp_path / "whole", "depth")[-1] == pytest.approx(math.exp(-found[1]), rel=1e-6)
    assert len(set(weights(tmp_path / "whole", "depth"))) == 4


def test_a_search_can_learn_its_weights_too(tmp_path, nyud_folder):
    fit(recipe(tmp_path / "run", nyud_folder, "uncertainty", 2), search=True, progress=False)
    assert weights(tmp_path / "run", "semseg")[-1] != 1
    assert len(last(tmp_path / "run").training["optimizer"]["members"]) == 2


def two_tasks():
    """Losses whose weighted gradients in `shared` are (2, 0) and (0, 1); `own` is depth's, `idle` of no task."""
    shared, own, idle = (nn.Parameter(torch.tensor(value)) for value in ([3.0, 7.0], 4.0, 1.0))
    return {"semseg": shared[0], "depth": 0.2 * shared[1] + 3 * own}, [shared, own, idle]


@pytest.mark.parametrize(
    ("aggregator", "gradient", "found"),
    [
        ("Sum", [2, 1], {"semseg": 2, "depth": 5}),  # fixed weights
        ("MGDA", [0.4, 0.8], {"semseg": 0.2 * 2, "depth": 0.8 * 5}),  # the shortest vector between the two
        ("UPGrad", [1, 0.5], {"semseg": 0.5 * 2, "depth": 0.5 * 5}),  # no conflict: the mean
    ],
)
def test_torchjd_aggregates_shared_gradients_and_leaves_the_others_plain(aggregator, gradient, found):
    pytest.importorskip("torchjd")
    losses, parameters = two_tasks()
    balancing = build_balancing(f"torchjd:{aggregator}", TASKS, parameters)
    total = balancing.total(losses)
    assert total.item() == pytest.approx(2 * 3 + 5 * (1.4 + 12))
    balancing.backward(total, losses, torch.Tensor.backward, alone)
    shared, own, idle = parameters
    assert shared.grad.tolist() == pytest.approx(gradient)
    assert own.grad.item() == 15
    assert idle.grad is None
    assert balancing.weights() == pytest.approx(found)


def test_upgrad_harms_neither_of_two_conflicting_tasks():
    pytest.importorskip("torchjd")
    shared = nn.Parameter(torch.zeros(3))
    rows = torch.tensor([[-4.0, 1, 1], [6, 1, 1]])
    tasks = SemanticSegmentation(num_classes=40), Depth()
    losses = {"semseg": rows[0] @ shared, "depth": rows[1] @ shared}
    balancing = build_balancing("torchjd:UPGrad", tasks, [shared])
    balancing.backward(balancing.total(losses), losses, torch.Tensor.backward, alone)
    assert (rows.sum(0) @ rows[0]).item() < 0  # the sum would
    assert (rows @ shared.grad >= -1e-3).all()
    # The mean of (-4 1 1) and (6 1 1), each projected where the other does not lose.
    assert shared.grad.tolist() == pytest.approx([0.2929, 1.9004, 1.9004], abs=1e-4)


def test_torchjds_sum_trains_as_fixed_weights_do(tmp_path, nyud_folder):
    pytest.importorskip("torchjd")
    for name in ("fixed", "torchjd:Sum"):
        what = recipe(tmp_path / name, nyud_folder, name, 1, distillation="atrc", genotype="s_label")
        what.optim.clip, what.data.crop = 1.0, (48, 64)
        fit(what, progress=False)
    one, other = (last(tmp_path / name).network for name in ("fixed", "torchjd:Sum"))
    for key, value in one.items():
        torch.testing.assert_close(other[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "precision"), [("UPGrad", "bf16"), ("ConFIG", "32"), ("PCGrad", "64")])
def test_a_run_with_an_aggregator_of_torchjd_traces_its_weights(tmp_path, nyud_folder, name, precision):
    pytest.importorskip("torchjd")
    what = recipe(tmp_path / "run", nyud_folder, f"torchjd:{name}", 2, distillation="atrc", genotype="local")
    what.precision = precision
    fit(what, progress=False)
    columns = set(read_table(tmp_path / "run/train.csv")[0])
    assert {"weight/semseg", "weight/depth"} <= columns or name == "ConFIG"  # which has no weights


def test_one_task_has_nothing_to_balance(tmp_path, nyud_folder):
    pytest.importorskip("torchjd")
    for name in ("fixed", "torchjd:UPGrad"):
        what = recipe(tmp_path / name, nyud_folder, name, 2)
        what.data.tasks = ["depth"]
        fit(what, progress=False)
    one, other = (last(tmp_path / name).network for name in ("fixed", "torchjd:UPGrad"))
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_an_unknown_balancing_is_named_with_the_choices(tmp_path, nyud_folder):
    with pytest.raises(UserError, match=r"no optim\.balancing 'kendall'; choose fixed, uncertainty or torchjd:AGGREG"):
        fit(recipe(tmp_path / "run", nyud_folder, "kendall"), progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["upgrad", "CAGrad", "GradVac", "Aggregator", "UPGradWeighting", ""])
def test_what_is_no_usable_aggregator_is_named_with_the_choices(name):
    pytest.importorskip("torchjd")
    with pytest.raises(
        UserError, match=rf"no aggregator '{name}' in TorchJD that.*; choose AlignedMTL, .*UPGrad$"
    ) as e:
        build_balancing(f"torchjd:{name}", TASKS, [])
    assert "CAGrad" not in str(e.value).partition("choose")[2]


@pytest.mark.parametrize("missing", ["torchjd", "quadprog"])
def test_without_torchjd_or_its_solver_the_extra_is_named(monkeypatch, missing):
    if missing == "quadprog":
        pytest.importorskip("torchjd")
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=rf"torchjd:UPGrad needs .*{missing}.*; pip install 'atrc\[balancing\]'"):
        build_balancing("torchjd:UPGrad", TASKS, [])


def test_what_an_aggregator_cannot_be_combined_with_is_refused(tmp_path, nyud_folder):
    what = recipe(tmp_path / "run", nyud_folder, "torchjd:UPGrad")
    with pytest.raises(UserError, match=r"optim\.balancing torchjd:UPGrad cannot search.*fixed or uncertainty"):
        fit(what, search=True, progress=False)
    what.devices = 2
    with pytest.raises(UserError, match="torchjd:UPGrad runs in one process, not in 2; set devices 1"):
        fit(what, progress=False)
    what.precision = "16"
    with pytest.raises(UserError, match="torchjd:UPGrad does not go with precision 16.*set bf16 or 32"):
        require_balancing(what, False, 1)
    what.optim.balancing = "uncertainty"
    require_balancing(what, True, 2)


def test_uncertainty_refuses_a_task_without_weight():
    with pytest.raises(UserError, match=r"starts from the weights of the tasks, but that of depth is 0\.0"):
        build_balancing("uncertainty", (TASKS[0], Depth(weight=0.0)), [])
