import jaxtyping
import pytest
import torch

from atrc.contexts import CONTEXTS
from atrc.distillation import ATRC
from atrc.errors import UserError
from atrc.genotype import Genotype, SearchSpace

TASKS = ("a", "b")
B, C, H, W = 2, 8, 5, 6
MIXED = Genotype({"a": {"a": "t_label", "b": "global"}, "b": {"a": "local", "b": "s_label"}})


@pytest.fixture
def features():
    return {task: torch.randn(B, C, H, W) for task in TASKS}


@pytest.fixture
def auxiliary():
    return {"a": torch.randn(B, 3, H, W), "b": torch.randn(B, 4, H, W)}


def wake(module):
    """Give the zero-initialised fuse BN a weight, so that contexts reach the output."""
    for row in module.rows.values():
        if hasattr(row, "fuse"):
            torch.nn.init.ones_(row.fuse[1].weight)
    return module


@pytest.mark.parametrize("context", CONTEXTS)
def test_shapes_stay(context, features, auxiliary):
    refined = ATRC(Genotype.uniform(TASKS, context), C)(features, auxiliary)
    assert {task: f.shape for task, f in refined.items()} == {task: f.shape for task, f in features.items()}


def test_at_the_start_the_contexts_do_not_change_the_output(features, auxiliary):
    module = ATRC(MIXED, C, dropout=0.0)
    before = module(features, auxiliary)
    with torch.no_grad():
        for _, block in module.blocks():
            for parameter in block.parameters():
                parameter.normal_()
    torch.testing.assert_close(module(features, auxiliary), before)


def test_once_awake_every_target_depends_on_every_source_it_attends_to(features, auxiliary):
    genotype = Genotype({"a": {"a": "none", "b": "global"}, "b": {"a": "none", "b": "local"}})
    module = wake(ATRC(genotype, C, dropout=0.0)).eval()
    changed = module({**features, "b": features["b"] + torch.randn(B, C, H, W)}, auxiliary)
    before = module(features, auxiliary)
    assert not torch.allclose(changed["a"], before["a"])
    only_own = module({**features, "a": features["a"] + 1}, auxiliary)
    torch.testing.assert_close(only_own["b"], before["b"])


def test_a_target_without_contexts_passes_through_its_join_alone():
    genotype = Genotype({"a": {"a": "none", "b": "none"}, "b": {"a": "global", "b": "none"}})
    module = ATRC(genotype, C)
    assert not hasattr(module.rows["a"], "fuse")
    assert module.rows["a"].join[0].in_channels == C
    assert module.rows["b"].join[0].in_channels == 2 * C
    assert [pair for pair, _ in module.blocks()] == [("b", "a")]


def test_gradients_reach_features_and_regions(features, auxiliary):
    module = wake(ATRC(Genotype.uniform(TASKS, "t_label"), C))
    tensors = [*features.values(), *auxiliary.values()]
    for tensor in tensors:
        tensor.requires_grad_()
    sum(f.square().sum() for f in module(features, auxiliary).values()).backward()
    assert all(tensor.grad.abs().sum() > 0 for tensor in tensors)


def test_one_channel_is_enough():
    module = ATRC(Genotype.uniform(["semseg", "depth"], "global"), channels=1)
    x = torch.randn(2, 1, 4, 5)
    assert module({"semseg": x, "depth": x})["depth"].shape == x.shape


def test_mistakes_are_named(features, auxiliary):
    with pytest.raises(UserError, match="at least 1 channel"):
        ATRC(Genotype.uniform(["semseg", "depth"], "global"), channels=0)
    with pytest.raises(UserError, match="no features of task 'c'"):
        ATRC(Genotype.uniform(("a", "c"), "global"), C)(features)
    with pytest.raises(UserError, match="label regions of 'b'; got auxiliary predictions of: a"):
        ATRC(Genotype.uniform(TASKS, "t_label"), C)(features, {"a": auxiliary["a"]})
    with pytest.raises(UserError, match="needs make_block"):
        ATRC(SearchSpace(TASKS), C)


@pytest.mark.parametrize(
    ("what", "task", "shape", "said"),
    [
        ("features", "b", (B, C - 1, H, W), r"features of 'b' have shape \(2, 7, 5, 6\); expected \(b, 8, h, w\) with"),
        ("features", "a", (C, H, W), r"features of 'a' have shape \(8, 5, 6\); expected"),
        ("features", "b", (B, C, H, W + 1), "h and w as the features of 'a'"),
        (
            "auxiliary",
            "b",
            (B, 4, 2 * H, 2 * W),
            r"auxiliary of 'b' have shape \(2, 4, 10, 12\); expected \(b, regions, h, w\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_named(features, auxiliary, monkeypatch, what, task, shape, said):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as it is outside of tests
    {"features": features, "auxiliary": auxiliary}[what][task] = torch.randn(shape)
    with pytest.raises(UserError, match=said):
        ATRC(Genotype.uniform(TASKS, "t_label"), C)(features, auxiliary)


def test_refining_by_the_contexts_of_all_blocks_is_the_forward_pass(features, auxiliary):
    module = wake(ATRC(MIXED, C)).eval()
    contexts = module.contexts(features, auxiliary)
    assert contexts.keys() == {pair for pair, _ in module.blocks()}
    torch.testing.assert_close(module.refine(features, contexts), module(features, auxiliary))
    assert list(module.refine({"b": features["b"]}, contexts)) == ["b"]
