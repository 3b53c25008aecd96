"""Feature networks: torchvision's layout, the right preprocessing for each file, clear errors, and the distance."""

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from SuperResolutionLib.errors import DataError, ModelError, UsageError
from training.feature_networks import NETWORKS, depth_of, network
from training.features import (
    DISTANCE_LAYERS,
    DISTANCE_NAME,
    Features,
    distance_features,
    feature_files,
    load_features,
    perceptual_distance,
)


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these lose more to threads that wait for each other than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch, tmp_path):
    """No weights that happen to lie on the machine."""
    monkeypatch.delenv("SUPERRESOLUTION_DATA", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


def write_weights(path, backbone, modules, prefix="features."):
    """A file like torchvision's, of random weights, with a classifier that nobody needs."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        part = NETWORKS[backbone]()[:modules]
    state = {prefix + key: value for key, value in part.state_dict().items()} | {"classifier.weight": torch.zeros(1)}
    torch.save(state, path)
    return part.eval()


@pytest.mark.parametrize(
    "backbone, count, keys",
    [
        ("vgg19", 20_024_384, {"0.weight": (64, 3, 3, 3), "34.bias": (512,)}),
        ("mobilenet_v2", 2_223_872, {"0.0.weight": (32, 3, 3, 3), "1.conv.1.weight": (16, 32, 1, 1)}),
        ("mobilenet_v2", 2_223_872, {"2.conv.0.0.weight": (96, 16, 1, 1), "2.conv.1.1.running_var": (96,)}),
        ("mobilenet_v2", 2_223_872, {"17.conv.3.weight": (320,), "18.0.weight": (1280, 320, 1, 1)}),
        ("squeezenet1_1", 722_496, {"0.weight": (64, 3, 3, 3), "12.expand3x3.weight": (256, 64, 3, 3)}),
    ],
)
def test_networks_have_torchvisions_keys_and_sizes(backbone, count, keys):
    net = network(backbone)
    assert sum(entry.numel() for entry in net.parameters()) == count
    state = net.state_dict()
    assert {key: tuple(state[key].shape) for key in keys} == keys


@pytest.mark.parametrize(
    "backbone, size, shape",
    [("vgg19", 32, (512, 1, 1)), ("mobilenet_v2", 64, (1280, 2, 2)), ("squeezenet1_1", 64, (512, 3, 3))],
)
def test_networks_shrink_as_published(backbone, size, shape):
    assert network(backbone)(torch.zeros(1, 3, size, size, device="meta")).shape[1:] == shape


def test_layers_are_named_as_in_the_paper():
    layers = network("vgg19")
    for name, index in {"conv1_1": 0, "conv1_2": 2, "conv3_4": 16, "conv5_4": 34}.items():
        assert depth_of("vgg19", name) == index + 1 and isinstance(layers[index], nn.Conv2d)
        assert depth_of("vgg19", name.replace("conv", "relu")) == index + 2 and isinstance(layers[index + 1], nn.ReLU)
    assert depth_of("vgg19", "features.35") == depth_of("vgg19", "relu5_4") == 36  # SRGAN's phi 5,4
    assert depth_of("mobilenet_v2", "features.18") == 19
    with pytest.raises(UsageError, match="no layer 'conv6_1'; name one of conv1_1"):
        depth_of("vgg19", "conv6_1")
    with pytest.raises(UsageError, match="features.0 to features.12"):
        depth_of("squeezenet1_1", "conv1_1")


def test_torchvision_preprocessing_is_imagenets():
    about = {"preprocessing": "torchvision"}
    image = torch.rand(2, 3, 4, 4)
    (seen,) = Features(nn.Sequential(nn.Identity()), [1], about)(image)
    for channel, (mean, deviation) in enumerate(zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))):
        torch.testing.assert_close(seen[:, channel], (image[:, channel] - mean) / deviation)


def test_caffe_preprocessing_is_bgr_in_255ths_without_the_mean():
    features = Features(nn.Sequential(nn.Identity()), [1], {"preprocessing": "caffe"})
    image = torch.rand(2, 3, 4, 4)
    (seen,) = features(image)
    for channel, (source, mean) in enumerate(zip((2, 1, 0), (103.939, 116.779, 123.68))):
        wanted = (image[:, source] * 255 - mean) * features.factor
        torch.testing.assert_close(seen[:, channel], wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["torchvision", "caffe"])
def test_grey_images_are_repeated(kind):
    features = Features(nn.Sequential(nn.Conv2d(3, 2, 3)), [1], {"preprocessing": kind})
    grey = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(features(grey)[0], features(grey.repeat(1, 3, 1, 1))[0])


@pytest.mark.parametrize(
    "backbone, layers, depth", [("vgg19", ["conv1_2", "relu1_1"], 4), ("mobilenet_v2", ["features.18"], 19)]
)
def test_a_torchvision_file_gives_the_layers_asked_for(tmp_path, backbone, layers, depth):
    path = tmp_path / "weights.pth"
    part = write_weights(path, backbone, depth)
    features = load_features(backbone, layers, "weights.pth", tmp_path, "torchvision")
    features.train()
    assert not any(module.training for module in features.modules())
    image = torch.rand(1, 3, 40, 40)
    seen = features(image)
    normal = (image - features.mean) / features.deviation
    for name, entry in zip(layers, seen):
        torch.testing.assert_close(entry, part[: depth_of(backbone, name)](normal))
    assert not any(entry.requires_grad for entry in features.parameters())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert features.about == {
        "backbone": backbone,
        "layers": layers,
        "file": "weights.pth",
        "sha256": digest,
        "preprocessing": "torchvision",
    }


def test_loading_leaves_the_random_numbers_of_training_alone(tmp_path):
    write_weights(tmp_path / "w.pth", "squeezenet1_1", 13)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    load_features("squeezenet1_1", ["features.12"], "w.pth", tmp_path, "torchvision")
    assert torch.equal(torch.get_rng_state(), before)


def test_missing_weights_name_the_file_and_the_way_out(tmp_path):
    with pytest.raises(ModelError, match=r"vgg19-dcbb9e9d\.pth.*are in none of.*feature_matching"):
        load_features("vgg19", ["conv5_4"], folder=tmp_path)
    with pytest.raises(ModelError, match="mine.pth"):
        load_features("vgg19", ["conv5_4"], "mine.pth", tmp_path)


def test_weights_that_end_too_early_say_where(tmp_path):
    write_weights(tmp_path / "vgg19_features_conv1_1-conv3_4.pth", "vgg19", 8, prefix="")
    with pytest.raises(ModelError, match=r"ends at conv2_2, and the loss asks for conv5_4.*vgg19-dcbb9e9d.*matching"):
        load_features("vgg19", ["conv1_1", "conv5_4"], folder=tmp_path)


def test_the_file_that_a_loss_would_load_is_told(tmp_path):
    options = {"backbone": "vgg19", "weights": "w.pth"}
    assert feature_files(options, ["conv1_1"], tmp_path) == []
    write_weights(tmp_path / "w.pth", "vgg19", 4)
    assert feature_files(options, ["conv1_1", "relu1_2"], tmp_path) == [tmp_path / "w.pth"]
    assert feature_files(options, ["conv2_1"], tmp_path) == []  # it ends before


def test_a_layer_without_weights_may_follow_the_last_in_the_file(tmp_path):
    write_weights(tmp_path / "w.pth", "vgg19", 8)
    features = load_features("vgg19", ["relu2_2", "features.9"], "w.pth", tmp_path, "caffe")
    assert [entry.shape[1] for entry in features(torch.rand(1, 1, 16, 16))] == [128, 128]


def test_a_file_of_unknown_kind_is_not_guessed_at(tmp_path):
    write_weights(tmp_path / "vgg19-dcbb9e9d.pth", "vgg19", 4)
    with pytest.raises(UsageError, match="torchvision or caffe"):
        load_features("vgg19", ["conv1_1"], folder=tmp_path)
    with pytest.raises(UsageError, match="torchvision, caffe or left out, not 'keras'"):
        load_features("vgg19", ["conv1_1"], folder=tmp_path, preprocessing="keras")
    with pytest.raises(UsageError, match="one layer or more"):
        load_features("vgg19", [], folder=tmp_path)


def test_a_file_that_holds_something_else_is_refused(tmp_path):
    (tmp_path / "w.pth").write_bytes(b"not weights")
    with pytest.raises(ModelError, match="cannot be read"):
        load_features("vgg19", ["conv1_1"], "w.pth", tmp_path)
    write_weights(tmp_path / "squeeze.pth", "squeezenet1_1", 13)
    with pytest.raises(ModelError, match="does not hold the weights of vgg19"):
        load_features("vgg19", ["conv1_2"], tmp_path / "squeeze.pth", preprocessing="caffe")
    with pytest.raises(UsageError, match="Unknown feature network 'vgg16'"):
        load_features("vgg16", ["conv1_1"])


def test_the_cut_vgg19_is_found_and_known_as_caffes(data_folder, monkeypatch):
    monkeypatch.setenv("SUPERRESOLUTION_DATA", str(data_folder))
    features = load_features("vgg19", ["conv3_4"])
    assert features.about["preprocessing"] == "caffe"
    assert features.about["sha256"].startswith("162b1b5ea99771b2")
    with pytest.raises(ModelError, match="ends at conv3_4"):
        load_features("vgg19", ["conv5_4"])


def test_vgg19s_first_layer_sees_more_in_edges_than_in_flat_grey(data_folder):
    """The right preprocessing: ImageNet's mean color is the network's zero, so its answer is near the bias alone."""
    folder = data_folder / "weights"
    features = load_features("vgg19", ["conv1_1"], folder=folder)
    grey = (features.mean / 1).expand(1, 3, 8, 8)
    bias = features.layers[0].bias.view(1, -1, 1, 1) * features.factor
    torch.testing.assert_close(features(grey)[0], bias.expand(1, 64, 8, 8), atol=1e-4, rtol=0)


def test_the_distance_is_zero_for_equals_and_grows_with_blur(data_folder):
    from skimage.io import imread

    picture = imread(sorted((data_folder / "cxr_nih").glob("*.png"))[0])
    crop = torch.from_numpy(picture[400:592, 400:592].astype(np.float32) / 255)[None, None]
    blurred = [torch.nn.functional.avg_pool2d(crop, size, 1, size // 2) for size in (3, 7)]
    features = distance_features(data_folder / "weights")
    batch = torch.cat([crop, *blurred])
    distances = perceptual_distance(batch, crop.expand(3, -1, -1, -1), features)
    assert distances.dtype == torch.float64 and distances.shape == (3,)
    assert distances[0] == 0 and 0 < distances[1] < distances[2] < 2
    assert "LPIPS" not in DISTANCE_NAME and "SqueezeNet 1.1" in DISTANCE_NAME


def test_the_distance_is_what_it_says(tmp_path):
    write_weights(tmp_path / "w.pth", "squeezenet1_1", 13)
    features = load_features("squeezenet1_1", DISTANCE_LAYERS, "w.pth", tmp_path, "torchvision")
    one, other = torch.rand(1, 3, 17, 17), torch.rand(1, 3, 17, 17)
    expected = []
    for a, b in zip(features(one), features(other)):
        a, b = (x.numpy() / np.maximum(np.linalg.norm(x.numpy(), axis=1, keepdims=True), 1e-12) for x in (a, b))
        expected.append(((a - b) ** 2).sum(1).mean())
    assert perceptual_distance(one, other, features).item() == pytest.approx(np.mean(expected), rel=1e-5)
    torch.testing.assert_close(perceptual_distance(one, other, features), perceptual_distance(other, one, features))
    with pytest.raises(DataError, match="give two alike"):
        perceptual_distance(one, other[..., 1:], features)
