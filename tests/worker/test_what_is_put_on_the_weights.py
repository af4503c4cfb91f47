"""LoRA weights, quantisation, offloading, tiling, compilation and warm-up: what each changes, and what it must not."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
from serving_worker import draw, edit, events, picture, serve, wait_until

from pixvox_worker.engines import placement, quantisation
from pixvox_worker.engines.qwen_image import QwenImageEngine
from pixvox_worker.settings import Device, Lora, Offload, Quantisation, Settings, SettingsError, from_environment
from pixvox_worker.tasks import PictureTask

TASK = PictureTask("a cat", None, (), 64, 64, steps=2, guidance=4.0, seed=1)


class Counting:
    """A watch that counts the steps."""

    def __init__(self):
        self.steps = 0

    def step(self, done, preview):
        self.steps = done


def engine_of(folder, **settings):
    """A loaded engine, in this thread."""
    engine = QwenImageEngine(Settings(model_name=str(folder), device=Device.CPU, torch_threads=1, **settings))
    engine.load()
    return engine


def pixels(engine, task=TASK):
    """What the engine makes, as numbers."""
    watch = Counting()
    image = engine.make([task], watch)[0][0]
    assert watch.steps == task.steps
    return np.asarray(image).astype(int)


@pytest.fixture(scope="module")
def plain(tiny):
    """What comes out with nothing put on the weights."""
    return pixels(engine_of(tiny / "qwen-image"))


@pytest.fixture(scope="module")
def lora(tiny, tmp_path_factory):
    """A folder with random LoRA weights for the tiny transformer, in the file that diffusers looks for."""
    from diffusers import QwenImagePipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    folder = tmp_path_factory.mktemp("lora")
    transformer = engine_of(tiny / "qwen-image").pipeline.transformer
    torch.manual_seed(7)
    transformer.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    for name, weight in transformer.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight)
    QwenImagePipeline.save_lora_weights(folder, transformer_lora_layers=get_peft_model_state_dict(transformer))
    return folder


def test_a_lora_changes_the_picture_by_its_scale(tiny, lora, plain):
    full = pixels(engine_of(tiny / "qwen-image", lora=str(lora)))
    half = pixels(engine_of(tiny / "qwen-image", lora=f"{lora}:0.5"))
    none = pixels(engine_of(tiny / "qwen-image", lora=f"{lora}:0"))
    assert (full != plain).any()
    assert (half != full).any()
    assert (half != plain).any()
    assert (none == plain).all()


@pytest.mark.filterwarnings("ignore:Already found a `peft_config`")
def test_loras_are_added_up_and_a_file_may_be_named(tiny, lora):
    file = lora / "pytorch_lora_weights.safetensors"
    twice = pixels(engine_of(tiny / "qwen-image", lora=f"{lora}:0.5,{file}:0.5"))
    once = pixels(engine_of(tiny / "qwen-image", lora=f"{file}"))
    assert abs(twice - once).max() <= 1


def test_a_lora_fits_to_a_model_that_edits(tiny, lora):
    with serve(tiny / "qwen-image-edit", lora=str(lora)) as changed, serve(tiny / "qwen-image-edit") as unchanged:
        made = [edit(client).json()["processed_image"] for client in (changed, unchanged)]
    assert made[0] != made[1]


def test_a_lora_that_is_not_there_leaves_an_unhealthy_worker(tiny, tmp_path):
    with serve(tiny / "qwen-image", lora=str(tmp_path / "none.safetensors"), ready=False) as client:
        wait_until(lambda: client.get("/health").json()["status"] == "unhealthy")


def test_weights_in_a_pickle_are_not_read(tiny, tmp_path):
    torch.save({}, tmp_path / "pytorch_lora_weights.bin")
    with pytest.raises(OSError, match="safetensors"):
        engine_of(tiny / "qwen-image", lora=str(tmp_path))


def test_the_settings_of_a_lora_are_read():
    assert Settings(lora="a/b:0.5, /x/y ,c/d/e.safetensors:1").loras == (
        Lora("a/b", 0.5),
        Lora("/x/y", 1.0),
        Lora("c/d/e.safetensors", 1.0),
    )
    assert Settings(lora="C:/weights").loras == (Lora("C:/weights", 1.0),)
    for wrong in (":1", "a/b:nan", "a/b:inf"):
        with pytest.raises(SettingsError, match="LORA"):
            from_environment({"LORA": wrong})


def test_a_deployment_for_few_steps_is_configured_in_the_environment(tiny, lora):
    scheduler = {"shift_terminal": None, "base_shift": 1.0986, "max_shift": 1.0986}
    environment = {
        "MODEL_NAME": str(tiny / "qwen-image"),
        "DEVICE": "cpu",
        "LORA": str(lora),
        "DEFAULT_STEPS": "4",
        "DEFAULT_GUIDANCE": "1",
        "SCHEDULER": json.dumps(scheduler),
    }
    settings = from_environment(environment)
    engine = QwenImageEngine(settings)
    with serve(tiny / "qwen-image", engine=engine, default_steps=4, default_guidance=1.0) as client:
        config = engine.pipeline.scheduler.config
        assert {name: config[name] for name in scheduler} == scheduler
        # Nothing is stretched any more, so that one step is a picture, too.
        assert client.get("/models").json()["limits"]["min_steps"] == 1
        heard = events(draw(client, num_inference_steps=None, stream=True).text)
        assert [data["steps"] for name, data in heard if name == "x.progress"] == [4] * 4
        as_default = heard[-1][1]["b64_json"]
        explicit = draw(client, num_inference_steps=4, true_cfg_scale=1).json()["data"][0]["b64_json"]
        guided = draw(client, num_inference_steps=4, true_cfg_scale=4).json()["data"][0]["b64_json"]
        assert as_default == explicit != guided


def test_defaults_that_do_not_fit_are_refused(tiny):
    with pytest.raises(SettingsError, match="SCHEDULER"):
        from_environment({"SCHEDULER": "[1]"})
    with pytest.raises(SettingsError, match="DEFAULT_STEPS"):
        from_environment({"DEFAULT_STEPS": "300"})
    with pytest.raises(ValueError, match="DEFAULT_STEPS"):
        engine_of(tiny / "qwen-image", default_steps=1)


@pytest.mark.parametrize("quant", [Quantisation.INT8, Quantisation.FP8])
def test_quantised_weights_make_nearly_the_same_picture(tiny, plain, quant):
    engine = engine_of(tiny / "qwen-image", quant=quant)
    assert abs(pixels(engine) - plain).max() <= 3
    quantised = {
        name: "Tensor" in type(module.weight.data).__name__ and type(module.weight.data) is not torch.Tensor
        for name, module in (
            ("transformer", engine.pipeline.transformer.transformer_blocks[0].attn.to_q),
            ("text_encoder", engine.pipeline.text_encoder.model.language_model.layers[0].self_attn.q_proj),
            ("vae", engine.pipeline.vae.decoder.conv_in),
        )
    }
    assert quantised == {"transformer": True, "text_encoder": True, "vae": False}


def test_a_lora_goes_with_quantised_weights(tiny, lora, plain):
    made = pixels(engine_of(tiny / "qwen-image", quant=Quantisation.INT8, lora=str(lora)))
    assert abs(made - pixels(engine_of(tiny / "qwen-image", lora=str(lora)))).max() <= 3
    assert (made != plain).any()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_four_bits_ask_for_a_gpu(tiny):
    with pytest.raises(RuntimeError, match="QUANT=nf4 needs CUDA"):
        engine_of(tiny / "qwen-image", quant=Quantisation.NF4)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="the library is there")
def test_a_missing_library_is_named():
    with pytest.raises(RuntimeError, match="bitsandbytes, which is not installed"):
        quantisation.config(Quantisation.NF4, Offload.NONE, "cuda", torch.bfloat16)


def test_quantisation_does_not_go_with_sequential_offloading():
    with pytest.raises(RuntimeError, match="OFFLOAD=sequential"):
        quantisation.config(Quantisation.INT8, Offload.SEQUENTIAL, "cuda", torch.bfloat16)


def test_offloaded_groups_make_the_same_picture(tiny, plain):
    """With the processor in the place of the GPU: the hooks are put on, and called."""
    engine = engine_of(tiny / "qwen-image")
    placement.offload_groups(engine.pipeline, "cpu")
    linear = engine.pipeline.transformer.transformer_blocks[0].attn.to_q
    assert "group_offloading" in linear._diffusers_hook.hooks
    assert (pixels(engine) == plain).all()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("offload", [Offload.MODEL, Offload.SEQUENTIAL, Offload.GROUP])
def test_offloading_without_a_gpu_is_said_and_passed_over(tiny, plain, offload, caplog):
    assert (pixels(engine_of(tiny / "qwen-image", offload=offload)) == plain).all()
    assert f"OFFLOAD={offload} means nothing" in caplog.text


def test_tiling_and_slicing_are_switched_on_where_they_are(tiny):
    vae = engine_of(tiny / "qwen-image", vae_tiling=True, vae_slicing=True).pipeline.vae
    assert (vae.use_tiling, vae.use_slicing) == (True, True)
    plain = engine_of(tiny / "qwen-image").pipeline.vae
    assert (plain.use_tiling, plain.use_slicing) == (False, False)


def test_slicing_changes_nothing_in_a_batch(tiny):
    tasks = [TASK, PictureTask("a dog", None, (), 64, 64, steps=2, guidance=4.0, seed=2)]
    sliced, whole = engine_of(tiny / "qwen-image", vae_slicing=True), engine_of(tiny / "qwen-image")
    made = [[image for images in engine.make(tasks, Counting()) for image in images] for engine in (sliced, whole)]
    assert [image.tobytes() for image in made[0]] == [image.tobytes() for image in made[1]]


def test_a_large_picture_comes_out_in_tiles(tiny):
    task = PictureTask("a cat", None, (), 512, 320, steps=2, guidance=1.0, seed=1)
    tiled = engine_of(tiny / "qwen-image", vae_tiling=True).make([task], Counting())[0][0]
    assert tiled.size == (512, 320)


@pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex")
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler")
@pytest.mark.timeout(600)
def test_a_compiled_transformer_makes_nearly_the_same_picture(tiny):
    # Without guidance there is one length of text, and one compilation.
    task = dataclasses.replace(TASK, guidance=1.0)
    engine = engine_of(tiny / "qwen-image", compile=True)
    assert engine.pipeline.transformer.transformer_blocks[0]._compiled_call_impl is not None
    assert abs(pixels(engine, task) - pixels(engine_of(tiny / "qwen-image"), task)).max() <= 2


@pytest.mark.parametrize(
    "kind", ["qwen-image", "qwen-image-edit", "qwen-image-edit-plus", "qwen-image-2.1", "qwen-image-layered"]
)
def test_a_warm_up_changes_nothing_afterwards(tiny, kind):
    calls = []

    class Watched(QwenImageEngine):
        def make(self, tasks, watch):
            calls.append(tasks[0].prompt)
            return super().make(tasks, watch)

    given = Settings(model_name=str(tiny / kind), device=Device.CPU, torch_threads=1, warm_up=True)
    engine = Watched(given)
    engine.load()
    assert calls == ["warm-up"]
    if kind == "qwen-image":
        assert (pixels(engine) == pixels(engine_of(tiny / kind))).all()


def test_a_worker_that_warms_up_serves(tiny):
    with serve(tiny / "qwen-image", warm_up=True) as client:
        assert picture(draw(client).json()["data"][0]["b64_json"]).size == (64, 64)
