"""Source-task importance: one pass over the data, held to its definition."""

import shutil
from dataclasses import astuple

import pytest
import torch

from atrc.backbones import build_backbone
from atrc.data.layouts import open_dataset
from atrc.data.sample import cut, network_input, without_padding
from atrc.data.transforms import collate_padded
from atrc.distillation import ATRC, combined_atrc
from atrc.errors import UserError
from atrc.genotype import Genotype
from atrc.metrics.functional import delta_m
from atrc.necks import build_neck, resize
from atrc.network import MultiTaskNetwork
from atrc.search import supergraph
from atrc.studies.importance.permutation import Ring, Tally, draw_rings, look_at, measure_importance
from atrc.studies.importance.scores import Importance, RowImportance
from atrc.training.evaluation.evaluate import Result, evaluate, evaluation_loader
from folders import write_nyud

NAMES = ["semseg", "depth"]
GENOTYPE = Genotype({"semseg": {"semseg": "t_label", "depth": "local"}, "depth": {"semseg": "none", "depth": "global"}})
PAIRS = [("semseg", "semseg"), ("semseg", "depth"), ("depth", "depth")]
CROP = 40, 40


@pytest.fixture(scope="module")
def data(nyud_folder):
    return open_dataset(nyud_folder, "train", NAMES)


def make(data, make_distillation=lambda c: ATRC(GENOTYPE, c), neck=None, **options):
    """Return a network whose blocks reach the output: fuses and final layers start near 0."""
    torch.manual_seed(3)
    network = MultiTaskNetwork(data.tasks, build_backbone("hrnet18"), make_distillation, neck, **options)
    for row in network.distillation.parts():
        if len(getattr(row, "blocks", ())):
            torch.nn.init.constant_(row.fuse[1].weight, 5.0)
    for layer in network.final.values():
        torch.nn.init.normal_(layer.weight)
    with torch.no_grad():
        network.final["semseg"].bias[3:] = -1e9  # the scenes have three classes
        network.final["depth"].bias[:] = 1e3  # depths below 0 would all count as 0
    return network.eval()


@pytest.fixture(scope="module")
def network(data):
    return make(data)


@pytest.fixture(scope="module")
def measured(network, data):
    return measure_importance(network, data, CROP, permutations=3, seed=1)


def donors_of(ring, k):
    """Return whose context every image gets in the k-th permutation."""
    return {image: ring.images[place - ring.shifts[k]] for place, image in enumerate(ring.images)}


def batches(data, images):
    return [collate_padded(CROP)([data[i]]) for i in images]


def test_streaming_equals_the_definition_with_everything_in_memory(network, data, measured):
    (batch,) = collate_padded(CROP)([data[i] for i in range(len(data))])
    given = []
    hook = network.distillation.register_forward_pre_hook(lambda _, inputs: given.append(inputs))
    with torch.no_grad():
        network(network_input(batch))
        contexts = network.distillation.contexts(*given[0])
    hook.remove()
    (ring,) = draw_rings(data, CROP, 3, seed=1)
    assert list(measured.permuted) == PAIRS
    for target, source in PAIRS:
        task = next(task for task in data.tasks if task.name == target)
        for k in range(3):
            donors = donors_of(ring, k)
            shuffled = contexts[target, source][[donors[i] for i in range(len(data))]]
            with torch.no_grad():
                refined = network.distillation.refine(given[0][0], contexts | {(target, source): shuffled})[target]
                logits = resize(network.final[target](refined), batch["image"].float())
            metric = task.metric()
            for i, (window, truth, valid) in enumerate(without_padding(batch, target)):
                metric.update(task.decode(cut(logits[i : i + 1], window)), truth, valid)
            value = float(metric.compute()) * (100 if task.unit == "%" else 1)
            assert measured.permuted[target, source][k] == pytest.approx(value, rel=1e-4), (target, source, k)


def test_its_own_results_are_those_of_evaluate(network, data, measured):
    expected = evaluate(network, data.tasks, evaluation_loader(data, CROP, 1, 0), progress=False)
    for task, result in measured.results.items():
        assert result.value == pytest.approx(expected[task].value, rel=1e-6)
        assert result.metric == expected[task].metric


def test_the_identity_costs_nothing(network, data):
    tally = Tally(network, 2)
    ring = Ring(tuple(range(len(data))), shifts=(0, 1))
    with torch.inference_mode():
        tally.add(ring, look_at(network, batches(data, ring.stream)))
    drops = tally.importance().drops()
    for pair in PAIRS:
        assert drops[pair][0] == pytest.approx(0, abs=1e-5)
        assert abs(drops[pair][1]) > 1e-3


def test_two_permutations_differ_and_a_seed_fixes_them(network, data, measured):
    for values in measured.permuted.values():
        assert len(set(values)) == 3
    again = measure_importance(network, data, CROP, permutations=3, seed=1, batch_size=4)
    for pair, values in again.permuted.items():
        assert values == pytest.approx(measured.permuted[pair], rel=1e-4)
    other = measure_importance(network, data, CROP, permutations=1, seed=2)
    assert all(other.permuted[pair][0] != pytest.approx(measured.permuted[pair][0], rel=1e-5) for pair in PAIRS)


def test_what_the_fuse_ignores_has_no_importance(data):
    network = make(data)
    fuse = network.distillation.rows["semseg"].fuse[0].weight
    with torch.no_grad():
        fuse[:, fuse.shape[1] // 2 :] = 0  # the columns that read depth
    drops = measure_importance(network, data, CROP, permutations=2).drops()
    assert drops["semseg", "depth"] == [0.0, 0.0]
    assert all(drops["semseg", "semseg"])


def test_every_image_gets_the_context_of_another_each_time_of_a_new_one(data):
    (ring,) = draw_rings(data, CROP, len(data) - 1, seed=0)
    for image in range(len(data)):
        donors = [donors_of(ring, k)[image] for k in range(len(data) - 1)]
        assert sorted([image, *donors]) == list(range(len(data)))
    for k in range(len(data) - 1):
        assert sorted(donors_of(ring, k).values()) == list(range(len(data)))  # a permutation
    assert draw_rings(data, CROP, 2, seed=0)[0].images == ring.images != draw_rings(data, CROP, 2, seed=1)[0].images


def test_only_images_of_one_padded_size_exchange_contexts(network, tmp_path):
    root, tall = write_nyud(tmp_path / "NYUD_MT", train=6, val=0), write_nyud(tmp_path / "tall", 6, 0, h=56)
    for file in sorted(tall.rglob("000[345].*")):
        shutil.copy(file, root / file.relative_to(tall))
    mixed = open_dataset(root, "train", NAMES)
    short, long = draw_rings(mixed, CROP, 4, seed=0)
    assert (sorted(short.images), sorted(long.images)) == ([0, 1, 2], [3, 4, 5])
    assert short.shifts == (1, 2, 1, 2)  # there are no more
    assert len(draw_rings(mixed, (56, 64), 4, seed=0)) == 1
    found = measure_importance(network, mixed, CROP, permutations=2)
    expected = evaluate(network, mixed.tasks, evaluation_loader(mixed, CROP, 1, 0), progress=False)
    assert found.results["depth"].value == pytest.approx(expected["depth"].value, rel=1e-6)


def test_no_more_than_the_images_of_a_lead_are_kept(network, data):
    """Count the contexts alive at any time, however long the stream."""
    alive, most = set(), []

    class Watched(dict):
        def __init__(self, contexts):
            super().__init__(contexts)
            alive.add(id(self))

        def __del__(self):
            alive.discard(id(self))

    def stream():
        for seen in look_at(network, batches(data, ring.stream)):
            yield seen._replace(contexts=Watched(seen.contexts))
            most.append(len(alive))

    ring = Ring(tuple(range(len(data))) * 2, shifts=(1, 2))
    tally = Tally(network, 2)
    with torch.inference_mode():
        tally.add(ring, stream())
    assert len(most) == 14
    assert max(most) <= 4  # the image, two before it, and the one that is on its way out


def test_the_network_is_left_as_it_was(data):
    network = make(data)
    module = network.distillation
    with pytest.raises(UserError, match="no two images"):
        measure_importance(network, open_subset(data, 1), CROP)
    measure_importance(network, open_subset(data, 2), CROP, permutations=1)
    assert network.distillation is module


def open_subset(data, count):
    subset = open_dataset(data.root, "train", NAMES)
    subset.ids = subset.ids[:count]
    return subset


def result(metric, value, higher):
    return Result(metric, value, "%" if higher else "m", higher, 0.0)


RESULTS = {"semseg": result("mIoU", 40.0, True), "depth": result("RMSE", 0.5, False)}
CONTEXTS = dict(GENOTYPE.items())


def test_a_drop_in_delta_m_by_hand():
    permuted = {("semseg", "semseg"): [36.0, 40.0], ("semseg", "depth"): [41.0], ("depth", "depth"): [0.6]}
    found = Importance(CONTEXTS, RESULTS, permuted)
    drops = found.drops()  # relative to the network itself
    assert drops["semseg", "semseg"] == pytest.approx([100 * 0.1 / 2, 0])
    assert drops["semseg", "depth"] == pytest.approx([-100 * 0.025 / 2])
    assert drops["depth", "depth"] == pytest.approx([100 * 0.2 / 2])
    assert drops["depth", "semseg"] == [0.0]  # none: nothing to lose
    baseline = {"semseg": 50.0, "depth": 0.4}
    higher = {"semseg": True, "depth": False}
    drops = found.drops(baseline)
    assert drops["semseg", "semseg"][0] == pytest.approx(100 * 4 / 50 / 2)
    whole = delta_m({"semseg": 40.0, "depth": 0.5}, baseline, higher)
    assert drops["depth", "depth"][0] == pytest.approx(
        whole - delta_m({"semseg": 40.0, "depth": 0.6}, baseline, higher)
    )
    assert Importance.from_dict(found.to_dict()) == found


def test_means_are_over_permutations_of_a_run_and_deviations_over_runs_where_there_are_several():
    one = Importance(CONTEXTS, RESULTS, {("semseg", "semseg"): [36.0, 38.0]})
    other = Importance(CONTEXTS, RESULTS, {("semseg", "semseg"): [32.0, 32.0]})
    alone, both = (RowImportance("", [], runs).table for runs in ([one], [one, other]))
    assert astuple(alone["semseg", "semseg"]) == pytest.approx((3.75, 1.25 * 2**0.5, 2))
    assert astuple(both["semseg", "semseg"]) == pytest.approx((6.875, 6.25 / 2**0.5, 2))
    assert astuple(both["depth", "depth"]) == (0.0, 0.0, 2)
    with pytest.raises(UserError, match="same tasks"):
        RowImportance("", [], [one, Importance({("semseg", "semseg"): "global"}, {}, {})]).to_dict()


@pytest.mark.parametrize("kind", ["supergraph", "atrc_static"])
def test_blocks_of_every_kind_can_be_permuted(data, kind):
    network = make(data, supergraph(NAMES) if kind == "supergraph" else lambda c: combined_atrc(kind, NAMES, c))
    found = measure_importance(network, open_subset(data, 2), CROP, permutations=1)
    assert len(found.permuted) == 4
    assert set(found.contexts.values()) == {"none" if kind == "supergraph" else "combined"}


def test_without_a_block_there_is_nothing_to_lose(data):
    network = make(data, lambda c: ATRC(Genotype.uniform(NAMES, "none"), c))
    found = measure_importance(network, open_subset(data, 2), CROP, permutations=2)
    assert found.drops() == {(target, source): [0.0] for target in NAMES for source in NAMES}


def test_mistakes_are_named(network, data):
    with pytest.raises(UserError, match="permutations is 0"):
        measure_importance(network, data, CROP, permutations=0)
    with pytest.raises(UserError, match="needs a network with ATRC"):
        Tally(make(data, None), 1)


def test_blocks_at_every_level_are_permuted_together(data):
    backbone = build_backbone("hrnet18")
    neck = build_neck("fpm", backbone.channels, backbone.strides, data.tasks)
    network = make(data, neck=neck, distil_at="all")
    found = measure_importance(network, open_subset(data, 2), CROP, permutations=1)
    assert list(found.permuted) == PAIRS
    assert all(abs(drop) > 1e-6 for pair in PAIRS for drop in found.drops()[pair])
