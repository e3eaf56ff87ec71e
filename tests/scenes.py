"""Small scenes with ships for tests, and a small detector of them."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from model.networks import build
from model.networks.hybnn import HyBNN
from model.training import command

SPLITS = {"train": 6, "test": 4}

MINI = "hybnn-ssdd-mini"


def write_ssdd(root, seed: int = 1) -> None:
    """Small scenes with a bright rectangle each; half of the test ones are inshore."""
    random = np.random.default_rng(seed)
    (root / "ssdd" / "annotations").mkdir(parents=True)
    for split, count in SPLITS.items():
        folder = root / "ssdd" / "images" / split
        folder.mkdir(parents=True)
        listed, noted = [], []
        for number in range(count):
            width, height = 40, 20 + 4 * number
            left, top = random.integers(0, 20), random.integers(0, 8)
            scene = random.integers(0, 60, (height, width), dtype=np.uint8)
            scene[top : top + 8, left : left + 16] = 250
            Image.fromarray(scene).save(folder / f"{number}.jpg", quality=95)
            listed.append(
                {"id": number, "file_name": f"{number}.jpg", "width": width, "height": height}
            )
            noted.append(
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 0,
                    "bbox": [int(left), int(top), 16.0, 8.0],
                }
            )
        parts = {split: slice(None)}
        if split == "test":
            parts |= {"test_inshore": slice(0, 2), "test_offshore": slice(2, 4)}
        for name, part in parts.items():
            content = {
                "images": listed[part], "annotations": noted[part],
                "categories": [{"id": 0, "name": "ship"}],
            }  # fmt: skip
            path = root / "ssdd" / "annotations" / f"{name}.json"
            path.write_text(json.dumps(content))


@pytest.fixture
def folder(tmp_path):
    write_ssdd(tmp_path)
    return tmp_path


def detector(seed: int = 1) -> HyBNN:
    torch.manual_seed(seed)
    network = build(MINI).train()
    with torch.no_grad():
        for _ in range(30):
            network(torch.randint(0, 256, (8, 1, 32, 32), dtype=torch.uint8))
        network.head_bias.bias.normal_()
    return network.eval()


def options(folder, out: str, *changes: str):
    arguments = [MINI, "--data", str(folder), "--out", str(folder / out), "--epochs", "2"]
    return command.parse("", [*arguments, "--batch", "3", "--validation", "0", *changes])
