"""Items with images: described once and read from then on, or shown with every question."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answerers import Body, images, kind_of, numbered_lines
from fault_server import FaultServer, always, contains_truth, every, truthful_answerer, when

from genz_ppl.errors import BudgetError, InputError, ModelError
from genz_ppl.llm.served.keys import data_address
from genz_ppl.types import Contrast, Item


def described(body: Body) -> str:
    """The description of a picture is what its file holds behind its first bytes."""
    (address,) = images(body)
    return base64.b64decode(address.partition("base64,")[2])[12:].decode()


TRUE = truthful_answerer(contains_truth, description=described)


def picture(kind: str, content: str) -> bytes:
    """A file that begins as images of that kind do."""
    starts = {"png": b"\x89PNG\r\n\x1a\n", "jpeg": b"\xff\xd8\xff\xe0", "webp": b"RIFF\1\2\3\4WEBP"}
    return starts[kind].ljust(12) + content.encode()


@pytest.fixture
def gallery(tmp_path: Path) -> list[Item]:
    """Four items with 0, 1, 1 and 2 images; the second's and one of the fourth's are the same picture in two files."""
    contents = {"pool.png": "a pool", "fire.jpg": "a fireplace", "copy.webp": "a pool", "attic.png": "an attic"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(picture("jpeg" if name == "fire.jpg" else "png", content))
    paths = [(), ("pool.png",), ("fire.jpg",), ("attic.png", "copy.webp")]
    return [Item(str(k), f"house {k}", {}, tuple(tmp_path / name for name in names)) for k, names in enumerate(paths)]


FEATURES = ["pool", "attic", "house 2"]
SHOWN = np.array([[0, 0, 0], [1, 0, 0], [0, 0, 1], [1, 1, 0]], dtype=float)


def test_every_image_is_described_once(serving: Any, gallery: list[Item]) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url, mining_model="eye")
        np.testing.assert_array_equal(model.answer(gallery, FEATURES), SHOWN)
        kinds = [kind_of(request.body) for request in server.requests]
        assert kinds == ["describe"] * 3 + ["extract_many"]
        for request in server.requests[:3]:
            assert request.body["model"] == "eye"
            assert request.body["messages"][1]["content"][0]["text"].startswith("Describe the listing image in detail.")
            assert "response_format" not in request.body
        shown, _ = numbered_lines(server.requests[3].body)
        assert shown == {
            1: "house 0",
            2: "house 1\nImage 1: a pool",
            3: "house 2\nImage 1: a fireplace",
            4: "house 3\nImage 1: an attic\nImage 2: a pool",
        }
        assert not images(server.requests[3].body)
        other = serving(server.base_url, mining_model="eye")
        other.answer(gallery[1:], ["fireplace"])
        other.propose(Contrast(tuple(gallery[:2]), tuple(gallery[2:])), 2)
        assert [kind_of(request.body) for request in server.requests[4:]] == ["extract_many", "mine"]
        assert numbered_lines(server.requests[5].body)[0] == shown
        serving(server.base_url, mining_model="another eye").answer(gallery, FEATURES)
        assert [kind_of(request.body) for request in server.requests[6:]] == kinds  # other descriptions, other answers


def test_a_picture_that_changed_is_another(serving: Any, gallery: list[Item]) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url)
        model.answer(gallery, FEATURES)
        gallery[1].images[0].write_bytes(picture("webp", "a bare wall"))
        np.testing.assert_array_equal(model.answer(gallery, FEATURES)[:, 0], [0, 0, 0, 1])
        assert server.total == 4 + 2


def test_images_are_shown_with_every_question(serving: Any, gallery: list[Item]) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url, images="direct", items_per_call=3)
        model.answer(gallery, FEATURES)
        first, second = server.requests
        parts = first.body["messages"][1]["content"]
        assert [part["type"] for part in parts] == ["text", "text", "image_url", "text", "image_url"]
        assert [part["text"] for part in parts[1::2]] == ["An image of item 2:", "An image of item 3:"]
        assert images(first.body) == [
            f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
            for kind, content in (("png", picture("png", "a pool")), ("jpeg", picture("jpeg", "a fireplace")))
        ]
        assert numbered_lines(first.body)[0] == {1: "house 0", 2: "house 1", 3: "house 2"}
        assert [part["text"] for part in second.body["messages"][1]["content"][1::2]] == ["An image of item 1:"] * 2
        serving(server.base_url, images="direct").answer(gallery, FEATURES)
        assert server.total == 2


def test_mining_sees_the_images_too(serving: Any, gallery: list[Item]) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url, images="direct")
        contrast = Contrast((gallery[3], gallery[0]), (gallery[1],))
        for _ in range(2):
            model.propose(contrast, 2)
            model.suggest(gallery[1:3], "the price", 2)
        assert server.total == 2
        headings = [part["text"] for part in server.requests[0].body["messages"][1]["content"][1::2]]
        assert headings == ["An image of item 1:", "An image of item 1:", "An image of item 3:"]
        assert len(images(server.requests[1].body)) == 2
        gallery[1].images[0].write_bytes(picture("webp", "a bare wall"))
        model.propose(contrast, 2)
        model.suggest(gallery[1:3], "the price", 2)
        assert server.total == 4


def test_images_can_be_left_out(serving: Any, gallery: list[Item]) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url, images="none")
        for item in gallery:
            for path in item.images:
                path.unlink()
        np.testing.assert_array_equal(model.answer(gallery, FEATURES)[:, 2], [0, 0, 1, 0])
        assert server.total == 1


@pytest.mark.parametrize("way", ["describe", "direct"])
def test_images_that_cannot_be_read(serving: Any, gallery: list[Item], way: str, tmp_path: Path) -> None:
    gallery[2].images[0].unlink()
    with FaultServer(TRUE) as server:
        model = serving(server.base_url, images=way)
        with pytest.raises(InputError, match=r"fire\.jpg: the image cannot be read \(No such file or directory\)"):
            model.answer(gallery, FEATURES)
        assert server.total == 0


@pytest.mark.parametrize("way", ["describe", "direct"])
def test_what_is_no_image_is_not_sent_whatever_it_is_called(serving: Any, gallery: list[Item], way: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root:x:0:0")
    (tmp_path / "link.png").symlink_to(tmp_path / "secret")
    for name, content in {"words.png": b"some text", "BM.bmp": b"BM is how a bitmap begins", "empty.jpg": b""}.items():
        (tmp_path / name).write_bytes(content)
    with FaultServer(TRUE) as server:
        model = serving(server.base_url, images=way)
        for name in ("link.png", "words.png", "BM.bmp", "empty.jpg"):
            odd = Item("x", "", {}, (tmp_path / name,))
            said = rf"{name}: expected an image \(png, jpeg, webp, gif, \.\.\.\), found another kind of file; leave it out"
            with pytest.raises(InputError, match=said):
                model.answer([*gallery, odd], FEATURES)
            with pytest.raises(InputError, match=said):
                model.propose(Contrast((odd,), (gallery[0],)), 2)
            with pytest.raises(InputError, match=said):
                model.suggest([odd], "the price", 2)
        assert server.total == 0


def test_a_name_that_says_another_kind_does_no_harm(tmp_path: Path) -> None:
    for kind, name in (("webp", "a.png"), ("png", "b"), ("jpeg", "c.doc")):
        (tmp_path / name).write_bytes(picture(kind, "x"))
        assert data_address(tmp_path / name).startswith(f"data:image/{kind};base64,")


def test_an_image_that_no_model_describes_is_not_the_end(serving: Any, gallery: list[Item]) -> None:
    refused = base64.b64encode(picture("png", "a pool")).decode()
    with FaultServer(TRUE, lambda _, body: "refusal" if images(body) and refused in images(body)[0] else None) as server:
        model = serving(server.base_url)
        np.testing.assert_array_equal(model.answer(gallery, FEATURES), SHOWN * [0, 1, 1])
        shown, _ = numbered_lines(server.requests[-1].body)
        assert shown[2] == "house 1\nImage 1: (no description)"
        made = server.total
        assert made < 12
        model.answer(gallery, FEATURES)
        model.answer(gallery, ["new"])
        assert server.total == made + 1


@pytest.mark.parametrize("name", ["refusal", "400_policy", "413_html", "hang"])
def test_an_image_that_is_refused_alone(serving: Any, gallery: list[Item], name: str) -> None:
    refused = base64.b64encode(b"a pool").decode()
    with FaultServer(TRUE, lambda _, body: name if images(body) and refused in images(body)[0] else None) as server:
        model = serving(server.base_url, timeout=0.1 if name == "hang" else 5)
        np.testing.assert_array_equal(model.answer(gallery, FEATURES), SHOWN * [0, 1, 1])


def test_thoughts_are_no_description(serving: Any, gallery: list[Item]) -> None:
    said = {"a pool": "<think>Is there an attic?</think>\n", "a fireplace": "An attic?\n</think>", "an attic": "<think>"}
    thinking = truthful_answerer(contains_truth, description=lambda body: said[described(body)] + described(body))
    with FaultServer(thinking) as server:
        model = serving(server.base_url)
        np.testing.assert_array_equal(model.answer(gallery, FEATURES), SHOWN * [1, 0, 1])
        shown, _ = numbered_lines(server.requests[-1].body)
    assert shown[2] == "house 1\nImage 1: a pool"
    assert shown[3] == "house 2\nImage 1: a fireplace"
    assert shown[4] == "house 3\nImage 1: (no description)\nImage 2: a pool"


@pytest.mark.parametrize("name", ["empty_content", "finish_error", "refusal", "content_filter"])
def test_a_bad_time_leaves_no_image_without_description(serving: Any, gallery: list[Item], name: str) -> None:
    with FaultServer(TRUE, always(name)) as server:
        model = serving(server.base_url, attempts=2)
        with pytest.raises(ModelError):
            model.answer(gallery, FEATURES)
        server.faults = None
        np.testing.assert_array_equal(model.answer(gallery, FEATURES), SHOWN)
        assert not any("(no description)" in str(request.body) for request in server.requests)


def test_descriptions_amid_faults_and_caps(serving: Any, gallery: list[Item]) -> None:
    with FaultServer(TRUE, every(2, "500")) as server:
        model = serving(server.base_url, max_calls=2, workers=1)
        with pytest.raises(BudgetError, match="--max-calls 2"):
            model.answer(gallery, FEATURES)
        assert server.total == 2
        other = serving(server.base_url)
        np.testing.assert_array_equal(other.answer(gallery, FEATURES), SHOWN)
        assert server.counts["right"] == 4  # three descriptions and the answers, each once


def test_answers_about_images_survive_a_poisoned_neighbour(serving: Any, gallery: list[Item]) -> None:
    with FaultServer(TRUE, when("a fireplace", "content_filter")) as server:
        answers = serving(server.base_url).answer(gallery, FEATURES)
    np.testing.assert_array_equal(answers[[0, 1, 3]], SHOWN[[0, 1, 3]])
    assert np.isnan(answers[2]).all()
